import * as host from "#host/clock";

export const nowMs = () => Number(host.nowMs());
