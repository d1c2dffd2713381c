import { Chunk, joined } from "../rows.js";

export function session(principal, { groups = [], labels = {}, reason } = {}) {
  return {
    id: () => "0190b8a4-0000-7000-8000-000000000001",
    protocol: () => "postgres",
    principal: () => principal,
    groups: () => [...groups],
    target: () => "app",
    label: (name) => labels[name],
    clientAddress: () => "192.0.2.1",
    credential: () => "scram-sha-256",
    reason: () => reason,
  };
}

export function sql(text, statements, { phase = "execute", parameters = [], conditions = [] } = {}) {
  const read = (what) => {
    if (!statements) throw new Error(`the policy asks for the ${what} of a command that was not read`);
    return statements;
  };
  return {
    kind: () => "sql",
    phase: () => phase,
    text: (maxBytes) => new TextDecoder().decode(encoded(text).subarray(0, maxBytes)).replace(/\ufffd+$/, ""),
    fingerprint: () => read("fingerprint") && text.toLowerCase(),
    parsed: () => Boolean(statements),
    sql: () => [...read("statements")],
    conditions: () => read("conditions") && [...conditions],
    parameters: () => parameters.map((value) => ({ value: value === null ? undefined : encoded(value), binary: false })),
  };
}

export const unreadable = (text) => sql(text, undefined);

export function statement(verb, facts = {}) {
  const { effects = [], relations = {}, columns = [], functions = [], hasWhere = true } = facts;
  const all = [...effects, ...Object.values(relations).flat()];
  return {
    dialect: () => "postgres",
    verb: () => verb,
    effects: () => flags(all),
    relations: () => Object.entries(relations).map(([name, done]) => ({ ...named(name), effects: flags(done) })),
    columnsRead: () => columns.map(columnRef),
    functions: () => [...functions],
    hasWhere: () => hasWhere,
  };
}

export function result(...columns) {
  return { id: () => 1n, columns: () => [...columns] };
}

export function column(name, typeName = "text", { origins = [], computed = false, labels = [] } = {}) {
  return { name, typeName, computed, origins: origins.map(columnRef), labels };
}

export function chunk(column, ...values) {
  const nulls = new Uint8Array(Math.ceil(values.length / 8));
  values.forEach((value, row) => (nulls[row >> 3] |= (value === null) << (row & 7)));
  return new Chunk({ column, nulls, ...joined(values.map((value) => encoded(value ?? ""))) });
}

const EFFECTS = "read write ddl privilege sessionState transaction copyIn copyOut serverFile opaque".split(" ");

function flags(names) {
  const unknown = names.find((name) => !EFFECTS.includes(name));
  if (unknown) throw new Error(`there is no effect "${unknown}"; there are ${EFFECTS.join(", ")}`);
  return Object.fromEntries(EFFECTS.map((name) => [name, names.includes(name)]));
}

function encoded(text) {
  return new TextEncoder().encode(text);
}

function named(text) {
  const [name, schema = ""] = text.split(".").reverse();
  return { schema, name };
}

function columnRef(text) {
  const [name, relation = "", schema = ""] = text.split(".").reverse();
  return { schema, relation, name };
}
