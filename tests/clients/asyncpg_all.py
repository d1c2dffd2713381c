"""asyncpg: binary only, prepared statements, cursors, COPY, cancellation by timeout, concurrent connections."""

import asyncio

import asyncpg


async def main():
    conn = await asyncpg.connect(server_settings={"jit": "off", "client_min_messages": "warning"})
    # By the server's own number for the session, listeners know who notified.
    assert await conn.fetchval("select pg_backend_pid()") == conn.get_server_pid()
    row = await conn.fetchrow("select id, email, card, born from customers where id = $1", 1)
    assert row["email"] == "a***@example.com" and row["card"] == "***************1111", row
    statement = await conn.prepare("select email as e from customers where id = $1")
    for _ in range(3):
        assert (await statement.fetchval(2)) == "g***@example.com"
    try:
        await conn.execute("truncate orders")
        raise AssertionError("the truncate passed")
    except asyncpg.InsufficientPrivilegeError as error:
        assert "no-destructive-sql" in str(error), error
    assert await conn.fetchval("select count(*) from orders") == 40

    async with conn.transaction():
        got = [row["email"] async for row in conn.cursor("select email from customers order by id", prefetch=2)]
    assert len(got) == 4 and all("***@" in e for e in got), got

    await conn.copy_records_to_table(
        "orders", records=[(7000 + n, 1, "thing", 5) for n in range(500)], columns=["id", "customer", "product", "cents"]
    )
    assert await conn.fetchval("select count(*) from orders") == 540

    try:
        await conn.execute("select pg_sleep(600)", timeout=0.5)
        raise AssertionError("the sleep ended")
    except asyncio.TimeoutError:
        pass
    assert await conn.fetchval("select 3") == 3
    await conn.close()

    pool = await asyncpg.create_pool(min_size=4, max_size=4)
    values = await asyncio.gather(*(pool.fetchval("select $1::int", n) for n in range(100)))
    assert values == list(range(100)), values
    await pool.close()
    print("ok")


asyncio.run(main())
