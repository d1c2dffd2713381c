import assert from "node:assert/strict";
import test, { beforeEach } from "node:test";

import { KEEP, Plan, Spans } from "portcullis-sdk";
import { chunk, column, detector, reset, result, session, sql, statement } from "portcullis-sdk/testing";

import MaskEmails from "./policy.js";

const alice = session("alice");
const select = sql("SELECT note FROM tickets", [statement("SELECT")]);

beforeEach(() => {
  reset();
  detector("email", { finds: "anna@example.com" });
});

function edit(settings, ...values) {
  const { edits } = new MaskEmails(settings).filter(alice, select, result(column("note")), values.length, [chunk(0, ...values)]);
  return edits[0].toEdit();
}

test("text columns are inspected and others are not", () => {
  const columns = result(column("id", "int4"), column("note", "text"), column("subject", "varchar"), column("at", "date"));
  assert.deepEqual(new MaskEmails({}).plan(alice, select, columns), new Plan().inspect(1).inspect(2));
});

test("an address is covered up to its domain", () => {
  assert.deepEqual(edit({}, null, "to anna@example.com"), new Spans().add(1, 3, 4).toEdit());
});

test("the domain can be covered too", () => {
  assert.deepEqual(edit({ keep_domain: false }, "anna@example.com"), new Spans().add(0, 0, 16).toEdit());
});

test("a batch without addresses is left alone", () => {
  assert.deepEqual(edit({}, "nothing", null), KEEP.toEdit());
});
