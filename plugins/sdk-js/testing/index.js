/** Doubles of what the host gives a policy, for tests on any machine. What they remember lasts until `reset`. */
export { chunk, column, result, session, sql, statement, unreadable } from "./facts.js";
export { detector, lines, reset, setNowMs, setStateFailing } from "./memory.js";
