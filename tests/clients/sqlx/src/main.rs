//! sqlx: binary prepared statements and simple queries, transactions, COPY, a pool.

use sqlx::postgres::{PgConnection, PgPoolCopyExt as _, PgPoolOptions};
use sqlx::{Connection as _, Error, Executor as _, PgPool, Row as _};

#[tokio::main]
async fn main() -> Result<(), Error> {
    // What there is to know stands in the environment, as for libpq.
    let pool = PgPoolOptions::new().max_connections(3).connect_with(Default::default()).await?;
    reads(&pool).await?;
    denials(&pool).await?;
    transactions(&pool).await?;
    copies(&pool).await?;
    println!("ok");
    Ok(())
}

async fn reads(pool: &PgPool) -> Result<(), Error> {
    for _ in 0..3 {
        let text = "select id, email, card, ssn from customers where id = $1";
        let row: (i32, String, String, String) = sqlx::query_as(text).bind(1).fetch_one(pool).await?;
        assert_eq!(row, (1, "a***@example.com".into(), "***************1111".into(), "[redacted] ".into()));
    }
    // Without parameters to bind it goes as a simple query, and comes in text.
    let row = pool.fetch_one(sqlx::raw_sql("select email from customers where id = 2")).await?;
    assert_eq!(row.get::<String, _>(0), "g***@example.com");
    let many: Vec<_> =
        (0..50).map(|n: i32| sqlx::query_scalar::<_, i32>("select $1").bind(n).fetch_one(pool)).collect();
    for (n, one) in (0..).zip(many) {
        assert_eq!(one.await?, n);
    }
    Ok(())
}

async fn denials(pool: &PgPool) -> Result<(), Error> {
    let mut conn = pool.acquire().await?;
    for (text, state) in [
        ("delete from orders", "42501"),
        ("select 1 / 0", "22012"),
        ("select * from nowhere", "42P01"),
        ("insert into orders (id, customer, product, cents) values (1, 1, 'x', 1)", "23505"),
    ] {
        fails(state, sqlx::query(text).execute(&mut *conn).await);
        fails(state, conn.execute(sqlx::raw_sql(text)).await);
        assert_eq!(count(&mut conn).await?, 40);
    }
    Ok(())
}

async fn transactions(pool: &PgPool) -> Result<(), Error> {
    let mut conn = pool.acquire().await?;
    let mut tx = conn.begin().await?;
    let text = "insert into orders (id, customer, product, cents) values ($1, 1, 'lamp', 5)";
    sqlx::query(text).bind(900).execute(&mut *tx).await?;
    let mut inner = tx.begin().await?;
    fails("42501", sqlx::query("truncate orders").execute(&mut *inner).await);
    fails("25P02", sqlx::query("select 1").execute(&mut *inner).await);
    inner.rollback().await?;
    assert_eq!(count(&mut tx).await?, 41);
    tx.rollback().await?;
    assert_eq!(count(&mut conn).await?, 40);
    Ok(())
}

async fn copies(pool: &PgPool) -> Result<(), Error> {
    let mut copy = pool.copy_in_raw("copy orders (id, customer, product, cents) from stdin").await?;
    for n in 7000..7500 {
        copy.send(format!("{n}\t1\tthing\t5\n").into_bytes()).await?;
    }
    assert_eq!(copy.finish().await?, 500);
    fails("42501", pool.copy_out_raw("copy customers to stdout").await);
    assert_eq!(count(&mut *pool.acquire().await?).await?, 540);
    Ok(())
}

async fn count(conn: &mut PgConnection) -> Result<i64, Error> {
    sqlx::query_scalar("select count(*) from orders").fetch_one(conn).await
}

fn fails<T>(state: &str, result: Result<T, Error>) {
    let error = result.err().expect("it passed");
    let code = error.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
    assert_eq!(code.as_deref(), Some(state), "{error}");
}
