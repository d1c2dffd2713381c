import assert from "node:assert/strict";
import test from "node:test";

import { session, sql, statement } from "portcullis-sdk/testing";

import NoMassDelete from "./policy.js";

const alice = session("alice");
const remove = (facts) => sql("DELETE FROM orders", [statement("DELETE", { relations: { orders: ["write"] }, ...facts })]);

test("a DELETE without WHERE is refused", () => {
  const verdict = new NoMassDelete({}).check(alice, remove({ hasWhere: false }));
  assert.equal(verdict.decision, "deny");
  assert.deepEqual(verdict.findings, [{ rule: "no-where", message: "DELETE without WHERE" }]);
});

test("the message can be set", () => {
  const policy = new NoMassDelete({ message: "ask the data team" });
  assert.equal(policy.check(alice, remove({ hasWhere: false })).message, "ask the data team");
});

test("a DELETE with a WHERE runs", () => {
  assert.equal(new NoMassDelete({}).check(alice, remove()).decision, "allow");
});

test("one of several statements is enough", () => {
  const both = sql("SELECT 1; DELETE FROM orders", [statement("SELECT"), statement("DELETE", { hasWhere: false })]);
  assert.equal(new NoMassDelete({}).check(alice, both).decision, "deny");
});
