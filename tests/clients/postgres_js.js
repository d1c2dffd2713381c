// postgres.js: pipelined prepared statements, simple queries, transactions, COPY, cursors, cancellation, errors.

const assert = require("node:assert");
const { Readable } = require("node:stream");
const { pipeline } = require("node:stream/promises");
const postgres = require("postgres");

// The test's certificate is by nobody whom Node.js knows.
const ssl = process.env.PGSSLMODE === "require" ? { rejectUnauthorized: false } : false;

async function denied(query) {
  await assert.rejects(query, (error) => error.code === "42501" && /denied by/.test(error.message));
}

async function play(prepare) {
  const sql = postgres({ ssl, max: 2, prepare, onnotice: () => {} });
  const before = Number((await sql`select count(*) from orders`)[0].count);
  for (const id of [1, 1, 2]) {
    const [row] = await sql`select id, email, card, born from customers where id = ${id}`;
    assert.strictEqual(row.email, id === 1 ? "a***@example.com" : "g***@example.com");
    assert.ok(row.card.startsWith("***************"), row.card);
    assert.ok(row.born instanceof Date);
  }
  // Sent together, one of them denied.
  const [a, b, c] = await Promise.allSettled([sql`select 1 as n`, sql`update orders set cents = 0`, sql`select 2 as n`]);
  assert.strictEqual(a.value[0].n, 1);
  assert.strictEqual(b.reason.code, "42501");
  assert.strictEqual(c.value[0].n, 2);
  await denied(sql.unsafe("drop table orders"));
  await assert.rejects(sql`select 1 / ${0}::int`, { code: "22012" });

  await denied(
    sql.begin(async (tx) => {
      await tx`insert into orders (id, customer, product, cents) values (900, 1, 'lamp', 5)`;
      await tx`delete from orders`;
    }),
  );
  await sql.begin(async (tx) => {
    await tx`insert into orders ${tx([{ id: 901 + before, customer: 1, product: "lamp", cents: 5 }])}`;
    await tx.savepoint((inner) => denied(inner`truncate orders`).then(() => Promise.reject(new Error("undo")))).catch(() => {});
  });
  assert.strictEqual(Number((await sql`select count(*) from orders`)[0].count), before + 1);

  const seen = [];
  for await (const rows of sql`select email from customers order by id`.cursor(2)) seen.push(...rows);
  assert.ok(seen.length === 4 && seen.every((row) => row.email.includes("***@")), JSON.stringify(seen));

  const rows = [...Array(500).keys()].map((n) => `${10000 * before + n}\t1\tthing\t5\n`);
  const into = await sql`copy orders (id, customer, product, cents) from stdin`.writable();
  await pipeline(Readable.from(rows), into);
  assert.strictEqual(Number((await sql`select count(*) from orders`)[0].count), before + 501);
  await denied(sql`copy customers to stdout`.readable());

  const sleep = sql`select pg_sleep(600)`.execute();
  while ((await sql`select 1 from pg_stat_activity where wait_event = 'PgSleep'`).length === 0);
  sleep.cancel();
  await assert.rejects(sleep, { code: "57014" });
  assert.strictEqual((await sql`select 3 as n`)[0].n, 3);
  await sql.end();
}

play(true)
  .then(() => play(false))
  .then(() => console.log("ok"))
  .catch((error) => {
    console.error(error);
    process.exit(1);
  });
