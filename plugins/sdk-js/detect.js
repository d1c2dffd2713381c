import * as host from "#host/detect";

export const names = () => host.names();

export function scan(detectors, chunk) {
  const hits = host.scan(detectors, chunk.ends, chunk.data);
  return hits.map(({ value, start, len, detector, score }) => ({ row: value, start, len, detector, score }));
}
