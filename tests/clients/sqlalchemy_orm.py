"""SQLAlchemy over psycopg and asyncpg: the ORM, reflection, transactions and savepoints."""

import asyncio
import os
import ssl

from sqlalchemy import URL, ForeignKey, MetaData, create_engine, delete, func, inspect, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, selectinload


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    card: Mapped[str | None]
    orders: Mapped[list["Order"]] = relationship(order_by="Order.id")


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[int] = mapped_column(ForeignKey("customers.id"))
    product: Mapped[str]
    cents: Mapped[int]


env = os.environ
encrypted = env["PGSSLMODE"] == "require"


def url(driver):
    port = int(env["PGPORT"])
    return URL.create(f"postgresql+{driver}", env["PGUSER"], env["PGPASSWORD"], env["PGHOST"], port, env["PGDATABASE"])


def is_denied(error):
    # Drivers name the state differently.
    state = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
    return state == "42501" and "no-destructive-sql" in str(error.orig)


def over_psycopg():
    engine = create_engine(url("psycopg"), pool_pre_ping=True)
    with Session(engine) as session:
        ada = session.scalars(select(Customer).where(Customer.id == 1).options(selectinload(Customer.orders))).one()
        assert (ada.email, ada.card) == ("a***@example.com", "***************1111"), ada.email
        assert len(ada.orders) == 10
        session.add_all([Order(id=1000 + n, customer=1, product="lamp", cents=n) for n in range(300)])
        session.commit()
        assert session.scalar(select(func.count()).select_from(Order)) == 340
        # What is not changed is not written back, so that no mask gets into the table.
        ada.orders[0].cents += 1
        session.commit()
        try:
            session.execute(delete(Order))
            raise AssertionError("the delete passed")
        except DBAPIError as error:
            assert is_denied(error), error
            session.rollback()
        with session.begin_nested() as savepoint:
            session.add(Order(id=2000, customer=99, product="lamp", cents=1))
            try:
                session.flush()
                raise AssertionError("a customer who is not there")
            except IntegrityError:
                savepoint.rollback()
        session.commit()
        assert session.scalar(select(func.count()).select_from(Order)) == 340

    found = inspect(engine)
    assert found.get_table_names() == ["customers", "orders"], found.get_table_names()
    assert found.get_view_names() == ["contacts"]
    assert found.get_pk_constraint("orders")["constrained_columns"] == ["id"]
    assert found.get_foreign_keys("orders")[0]["referred_table"] == "customers"
    everything = MetaData()
    everything.reflect(engine, views=True)
    assert set(everything.tables) == {"customers", "orders", "contacts"}
    assert str(everything.tables["customers"].c.card.type) == "VARCHAR(19)"
    engine.dispose()


async def over_asyncpg():
    context = None
    if encrypted:
        # The test's certificate is by nobody whom Python knows.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    engine = create_async_engine(url("asyncpg"), connect_args={"ssl": context or False})
    async with AsyncSession(engine) as session:
        rows = (await session.scalars(select(Customer).order_by(Customer.id))).all()
        assert rows[0].email == "a***@example.com" and all("***@" in row.email for row in rows)
        try:
            await session.execute(text("truncate orders"))
            raise AssertionError("the truncate passed")
        except DBAPIError as error:
            assert is_denied(error), error
            await session.rollback()
        session.add(Order(id=3000, customer=1, product="lamp", cents=1))
        await session.commit()
        assert await session.scalar(select(func.count()).select_from(Order)) == 341
    async with engine.connect() as conn:
        assert await conn.run_sync(lambda sync: inspect(sync).get_table_names()) == ["customers", "orders"]
        result = await conn.stream(select(Customer.email).order_by(Customer.id))
        assert all("***@" in email for email in [row.email async for row in result])
    await engine.dispose()


over_psycopg()
asyncio.run(over_asyncpg())
print("ok")
