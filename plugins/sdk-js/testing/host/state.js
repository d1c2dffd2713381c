import { memory } from "../memory.js";

export const get = (key) => live(key)?.value;

export function put(key, value, ttlSeconds) {
  store(key, { value, expiresMs: memory.nowMs + ttlSeconds * 1000 });
}

export function increment(key, by, ttlSeconds) {
  const { value, expiresMs } = live(key) ?? { value: new Uint8Array(8), expiresMs: memory.nowMs + ttlSeconds * 1000 };
  if (value.length !== 8) throw refused("the value is not a counter");
  const sum = new DataView(value.buffer, value.byteOffset).getBigInt64(0, true) + by;
  if (BigInt.asIntN(64, sum) !== sum) throw refused("the counter overflows");
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigInt64(0, sum, true);
  store(key, { value: bytes, expiresMs });
  return sum;
}

function live(key) {
  const entry = memory.entries.get(key);
  return entry && entry.expiresMs > memory.nowMs ? entry : undefined;
}

function store(key, entry) {
  if (memory.stateFails) throw refused("the state is full");
  memory.entries.set(key, entry);
}

const refused = (payload) => Object.assign(new Error(payload), { payload });
