import assert from "node:assert/strict";
import test from "node:test";

import { Patch, Plan, SettingErrors, Spans, Verdict } from "portcullis-sdk";

test("answers stay within the interface", () => {
  const verdict = Verdict.deny("x".repeat(1023) + "é\0").finding("é".repeat(100), "\0");
  assert.equal(verdict.message, "x".repeat(1023));
  assert.deepEqual(verdict.findings, [{ rule: "é".repeat(64), message: " " }]);
});

test("all that is wrong in settings is told at once", () => {
  new SettingErrors().check(true, "/a", "wrong").throwIfAny();
  const errors = new SettingErrors().check(false, "/a", "too long").check(true, "/b", "fine").check(false, "", "empty");
  assert.throws(() => errors.throwIfAny(), { message: "/a: too long; /: empty" });
});

test("plans and edits are laid out as the interface says", () => {
  assert.deepEqual(new Plan().mask(2, "keep-last", { count: 4 }).deny(0, "no").rules, [
    { column: 2, action: { tag: "mask", val: { name: "keep-last", parameters: [["count", "4"]] } } },
    { column: 0, action: { tag: "deny", val: "no" } },
  ]);
  const spans = { rows: Uint32Array.of(1), starts: Uint32Array.of(2), lens: Uint32Array.of(3), fill: 120 };
  assert.deepEqual(new Spans("x").add(1, 2, 3).toEdit(), { tag: "spans", val: spans });
  const patch = new Patch();
  for (let row = 9; row >= 0; row--) patch.set(row, row === 1 || row === 9 ? null : "ab");
  const { val } = patch.toEdit();
  assert.deepEqual([...val.nulls], [0b10, 0b10]);
  assert.deepEqual([...val.rows], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.deepEqual([val.ends[0], val.ends[1], val.ends[9], val.data.length], [2, 2, 16, 16]);
});
