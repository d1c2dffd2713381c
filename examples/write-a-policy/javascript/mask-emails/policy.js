import { KEEP, Plan, Spans, detect } from "portcullis-sdk";

const TEXT = new Set(["text", "varchar", "bpchar", "citext", "name"]);
const AT = "@".charCodeAt(0);

/**
 * Covers e-mail addresses in text columns by what the values look like.
 * @implements {import("portcullis-sdk").Rows}
 */
export default class MaskEmails {
  /** @param {{ keep_domain?: boolean }} settings */
  constructor({ keep_domain: keepDomain = true }) {
    this.keepDomain = keepDomain;
  }

  /**
   * @param {import("portcullis-sdk").Session} session
   * @param {import("portcullis-sdk").Command} command
   * @param {import("portcullis-sdk").ResultSet} result
   */
  plan(session, command, result) {
    const plan = new Plan();
    result.columns().forEach((column, index) => {
      if (TEXT.has(column.typeName)) plan.inspect(index);
    });
    return plan;
  }

  /**
   * @param {import("portcullis-sdk").Session} session
   * @param {import("portcullis-sdk").Command} command
   * @param {import("portcullis-sdk").ResultSet} result
   * @param {number} rowCount
   * @param {import("portcullis-sdk").Chunk[]} chunks
   */
  filter(session, command, result, rowCount, chunks) {
    return { edits: chunks.map((chunk) => this.cover(chunk)) };
  }

  /** @param {import("portcullis-sdk").Chunk} chunk */
  cover(chunk) {
    const hits = detect.scan(["email"], chunk);
    if (hits.length === 0) return KEEP;
    const spans = new Spans();
    for (const { row, start, len } of hits) {
      const address = chunk.value(row).subarray(start, start + len);
      spans.add(row, start, this.keepDomain ? address.lastIndexOf(AT) : len);
    }
    return spans;
  }
}
