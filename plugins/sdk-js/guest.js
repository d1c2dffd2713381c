/** What a component is made of: a policy behind the exports of the interface. Packages do not import it. */
import { PolicyError, SettingErrors, Verdict, bounded } from "./answers.js";
import * as log from "./log.js";
import { Chunk } from "./rows.js";

/** What the engine's bindings call `Symbol.dispose`. */
const DISPOSE = Symbol.dispose ?? Symbol.for("dispose");

/** The exports of a component: `lifecycle`, `commands` and `rows`, of which its world takes what it has. */
export function component(Policy) {
  const kinds = Policy.prototype.check ? (Policy.kinds ?? ["sql"]) : [];
  let policy;

  const lifecycle = {
    validateSettings(text) {
      try {
        made(Policy, text);
      } catch (error) {
        if (error instanceof SettingErrors) throw error.errors;
        report(error);
        throw [{ path: "", message: bounded(error) }];
      }
    },

    configure(text) {
      policy = answered(() => made(Policy, text));
      return { commands: kinds };
    },
  };

  const commands = {
    open: (session) => answered(() => (policy.open ? verdict(policy.open(session)) : Verdict.allow())),
    check: (session, command) => asked(command, () => verdict(policy.check(session, command))),
    approved(session, command, approvers) {
      // Unless overridden it is checked again, and demanding another review is a denial.
      const decide = policy.approved ?? policy.check;
      return asked(command, () => verdict(decide.call(policy, session, command, approvers)));
    },
  };

  const rows = {
    planResult: (session, command, result) => asked(command, () => plan(policy.plan(session, command, result))),
    filterBatch: (session, command, result, rowCount, chunks) =>
      asked(command, () => {
        const own = chunks.map((chunk) => new Chunk(chunk));
        const { edits, dropRows = [], abort } = policy.filter(session, command, result, rowCount, own);
        return { edits: edits.map((edit) => edit.toEdit()), dropRows: Uint32Array.from(dropRows), abort };
      }),
  };
  return { lifecycle, commands, rows };
}

function made(Policy, text) {
  return new Policy(JSON.parse(text));
}

/**
 * Asks about a command, and gives the handles of its statements back. The engine would only do so when it collects garbage, and an
 * instance may hold a limited number of handles.
 */
function asked(command, ask) {
  const statements = [];
  const read = command.sql;
  command.sql = () => {
    const found = read.call(command);
    statements.push(...found);
    return found;
  };
  try {
    return answered(ask);
  } finally {
    for (const statement of statements) statement[DISPOSE]?.();
  }
}

/** An async method would give a promise, which must not pass for an answer. */
function verdict(answer) {
  if (typeof answer?.decision !== "string") throw new TypeError("the answer is no Verdict");
  return answer;
}

function plan(answer) {
  if (!Array.isArray(answer?.rules)) throw new TypeError("the answer is no Plan");
  return answer;
}

/**
 * Asks, and makes an error of the interface of whatever is thrown. What was thrown goes to the log with its stack; the client is
 * only told its kind, since its text may quote a value.
 */
function answered(ask) {
  try {
    return ask();
  } catch (error) {
    if (error instanceof PolicyError) throw { code: error.code, message: bounded(error.message) };
    if (error instanceof SettingErrors) throw { code: "bad-settings", message: bounded(error.message) };
    throw { code: "exception", message: `the policy failed with ${error?.name ?? typeof error} at ${report(error)}` };
  }
}

/** Writes an error to the log, the place of its origin first, and returns that place. */
function report(error) {
  const frames = String(error?.stack ?? "").split("\n").map(place).filter((found) => found);
  log.error(bounded(`${error}; at ${frames.join(", called from ") || "an unknown place"}`));
  return frames[0] ?? "an unknown place";
}

/** Where a line of a stack is. In a component the sources are in one file; its last line maps its lines to theirs. */
function place(line) {
  const [, file, number] = /([^\s@(/]+):(\d+):\d+\)?$/.exec(line) ?? [];
  return file && (globalThis.portcullisPlaces?.[number - 1] ?? `${file}:${number}`);
}
