import * as host from "#host/random";

export const bytes = (n) => host.bytes(n);
