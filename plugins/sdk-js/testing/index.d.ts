/** Doubles of what the host gives a policy, for tests on any machine. What they remember lasts until `reset`. */
import type { Chunk, Column, Command, Effects, Phase, ResultSet, Session, SqlStatement, detect } from "../index.js";

type Effect = keyof Effects;

/** A session of this principal to the target `app`, which has these labels. */
export function session(
  principal: string,
  about?: { groups?: string[]; labels?: Record<string, string>; reason?: string },
): Session;

/** A command in which the host read these statements and conditions, with parameters in text format. */
export function sql(
  text: string,
  statements: SqlStatement[],
  about?: { phase?: Phase; parameters?: (string | null)[]; conditions?: Column[] },
): Command;

/** A command that the host could not read. A test that asks it for statements fails. */
export function unreadable(text: string): Command;

/**
 * A statement with this verb, its relations (`schema.name` or `name`) with what it does to them, and the columns that it reads. What it
 * does to its relations is among its effects. It has a WHERE clause unless `hasWhere` is false.
 */
export function statement(
  verb: string,
  facts?: {
    effects?: Effect[];
    relations?: Record<string, Effect[]>;
    columns?: string[];
    functions?: string[];
    hasWhere?: boolean;
  },
): SqlStatement;

/** A result with these columns. */
export function result(...columns: Column[]): ResultSet;

/** A column with these origins, `schema.relation.column`; a `text` unless given. */
export function column(
  name: string,
  typeName?: string,
  about?: { origins?: string[]; computed?: boolean; labels?: string[] },
): Column;

/** An inspected column of a batch; null is NULL. */
export function chunk(column: number, ...values: (string | null)[]): Chunk;

/** Makes a detector find this text, with this score, and no other. */
export function detector(name: detect.Detector, about: { finds: string; score?: number }): void;

/** The lines that were written to the log. */
export function lines(): { level: string; message: string }[];

/** Forgets everything: the time is 0, the state empty, no detector finds anything, no line was written. */
export function reset(): void;

/** Sets the time. */
export function setNowMs(now: number): void;

/** Makes every change of the state fail, or work again. */
export function setStateFailing(fails: boolean): void;
