/**
 * Write Portcullis policies in JavaScript or TypeScript.
 *
 * A policy is a class, the default export of the package's `main` module, that is made from its settings and answers questions about
 * commands (`Commands`), about results (`Rows`), or both:
 *
 * ```js
 * import { Verdict } from "portcullis-sdk";
 *
 * export default class ReadOnly {
 *   check(session, command) {
 *     const reads = ({ read, ...others }) => !Object.values(others).includes(true);
 *     return command.sql().every((s) => reads(s.effects())) ? Verdict.allow() : Verdict.deny("this target is for reading");
 *   }
 * }
 * ```
 *
 * In the gateway `Session`, `Command`, `SqlStatement` and `ResultSet` are handles of the host: each method is a call and a copy, so
 * read what you need, once, and keep none of them. Elsewhere they are the doubles of `portcullis-sdk/testing`, and `node --test` runs
 * a policy without a gateway. `wit/policy.wit` documents every type.
 *
 * Methods are synchronous: a promise is no answer. A component has no timers, no network, no time but `clock` and no randomness but
 * `random`. What a policy throws denies, and goes to the gateway's log with its stack.
 */

/** A policy that decides on sessions and commands. Name the hook `commands` in policy.toml. */
export interface Commands {
  /** May the session open? Without this method, it may. */
  open?(session: Session): Verdict;
  /** May the command run? */
  check(session: Session, command: Command): Verdict;
  /**
   * May the command run now that these people approved it? A policy that demands reviews must have this: without it the command is
   * checked again, and demanding another review is a denial.
   */
  approved?(session: Session, command: Command, approvers: string[]): Verdict;
}

/** A policy that decides on results. Name the hook `rows` in policy.toml. */
export interface Rows {
  /** What happens to the columns of a result, before its first row. */
  plan(session: Session, command: Command, result: ResultSet): Plan;
  /** What changes in the inspected columns of a batch of at most 1024 rows. A policy that inspects must have this. */
  filter?(session: Session, command: Command, result: ResultSet, rowCount: number, chunks: Chunk[]): BatchResult;
}

/** A policy's class. The settings fit the package's JSON schema already; throw `SettingErrors` for what is wrong in them. */
export interface PolicyClass<Settings = Record<string, unknown>> {
  new (settings: Settings): Commands | Rows;
  /** The kinds of command to check; `["sql"]` if it has the method `check`. */
  kinds?: string[];
}

/** A principal's connection to a target. */
export interface Session {
  /** A UUID in hyphenated form. */
  id(): string;
  protocol(): string;
  /** The authenticated name. */
  principal(): string;
  groups(): string[];
  target(): string;
  /** A label of the target. */
  label(name: string): string | undefined;
  clientAddress(): string;
  /** `certificate` or `scram-sha-256`. */
  credential(): string;
  /** The justification that the principal gave, if any. */
  reason(): string | undefined;
}

/** `prepare`: nothing of it runs yet, and parameters may be missing. */
export type Phase = "prepare" | "execute";

/** One command. */
export interface Command {
  kind(): string;
  phase(): Phase;
  /** The first `maxBytes` bytes of the exact text that will run. */
  text(maxBytes: number): string;
  /** What two alike commands share. */
  fingerprint(): string;
  /** False when the host could not read it: calling `sql` or `fingerprint` then makes the answer a denial. */
  parsed(): boolean;
  /** The statements, in order. */
  sql(): SqlStatement[];
  /** The bound parameters, in order. */
  parameters(): Parameter[];
  /** What decides which rows it finds, in which order and in which groups, with the base columns that each derives from. */
  conditions(): Column[];
}

export interface Parameter {
  /** The bytes on the wire; undefined is NULL. */
  value?: Uint8Array;
  binary: boolean;
}

/** What running a statement may do. */
export interface Effects {
  read: boolean;
  write: boolean;
  ddl: boolean;
  privilege: boolean;
  sessionState: boolean;
  transaction: boolean;
  copyIn: boolean;
  copyOut: boolean;
  serverFile: boolean;
  /** Runs text that the host cannot see: treat it as able to do anything. */
  opaque: boolean;
}

/** A relation that a statement names, and what it does to it. */
export interface Relation {
  schema: string;
  name: string;
  effects: Effects;
}

/** A column of a relation; `*` for all. */
export interface ColumnRef {
  schema: string;
  relation: string;
  name: string;
}

/** One statement, as the server's own grammar reads it. */
export interface SqlStatement {
  dialect(): string;
  /** The leading verb in upper case. */
  verb(): string;
  effects(): Effects;
  relations(): Relation[];
  columnsRead(): ColumnRef[];
  functions(): string[];
  /** False when an UPDATE or DELETE anywhere in it has no WHERE clause, or one that is a constant. */
  hasWhere(): boolean;
}

/** A result before its first row. */
export interface ResultSet {
  /** The same for every batch of the result. */
  id(): bigint;
  columns(): Column[];
}

export interface Column {
  /** The name that the client sees. It proves nothing: whoever writes the query chooses it. */
  name: string;
  typeName: string;
  /** False for a plain copy of one base column. */
  computed: boolean;
  /** The base columns that it may derive from; empty for unknown if `computed`. */
  origins: ColumnRef[];
  labels: string[];
}

export type Decision = "allow" | "deny" | "review";

/** What must happen before a held command may run. */
export interface Approval {
  /** The groups whose members may approve. */
  anyOf: string[];
  /** Shown to the client and the reviewers. */
  reason: string;
  /** How many people must approve: 1 to 16; 1 unless given. */
  quorum?: number;
  /** How long the request stays open; an hour unless given. */
  ttlSeconds?: number;
  /** Whether the approval serves identical commands too; `once` unless given. */
  reuse?: "once" | "same-command";
}

/** The answer to a command. */
export class Verdict {
  private constructor();
  readonly decision: Decision;
  readonly message?: string;
  readonly rewrite?: string;
  readonly approval?: Required<Approval>;
  readonly findings: { rule: string; message: string }[];
  /** Let it run. */
  static allow(): Verdict;
  /** Refuse it, and tell the client why. */
  static deny(message: string): Verdict;
  /** Hold it until people approve. */
  static review(approval: Approval): Verdict;
  /** Let this text run in its place. */
  static rewrite(text: string): Verdict;
  /** Adds a finding for the audit: the rule that spoke, and what it saw. Never a value of a result or a parameter. */
  finding(rule: string, message: string): this;
}

/** The policy cannot answer: a denial. The code is short and stable; the message goes to the client. */
export class PolicyError extends Error {
  constructor(code: string, message: string);
  readonly code: string;
}

/** Collects what is wrong in settings, so that all of it is told at once. */
export class SettingErrors extends Error {
  readonly errors: { path: string; message: string }[];
  /** Notes what is wrong at this JSON pointer (RFC 6901) unless the condition holds. */
  check(holds: boolean, path: string, message: string): this;
  /** Throws itself if anything was wrong. */
  throwIfAny(): void;
}

/** What happens to the columns of a result, by their index. Columns without a rule are kept; at most one rule a column. */
export class Plan {
  /** More rows than this refuse the rest of the result. */
  maxRows?: number | bigint;
  /** Hands the values of a column to `filter`. */
  inspect(column: number): this;
  /** Lets the host mask a column, the fastest way to hide it. */
  mask(column: number, name: "date-to-year" | "email" | "hash" | "null" | "redact"): this;
  mask(column: number, name: "constant", parameters: { value: string }): this;
  mask(column: number, name: "keep-last", parameters: { count: number }): this;
  /** Refuses the whole result with this message. */
  deny(column: number, message: string): this;
}

/** One inspected column of a batch. Its values lie one after another in `data`; value `i` ends at `ends[i]`. */
export class Chunk {
  readonly column: number;
  readonly nulls: Uint8Array;
  readonly ends: Uint32Array;
  readonly data: Uint8Array;
  /** How many rows it has. */
  get length(): number;
  /** The value in this row; undefined is NULL. */
  value(row: number): Uint8Array | undefined;
  /** The same as text. Positions in it are not those of bytes. */
  text(row: number): string | undefined;
  /** The bytes of a hit in it. */
  found(hit: detect.Hit): Uint8Array;
}

/** What to change in a chunk. */
export type Edit = Keep | Spans | Patch;

/** Leaves a chunk alone. Said explicitly, so that a forgotten `return` shows nothing to anybody. */
export const KEEP: Keep;

declare class Keep {
  private constructor();
  private readonly keep: true;
}

/** Overwrites bytes of values with a printable ASCII character, `*` unless given. */
export class Spans {
  constructor(fill?: string);
  /** Adds the bytes `start..start + length` of the value in a row; they begin and end at boundaries of characters. */
  add(row: number, start: number, length: number): this;
}

/** New values, in the text form of the column's type. */
export class Patch {
  /** Gives a row a new value; null is NULL. NULL stays NULL: it is not to be given a value. */
  set(row: number, value: Uint8Array | string | null): this;
}

export interface BatchResult {
  /** One for each chunk, in order. */
  edits: Edit[];
  /** Rows that the client is not to see. */
  dropRows?: number[];
  /** Refuses the rest of the result with this message. */
  abort?: string;
}

/** Lines for the gateway's log, under the policy's name; bounded in length (1024 bytes) and number. */
export namespace log {
  function debug(message: string): void;
  function info(message: string): void;
  function warn(message: string): void;
  function error(message: string): void;
}

/** Native detectors of personal data and secrets, which scan all values of a chunk in one call. */
export namespace detect {
  type Detector = "email" | "card" | "ssn" | "iban" | "phone" | "secret";
  /** Bytes of the value in a row that look like what the detector at this index of the request looks for. */
  interface Hit {
    row: number;
    start: number;
    len: number;
    detector: number;
    /** How sure: 50 for a shape, 100 for a shape with a checksum that holds. */
    score: number;
  }
  function names(): Detector[];
  /** The hits, in order; within a value they do not overlap. */
  function scan(detectors: Detector[], chunk: Chunk): Hit[];
}

/** The time. Needs the capability `clock`. */
export namespace clock {
  /** Milliseconds since the Unix epoch. */
  function nowMs(): number;
}

/** Randomness from the operating system. Needs the capability `random`. */
export namespace random {
  /** At most 4096 bytes. */
  function bytes(n: number): Uint8Array;
}

/**
 * Values that outlive an instance, shared by all sessions and private to the policy. Needs the capability `state`. Keys are at most
 * 256 bytes, values at most 65536; an entry lives for at most 604800 seconds after its last change.
 */
export namespace state {
  /** A change would exceed a bound, or the value is no counter. */
  class StateError extends Error {}
  function get(key: string): Uint8Array | undefined;
  /** Throws `StateError`. */
  function put(key: string, value: Uint8Array, ttlSeconds: number): void;
  /** Adds to a counter and returns the sum; its time to live runs from the first increment. Throws `StateError`. */
  function increment(key: string, by: number, ttlSeconds: number): number;
}

/** Keyed hashes with a secret that the policy never sees. Needs the capability `crypto`. */
export namespace crypto {
  /** The first `length` (1 to 32; 32 unless given) bytes of HMAC-SHA-256 of each value, under the gateway's masking key. */
  function hmacEach(values: Uint8Array[], length?: number): Uint8Array[];
}
