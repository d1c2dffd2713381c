import * as host from "#host/crypto";

import { joined } from "./rows.js";

export function hmacEach(values, length = 32) {
  const { ends, data } = joined(values);
  const all = host.hmacEach(ends, data, length);
  return values.map((_, i) => all.subarray(i * length, (i + 1) * length));
}
