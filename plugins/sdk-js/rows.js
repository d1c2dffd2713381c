export class Plan {
  rules = [];
  maxRows = undefined;

  inspect(column) {
    return this.#add(column, { tag: "inspect" });
  }

  mask(column, name, parameters = {}) {
    const pairs = Object.entries(parameters).map(([key, value]) => [key, String(value)]);
    return this.#add(column, { tag: "mask", val: { name, parameters: pairs } });
  }

  deny(column, message) {
    return this.#add(column, { tag: "deny", val: message });
  }

  #add(column, action) {
    this.rules.push({ column, action });
    return this;
  }
}

export class Chunk {
  constructor({ column, nulls, ends, data }) {
    this.column = column;
    this.nulls = nulls;
    this.ends = ends;
    this.data = data;
  }

  get length() {
    return this.ends.length;
  }

  value(row) {
    if (row >= this.length || (this.nulls[row >> 3] >> (row & 7)) & 1) return undefined;
    return this.data.subarray(row === 0 ? 0 : this.ends[row - 1], this.ends[row]);
  }

  text(row) {
    const bytes = this.value(row);
    return bytes && new TextDecoder().decode(bytes);
  }

  found({ row, start, len }) {
    const from = (row === 0 ? 0 : this.ends[row - 1]) + start;
    return this.data.subarray(from, from + len);
  }
}

/** Said explicitly, so that a forgotten `return` shows nothing to anybody. */
export const KEEP = { toEdit: () => ({ tag: "keep" }) };

export class Spans {
  #rows = [];
  #starts = [];
  #lens = [];

  constructor(fill = "*") {
    this.fill = fill;
  }

  add(row, start, length) {
    this.#rows.push(row);
    this.#starts.push(start);
    this.#lens.push(length);
    return this;
  }

  toEdit() {
    const lists = { rows: this.#rows, starts: this.#starts, lens: this.#lens };
    const val = { fill: this.fill.charCodeAt(0) };
    for (const [name, numbers] of Object.entries(lists)) val[name] = Uint32Array.from(numbers);
    return { tag: "spans", val };
  }
}

export class Patch {
  #values = new Map();

  set(row, value) {
    this.#values.set(row, typeof value === "string" ? new TextEncoder().encode(value) : value);
    return this;
  }

  toEdit() {
    const rows = [...this.#values.keys()].sort((a, b) => a - b);
    const values = rows.map((row) => this.#values.get(row));
    const nulls = new Uint8Array(Math.ceil(rows.length / 8));
    values.forEach((value, i) => (nulls[i >> 3] |= (value === null) << (i & 7)));
    const { ends, data } = joined(values.map((value) => value ?? new Uint8Array()));
    return { tag: "patch", val: { rows: Uint32Array.from(rows), nulls, ends, data } };
  }
}

/** Values as the interface wants them: one after another, with where each ends. */
export function joined(values) {
  let length = 0;
  const ends = Uint32Array.from(values, (value) => (length += value.length));
  const data = new Uint8Array(length);
  values.forEach((value, i) => data.set(value, ends[i] - value.length));
  return { ends, data };
}
