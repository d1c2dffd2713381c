/** What the host's functions remember between two calls of a test. */
export const memory = {};

export function reset() {
  Object.assign(memory, { nowMs: 0, stateFails: false, entries: new Map(), needles: new Map(), lines: [] });
}

reset();

export function setNowMs(now) {
  memory.nowMs = now;
}

export function setStateFailing(fails) {
  memory.stateFails = fails;
}

export function detector(name, { finds, score = 50 }) {
  memory.needles.set(name, { text: finds, score });
}

export const lines = () => [...memory.lines];
