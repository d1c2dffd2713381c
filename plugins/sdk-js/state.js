import * as host from "#host/state";

export class StateError extends Error {
  name = "StateError";
}

export const get = (key) => host.get(key);

export function put(key, value, ttlSeconds) {
  orStateError(() => host.put(key, value, ttlSeconds));
}

export function increment(key, by, ttlSeconds) {
  return Number(orStateError(() => host.increment(key, BigInt(by), ttlSeconds)));
}

/** An error of the host's function is the text that it gave. */
function orStateError(change) {
  try {
    return change();
  } catch (error) {
    if (typeof error?.payload !== "string") throw error;
    throw new StateError(error.payload);
  }
}
