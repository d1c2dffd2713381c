"""psycopg 3: text and binary, server-side parameters, prepared statements, pipelines, COPY, cursors."""

import psycopg
from psycopg import errors

with psycopg.connect(autocommit=True) as conn:
    for binary in (False, True):
        cur = conn.cursor(binary=binary)
        row = cur.execute("select id, email, card, ssn, born from customers where id = %s", (1,), prepare=True).fetchone()
        assert row[:3] == (1, "a***@example.com", "***************1111"), row
        assert str(row[4]) == "1985-12-10", row
        for _ in range(3):
            assert cur.execute("select count(*) from orders where cents > %s", (0,), prepare=True).fetchone() == (40,)
        try:
            cur.execute("delete from orders")
            raise AssertionError("the delete passed")
        except errors.InsufficientPrivilege as error:
            assert "no-destructive-sql" in str(error), error
        assert cur.execute("select 1").fetchone() == (1,)

    with conn.pipeline():
        cursors = [conn.execute("select %s::int", (n,)) for n in range(20)]
        assert [c.fetchone()[0] for c in cursors] == list(range(20))

    with conn.cursor() as cur:
        with cur.copy("copy orders (id, customer, product, cents) from stdin") as copy:
            for n in range(1000):
                copy.write_row((5000 + n, 1, f"thing {n}", 5))
        try:
            with cur.copy("copy customers to stdout") as copy:
                list(copy)
            raise AssertionError("the copy passed")
        except errors.InsufficientPrivilege:
            pass
        assert cur.execute("select count(*) from orders").fetchone() == (1040,)

with psycopg.connect() as conn:
    with conn.cursor(name="rows") as cur:
        cur.itersize = 7
        cur.execute("select email from customers order by id")
        got = [row[0] for row in cur]
        assert got[0] == "a***@example.com" and all("***@" in e for e in got), got
    try:
        conn.execute("drop table orders")
        raise AssertionError("the drop passed")
    except errors.InsufficientPrivilege:
        pass
    try:
        conn.execute("select 1")
        raise AssertionError("the transaction goes on after a denial")
    except errors.InFailedSqlTransaction:
        conn.rollback()
    assert conn.execute("select 1").fetchone() == (1,)

print("ok")
