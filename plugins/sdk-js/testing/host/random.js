/** The same in each run. */
export function bytes(n) {
  if (n > 4096) throw new Error("random.bytes gives at most 4096 bytes a call");
  return Uint8Array.from({ length: n }, (_, i) => i);
}
