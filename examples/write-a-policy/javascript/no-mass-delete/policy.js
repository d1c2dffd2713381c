/** @import { Command, Commands, Session } from "portcullis-sdk" */
import { Verdict } from "portcullis-sdk";

/**
 * Refuses a statement that would delete, or update, every row.
 * @implements {Commands}
 */
export default class NoMassDelete {
  /** @param {{ message?: string }} settings */
  constructor({ message = "this would change every row; add a WHERE clause" }) {
    this.message = message;
  }

  /**
   * @param {Session} session
   * @param {Command} command
   */
  check(session, command) {
    // `sql` of a command that the gateway could not read is a denial by itself. The verb is not asked for: a DELETE may hide
    // inside of another statement, and `hasWhere` looks there too.
    const everyRow = command.sql().find((statement) => !statement.hasWhere());
    if (!everyRow) return Verdict.allow();
    return Verdict.deny(this.message).finding("no-where", `${everyRow.verb()} without WHERE`);
  }
}
