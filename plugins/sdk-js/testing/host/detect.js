import { memory } from "../memory.js";

export const names = () => ["email", "card", "ssn", "iban", "phone", "secret"];

export function scan(detectors, ends, data) {
  const hits = [];
  ends.forEach((end, value) => {
    const bytes = Buffer.from(data.subarray(value === 0 ? 0 : ends[value - 1], end));
    detectors.forEach((name, detector) => {
      const { text, score } = memory.needles.get(name) ?? {};
      const len = text ? Buffer.byteLength(text) : 0;
      for (let start = len ? bytes.indexOf(text) : -1; start >= 0; start = bytes.indexOf(text, start + len)) {
        hits.push({ value, start, len, detector, score });
      }
    });
  });
  return hits.sort((a, b) => a.value - b.value || a.start - b.start);
}
