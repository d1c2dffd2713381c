"""pg8000, in Python only: the extended protocol in text, prepared statements, COPY, errors."""

import io
import os
import ssl

import pg8000.dbapi
import pg8000.native

context = None
if os.environ["PGSSLMODE"] == "require":
    # The test's certificate is by nobody whom Python knows.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
where = {
    "user": os.environ["PGUSER"],
    "password": os.environ["PGPASSWORD"],
    "host": os.environ["PGHOST"],
    "port": int(os.environ["PGPORT"]),
    "database": os.environ["PGDATABASE"],
    "ssl_context": context,
}

with pg8000.native.Connection(**where, application_name="pg8000") as conn:
    rows = conn.run("select id, email, card, ssn from customers where id = :id", id=1)
    assert rows == [[1, "a***@example.com", "***************1111", "[redacted] "]], rows
    statement = conn.prepare("select email as e from customers where id = :id")
    for _ in range(3):
        assert statement.run(id=2) == [["g***@example.com"]]
    for text, state in [("delete from orders", "42501"), ("select 1/0", "22012"), ("select * from nowhere", "42P01")]:
        try:
            conn.run(text)
            raise AssertionError(f"{text} passed")
        except pg8000.native.DatabaseError as error:
            assert error.args[0]["C"] == state, error
        assert conn.run("select 5") == [[5]]
    assert statement.run(id=2) == [["g***@example.com"]]
    statement.close()

with pg8000.dbapi.connect(**where) as conn:
    cur = conn.cursor()
    cur.execute("insert into orders (id, customer, product, cents) values (%s, %s, %s, %s)", (900, 1, "lamp", 5))
    try:
        cur.execute("truncate orders")
        raise AssertionError("the truncate passed")
    except pg8000.dbapi.DatabaseError as error:
        assert "no-destructive-sql" in error.args[0]["M"], error
    try:
        cur.execute("select 1")
        raise AssertionError("the transaction goes on after a denial")
    except pg8000.dbapi.DatabaseError as error:
        assert error.args[0]["C"] == "25P02", error
    conn.rollback()
    cur.execute("select count(*) from orders")
    assert cur.fetchone() == [40]
    rows = "".join(f"{1000 + n}\t1\tthing {n}\t5\n" for n in range(500))
    cur.execute("copy orders (id, customer, product, cents) from stdin", stream=io.StringIO(rows))
    try:
        cur.execute("copy customers to stdout", stream=io.BytesIO())
        raise AssertionError("the copy passed")
    except pg8000.dbapi.DatabaseError as error:
        assert error.args[0]["C"] == "42501", error
    conn.rollback()
    cur.execute("copy orders (id, customer, product, cents) from stdin", stream=io.StringIO(rows))
    conn.commit()
    cur.executemany("insert into orders (id, customer, product, cents) values (%s, 1, 'x', 5)", [(2000 + n,) for n in range(9)])
    conn.commit()
    cur.execute("select count(*) from orders")
    assert cur.fetchone() == [549]
print("ok")
