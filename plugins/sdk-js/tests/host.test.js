import assert from "node:assert/strict";
import test, { beforeEach } from "node:test";

import { clock, crypto, detect, log, random, state } from "portcullis-sdk";
import * as testing from "portcullis-sdk/testing";

const bytes = (text) => new TextEncoder().encode(text);

beforeEach(testing.reset);

test("values of a chunk are found and NULL is undefined", () => {
  const values = ["a", null, "", "längst", null, "b", "c", "d", "e", null];
  const chunk = testing.chunk(3, ...values);
  assert.equal(chunk.length, 10);
  assert.deepEqual(values.map((_, row) => chunk.text(row)), values.map((value) => value ?? undefined));
  assert.equal(chunk.value(10), undefined);
});

test("a detector finds what it was told", () => {
  testing.detector("email", { finds: "a@b.c", score: 70 });
  const chunk = testing.chunk(0, "nothing", "é a@b.c a@b.c", null);
  const hits = detect.scan(["card", "email"], chunk);
  const hit = { row: 1, len: 5, detector: 1, score: 70 };
  assert.deepEqual(hits, [{ ...hit, start: 3 }, { ...hit, start: 9 }]);
  assert.deepEqual(hits.map((h) => chunk.found(h)), [bytes("a@b.c"), bytes("a@b.c")]);
});

test("a counter is a window", () => {
  testing.setNowMs(1000);
  assert.deepEqual([1, 2, 3].map(() => state.increment("k", 2, 10)), [2, 4, 6]);
  testing.setNowMs(11_000);
  assert.equal(state.increment("k", -1, 10), -1);
  state.put("text", bytes("abc"), 1);
  assert.throws(() => state.increment("text", 1, 1), { name: "StateError", message: /not a counter/ });
  assert.deepEqual(state.get("text"), bytes("abc"));
  testing.setStateFailing(true);
  assert.throws(() => state.put("text", bytes("d"), 1), { name: "StateError", message: /full/ });
});

test("the other functions of the host", () => {
  testing.setNowMs(7);
  log.warn("careful");
  assert.equal(clock.nowMs(), 7);
  assert.deepEqual(testing.lines(), [{ level: "warn", message: "careful" }]);
  assert.equal(random.bytes(5).length, 5);
  const [first, second, again] = crypto.hmacEach(["a", "bc", "a"].map(bytes), 8);
  assert.equal(first.length, 8);
  assert.deepEqual(first, again);
  assert.notDeepEqual(first, second);
});

test("facts are what the test says", () => {
  const alice = testing.session("alice", { groups: ["dev"], labels: { env: "production" } });
  assert.deepEqual([alice.groups(), alice.label("env"), alice.label("x")], [["dev"], "production", undefined]);
  const drop = testing.statement("DROP TABLE", { relations: { "public.x": ["ddl"] }, effects: ["read"] });
  const { read, ddl, write } = drop.effects();
  assert.deepEqual({ read, ddl, write }, { read: true, ddl: true, write: false });
  assert.deepEqual([drop.relations()[0].schema, drop.relations()[0].name], ["public", "x"]);
  assert.throws(() => testing.statement("X", { effects: ["writes"] }).effects(), /no effect "writes"/);
  assert.equal(testing.sql("DRÖP", [drop]).text(3), "DR");
  assert.throws(() => testing.unreadable("?").sql(), /was not read/);
});
