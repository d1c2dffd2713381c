"""psycopg2: libpq's simple protocol in text, server-side cursors, COPY, cancellation, errors."""

import io
import threading

import psycopg2
from psycopg2 import errors
from psycopg2.extras import execute_values

conn = psycopg2.connect("")
with conn, conn.cursor() as cur:
    cur.execute("select id, email, card, ssn, born from customers where id = %s", (1,))
    row = cur.fetchone()
    assert row[:4] == (1, "a***@example.com", "***************1111", "[redacted] "), row
    assert str(row[4]) == "1985-12-10", row
    cur.execute("select name, email from customers where id = any(%s) order by id", ([1, 2],))
    assert cur.fetchall() == [("Ada Lovelace", "a***@example.com"), ("Grace Hopper", "g***@example.com")]

with conn, conn.cursor("rows") as cur:
    cur.itersize = 3
    cur.execute("select email from customers order by id")
    got = [row[0] for row in cur]
    assert got[0] == "a***@example.com" and all("***@" in e for e in got), got

# A denial fails the transaction that it happens in, and nothing of that is left.
with conn.cursor() as cur:
    cur.execute("insert into orders (id, customer, product, cents) values (900, 1, 'lamp', 5)")
    try:
        cur.execute("delete from orders")
        raise AssertionError("the delete passed")
    except errors.InsufficientPrivilege as error:
        assert error.pgcode == "42501" and "no-destructive-sql" in str(error), error
    try:
        cur.execute("select 1")
        raise AssertionError("the transaction goes on after a denial")
    except errors.InFailedSqlTransaction:
        conn.rollback()
    cur.execute("select count(*) from orders")
    assert cur.fetchone() == (40,)

with conn, conn.cursor() as cur:
    rows = "".join(f"{1000 + n}\t1\tthing {n}\t5\n" for n in range(500))
    cur.copy_expert("copy orders (id, customer, product, cents) from stdin", io.StringIO(rows))
    execute_values(cur, "insert into orders (id, customer, product, cents) values %s", [(2000 + n, 1, "x", 5) for n in range(250)])
    cur.execute("select count(*) from orders")
    assert cur.fetchone() == (790,)
    # COPY has no columns that a mask could find.
    try:
        cur.copy_expert("copy customers to stdout", io.StringIO())
        raise AssertionError("the copy passed")
    except errors.InsufficientPrivilege:
        conn.rollback()

with conn, conn.cursor() as cur:
    for text, state in [("select 1/0", "22012"), ("select * from nowhere", "42P01")]:
        try:
            cur.execute(text)
            raise AssertionError(f"{text} passed")
        except psycopg2.Error as error:
            assert error.pgcode == state, error
            conn.rollback()


def sleep(ended):
    with conn.cursor() as cur:
        try:
            cur.execute("select pg_sleep(600)")
        except errors.QueryCanceled as error:
            ended.append(error.pgcode)


ended = []
sleeper = threading.Thread(target=sleep, args=(ended,))
sleeper.start()
# A cancel that comes before its command hits nothing.
while sleeper.is_alive():
    conn.cancel()
    sleeper.join(0.1)
assert ended == ["57014"], ended
conn.rollback()
with conn, conn.cursor() as cur:
    cur.execute("select 3")
    assert cur.fetchone() == (3,)
conn.close()
print("ok")
