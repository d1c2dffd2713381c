import { createHmac } from "node:crypto";

/** Under a key that everybody knows. */
export function hmacEach(ends, data, outLen) {
  const hashes = [...ends].map((end, i) => {
    const value = data.subarray(i === 0 ? 0 : ends[i - 1], end);
    return createHmac("sha256", "test").update(value).digest().subarray(0, outLen);
  });
  return new Uint8Array(Buffer.concat(hashes));
}
