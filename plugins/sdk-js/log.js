import * as host from "#host/log";

export const debug = (message) => host.write("debug", message);
export const info = (message) => host.write("info", message);
export const warn = (message) => host.write("warn", message);
export const error = (message) => host.write("error", message);
