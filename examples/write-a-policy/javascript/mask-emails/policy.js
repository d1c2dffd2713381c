/** @import { Chunk, Command, ResultSet, Rows, Session } from "portcullis-sdk" */
import { KEEP, Plan, Spans, detect } from "portcullis-sdk";

const TEXT = new Set(["text", "varchar", "bpchar", "citext", "name"]);
const AT = "@".charCodeAt(0);

/**
 * Covers e-mail addresses in text columns by what the values look like.
 * @implements {Rows}
 */
export default class MaskEmails {
  /** @param {{ keep_domain?: boolean }} settings */
  constructor({ keep_domain: keepDomain = true }) {
    this.keepDomain = keepDomain;
  }

  /**
   * @param {Session} session
   * @param {Command} command
   * @param {ResultSet} result
   */
  plan(session, command, result) {
    const plan = new Plan();
    result.columns().forEach((column, index) => {
      if (TEXT.has(column.typeName)) plan.inspect(index);
    });
    return plan;
  }

  /**
   * @param {Session} session
   * @param {Command} command
   * @param {ResultSet} result
   * @param {number} rowCount
   * @param {Chunk[]} chunks
   */
  filter(session, command, result, rowCount, chunks) {
    return { edits: chunks.map((chunk) => this.cover(chunk)) };
  }

  /** @param {Chunk} chunk */
  cover(chunk) {
    const hits = detect.scan(["email"], chunk);
    if (hits.length === 0) return KEEP;
    const spans = new Spans();
    for (const hit of hits) {
      const covered = this.keepDomain ? chunk.found(hit).lastIndexOf(AT) : hit.len;
      spans.add(hit.row, hit.start, covered);
    }
    return spans;
  }
}
