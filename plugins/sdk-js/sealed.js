/**
 * What a component's engine has no source for: its clock and its randomness stand still at the time of the build. Evaluated before the
 * policy, so that they are refused instead of trusted.
 */
import * as log from "./log.js";

function refuse(message) {
  return () => {
    throw new Error(message);
  };
}

function replace(object, name, value) {
  Object.defineProperty(object, name, { value, configurable: true, writable: true });
}

const noTime = refuse("a component has no time of its own; use `clock.nowMs` of portcullis-sdk");
const noChance = refuse("a component has no randomness of its own; use `random.bytes` of portcullis-sdk");

class Moment extends Date {
  static now = noTime;

  constructor(...when) {
    if (when.length === 0) noTime();
    super(...when);
  }
}

replace(globalThis, "Date", Moment);
replace(globalThis, "performance", { now: noTime });
replace(globalThis, "crypto", { getRandomValues: noChance, randomUUID: noChance });
replace(Math, "random", noChance);
for (const name of ["fetch", "setInterval", "setTimeout"]) {
  replace(globalThis, name, refuse(`a component has no \`${name}\`: it only answers`));
}

/** What is printed from now on goes to the log. */
export function printToLog() {
  const levels = { debug: log.debug, log: log.info, info: log.info, warn: log.warn, error: log.error };
  for (const [name, write] of Object.entries(levels)) {
    console[name] = (...values) => write(values.map(String).join(" "));
  }
}
