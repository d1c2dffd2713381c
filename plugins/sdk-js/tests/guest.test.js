import assert from "node:assert/strict";
import test, { beforeEach } from "node:test";

import { KEEP, Plan, PolicyError, SettingErrors, Verdict } from "portcullis-sdk";
import { component } from "portcullis-sdk/guest";
import { chunk, column, lines, reset, result, session, sql, statement } from "portcullis-sdk/testing";

const alice = session("alice");
const select = sql("SELECT 1", [statement("SELECT")]);

beforeEach(reset);

/** A component of a policy that answers every question in this way. */
function answering(answer) {
  const Policy = class {};
  for (const name of ["check", "plan", "filter"]) Policy.prototype[name] = answer;
  const exports = component(Policy);
  assert.deepEqual(exports.lifecycle.configure("{}"), { commands: ["sql"] });
  return exports;
}

function thrown(call) {
  try {
    call();
  } catch (error) {
    return error;
  }
  assert.fail("it throws nothing");
}

test("what a policy throws denies, and its place is told and logged without its text for the client", () => {
  const { commands } = answering(() => {
    throw new RangeError("value 4711");
  });
  const { code, message } = thrown(() => commands.check(alice, select));
  assert.equal(code, "exception");
  assert.match(message, /^the policy failed with RangeError at guest\.test\.js:\d+$/);
  assert.match(lines()[0].message, /^RangeError: value 4711; at guest\.test\.js:\d+, called from /);
  assert.equal(lines()[0].level, "error");
});

test("an error of the policy's own reaches the client", () => {
  const { commands } = answering(() => {
    throw new PolicyError("no-data", "there is no data");
  });
  assert.deepEqual(thrown(() => commands.check(alice, select)), { code: "no-data", message: "there is no data" });
  assert.deepEqual(lines(), []);
});

test("what is no answer is an error", () => {
  for (const answer of [undefined, null, "allow", Promise.resolve(Verdict.allow()), true]) {
    const { commands, rows } = answering(() => answer);
    assert.equal(thrown(() => commands.check(alice, select)).code, "exception");
    assert.equal(thrown(() => commands.approved(alice, select, ["bob"])).code, "exception");
    assert.equal(thrown(() => rows.planResult(alice, select, result(column("a")))).code, "exception");
    assert.equal(thrown(() => rows.filterBatch(alice, select, result(column("a")), 1, [chunk(0, "x")])).code, "exception");
  }
  const { rows } = answering(() => ({ edits: [undefined] }));
  assert.equal(thrown(() => rows.filterBatch(alice, select, result(column("a")), 1, [chunk(0, "x")])).code, "exception");
});

test("answers are handed over as the interface wants them", () => {
  assert.equal(answering(() => Verdict.allow()).commands.check(alice, select).decision, "allow");
  assert.equal(answering(() => undefined).commands.open(alice).decision, "allow");
  const { rules } = answering(() => new Plan().inspect(0)).rows.planResult(alice, select, result(column("a")));
  assert.deepEqual(rules, [{ column: 0, action: { tag: "inspect" } }]);
  const { rows } = answering(() => ({ edits: [KEEP], dropRows: [0] }));
  const batch = rows.filterBatch(alice, select, result(column("a")), 1, [chunk(0, "x")]);
  assert.deepEqual(batch, { edits: [{ tag: "keep" }], dropRows: Uint32Array.of(0), abort: undefined });
});

test("the handles of statements are given back, whatever the policy does", () => {
  for (const fails of [false, true]) {
    let held = 0;
    const command = sql("SELECT 1", []);
    command.sql = () => {
      held += 1;
      return [{ ...statement("SELECT"), [Symbol.dispose ?? Symbol.for("dispose")]: () => (held -= 1) }];
    };
    const { commands } = answering((_, asked) => {
      if (asked.sql().length === asked.sql().length && !fails) return Verdict.allow();
      throw new Error();
    });
    try {
      commands.check(alice, command);
    } catch (error) {
      assert.equal(fails && error.code, "exception");
    }
    assert.equal(held, 0);
  }
});

test("a policy without `check` registers for nothing", () => {
  assert.deepEqual(component(class { plan() {} }).lifecycle.configure("{}"), { commands: [] });
});

test("settings are checked when the policy is loaded", () => {
  const { lifecycle } = component(
    class {
      constructor({ a, b }) {
        new SettingErrors().check(a === undefined, "/a", "there is no a").throwIfAny();
        b?.fails();
      }
    },
  );
  lifecycle.validateSettings("{}");
  assert.deepEqual(thrown(() => lifecycle.validateSettings('{"a": 1}')), [{ path: "/a", message: "there is no a" }]);
  assert.match(thrown(() => lifecycle.validateSettings('{"b": 1}'))[0].message, /TypeError/);
  assert.equal(thrown(() => lifecycle.configure('{"a": 1}')).code, "bad-settings");
});
