// node-postgres: text and binary, named statements, errors, a pool.

const assert = require("node:assert");
const { Client, Pool } = require("pg");

// The test's certificate is by nobody whom Node.js knows.
const ssl = process.env.PGSSLMODE === "require" ? { rejectUnauthorized: false } : false;

async function main() {
  for (const binary of [false, true]) {
    const client = new Client({ binary, ssl });
    await client.connect();
    const one = await client.query({
      name: "customer",
      text: "select id, email, card from customers where id = $1",
      values: [1],
    });
    assert.deepStrictEqual(one.rows, [{ id: 1, email: "a***@example.com", card: "***************1111" }]);
    const two = await client.query({ name: "customer", values: [2], text: "select id, email, card from customers where id = $1" });
    assert.strictEqual(two.rows[0].email, "g***@example.com");
    await assert.rejects(client.query("drop table orders"), (error) => error.code === "42501" && /no-destructive-sql/.test(error.message));
    assert.strictEqual((await client.query("select 5::int as n")).rows[0].n, 5);
    await client.end();
  }
  const pool = new Pool({ max: 3, ssl });
  const rows = await Promise.all([...Array(50).keys()].map((n) => pool.query("select $1::int as n", [n])));
  assert.deepStrictEqual(rows.map((r) => r.rows[0].n), [...Array(50).keys()]);
  await pool.end();
  console.log("ok");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
