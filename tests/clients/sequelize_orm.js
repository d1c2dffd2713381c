// Sequelize over node-postgres: models, associations, transactions and its questions about the schema.

const assert = require("node:assert");
const { DataTypes, ForeignKeyConstraintError, Sequelize } = require("sequelize");

// The test's certificate is by nobody whom Node.js knows.
const ssl = process.env.PGSSLMODE === "require" ? { rejectUnauthorized: false } : false;
const { PGHOST: host, PGPORT: port, PGUSER, PGPASSWORD, PGDATABASE } = process.env;

async function main() {
  const db = new Sequelize(PGDATABASE, PGUSER, PGPASSWORD, { host, port, dialect: "postgres", dialectOptions: { ssl }, logging: false });
  await db.authenticate();
  const plain = { timestamps: false };
  const Customer = db.define("customer", { name: DataTypes.TEXT, email: DataTypes.TEXT, card: DataTypes.STRING }, plain);
  const Order = db.define("order", { id: { type: DataTypes.INTEGER, primaryKey: true }, product: DataTypes.TEXT, cents: DataTypes.INTEGER }, plain);
  Customer.hasMany(Order, { foreignKey: "customer" });

  const ada = await Customer.findOne({ where: { name: "Ada Lovelace" }, include: Order });
  assert.strictEqual(ada.email, "a***@example.com");
  assert.strictEqual(ada.card, "***************1111");
  assert.strictEqual(ada.orders.length, 10);
  const { count, rows } = await Customer.findAndCountAll({ limit: 2, order: ["id"] });
  assert.ok(count === 4 && rows.every((row) => row.email.includes("***@")));

  await db.transaction(async (transaction) => {
    const order = await Order.create({ id: 900, product: "lamp", cents: 5, customer: 1 }, { transaction });
    await order.update({ cents: 6 }, { transaction });
  });
  assert.strictEqual((await Order.findByPk(900)).cents, 6);
  await assert.rejects(Order.create({ id: 901, product: "lamp", cents: 5, customer: 99 }), ForeignKeyConstraintError);

  const isDenied = (error) => error.parent.code === "42501" && /no-destructive-sql/.test(error.message);
  await assert.rejects(Order.destroy({ truncate: true }), isDenied);
  const undone = db.transaction(async (transaction) => {
    await Order.create({ id: 902, product: "lamp", cents: 5, customer: 1 }, { transaction });
    await db.query("delete from orders", { transaction });
  });
  await assert.rejects(undone, isDenied);
  assert.strictEqual(await Order.count(), 41);

  const tables = await db.getQueryInterface().showAllTables();
  assert.ok(tables.some((table) => (table.tableName ?? table) === "orders"), JSON.stringify(tables));
  const columns = await db.getQueryInterface().describeTable("customers");
  assert.ok(columns.id.primaryKey && columns.email.type === "TEXT", JSON.stringify(columns));
  assert.strictEqual((await db.getQueryInterface().showIndex("orders")).length, 1);
  await db.close();
  console.log("ok");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
