// What the interface allows in a message and in the name of a rule, in bytes.
const MAX_MESSAGE = 1024;
const MAX_RULE = 128;

export class Verdict {
  constructor(decision, rest = {}) {
    this.decision = decision;
    this.findings = [];
    Object.assign(this, rest);
  }

  static allow() {
    return new Verdict("allow");
  }

  static deny(message) {
    return new Verdict("deny", { message: bounded(message) });
  }

  static review({ anyOf, reason, quorum = 1, ttlSeconds = 3600, reuse = "once" }) {
    return new Verdict("review", { approval: { anyOf, quorum, ttlSeconds, reuse, reason: bounded(reason) } });
  }

  static rewrite(text) {
    return new Verdict("allow", { rewrite: text });
  }

  finding(rule, message) {
    this.findings.push({ rule: bounded(rule, MAX_RULE), message: bounded(message) });
    return this;
  }
}

export class PolicyError extends Error {
  name = "PolicyError";

  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

export class SettingErrors extends Error {
  name = "SettingErrors";
  errors = [];

  check(holds, path, message) {
    if (!holds) this.errors.push({ path, message });
    return this;
  }

  throwIfAny() {
    this.message = this.errors.map((e) => `${e.path || "/"}: ${e.message}`).join("; ");
    if (this.errors.length > 0) throw this;
  }
}

/** Cuts a text at a character's boundary, so that a long name in it does not turn an answer into a bad one. */
export function bounded(text, most = MAX_MESSAGE) {
  let bytes = 0;
  let cut = "";
  for (const character of String(text).replaceAll("\0", " ")) {
    const code = character.codePointAt(0);
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    if (bytes > most) break;
    cut += character;
  }
  return cut;
}
