//! What attackers try to get past the ready-made policies. Each of these once worked somewhere.

use std::time::Duration;

use portcullis_tests::gateway::{Gateway, USER_PASSWORD};
use tokio_postgres::NoTls;

use crate::support::{common, guarded, shop};

/// Personal data of the sample, and what simple functions make of it.
const CLEAR: [&str; 6] =
    ["ada@example.com", "moc.elpmaxe@ada", "grace@example", "123-45-6789", "9876-54-321", "4111 1111 1111 1111"];

fn leaks(text: &str) -> Option<&'static str> {
    CLEAR.into_iter().find(|clear| text.contains(clear))
}

#[test]
fn nothing_leads_around_the_masks() {
    let common = common();
    for text in [
        "begin; declare k cursor for select reverse(email), encode(ssn::bytea, 'escape') from customers; fetch all from k",
        "select email::int from customers",
        "select ssn::int from customers",
        "select (email || ssn)::date from customers",
        "select email::regclass from customers",
        "select 1 / (length(email) - length(email)) from customers",
        "begin; insert into orders (id, customer, product, cents) select 1000 + id, id, reverse(email), 1 from customers returning product; rollback",
        "with z as (update orders o set product = reverse(c.email) from customers c where c.id = o.id returning product) select product from z",
        "listen x; select count(pg_notify('x', reverse(email))) from customers",
        "select set_config('a.b', string_agg(reverse(email), ','), false) from customers; show a.b",
        "select set_config('a.b', string_agg(reverse(email), ','), false) from customers; select current_setting('a.b')",
        "select lo_from_bytea(424242, convert_to(string_agg(email, ','), 'utf8')) from customers; select encode(lo_get(424242), 'escape')",
        "select reverse(most_common_vals::text), reverse(histogram_bounds::text) from pg_stats where tablename = 'customers'",
        "update customers set name = null where id = 1",
        "insert into customers (id, name, email) values (1, 'x', 'y')",
        "select (c).email from customers c",
        "select (select array_agg(reverse(c.email)) from customers c)::text",
        "select xmlelement(name x, email)::text from customers",
        "select query_to_xml('select reverse(email) from customers', true, false, '')",
        "select json_agg(c)::text from customers c",
        "explain (analyze, verbose) select reverse(email) from customers where email = 'x'",
    ] {
        let (out, err) = common.gateway.query("alice", text).unwrap();
        assert_eq!(leaks(&format!("{out}\n{err}")), None, "{text}: {out} {err}");
    }
}

#[test]
fn errors_about_the_statement_itself_stay_readable() {
    let common = common();
    let err = |text: &str| common.gateway.query("alice", text).unwrap().1;
    assert!(err("select nme from customers").contains("column \"nme\" does not exist"));
    assert!(err("select * from custmers").contains("relation \"custmers\" does not exist"));
    let withheld = err("update customers set name = null where id = 1");
    assert!(withheld.contains("is withheld"), "{withheld}");
}

#[test]
fn a_function_of_somebodys_is_not_trusted() {
    let postgres = shop();
    postgres
        .sql(
            "shop",
            "create function emails() returns setof text language sql as 'select email from customers';
        create view via as select reverse(e) as e from emails() e; grant select on via to portcullis",
        )
        .unwrap();
    let gateway = Gateway::start(guarded(&postgres)).unwrap();
    for text in
        ["select reverse(e) from emails() e", "select emails()", "select reverse(e) from via", "select e from via"]
    {
        let (out, err) = gateway.query("alice", text).unwrap();
        assert_eq!(leaks(&format!("{out}\n{err}")), None, "{text}: {out} {err}");
        assert!(out.contains("[redacted]"), "{text}: {out} {err}");
    }
}

#[test]
fn settings_cannot_change_under_a_batch() {
    let postgres = shop();
    let gateway = Gateway::start(guarded(&postgres)).unwrap();
    let config = format!("host=127.0.0.1 port={} user=alice dbname=shop password={USER_PASSWORD}", gateway.port);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        for change in [
            "set standard_conforming_strings = off",
            "update pg_settings set setting = 'off' where name = 'standard_conforming_strings'",
            "select set_config('standard_conforming_strings', 'off', false)",
        ] {
            let (client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
            tokio::spawn(connection);
            // Both are on their way before the first is answered.
            let (_, second) =
                tokio::join!(client.simple_query(change), client.simple_query(r"select 'a\''; truncate orders; --'"),);
            assert!(second.is_err(), "{change}");
        }
    });
    assert_eq!(postgres.sql("shop", "select count(*) from orders").unwrap(), "40");
}

#[test]
fn a_result_in_pieces_has_no_more_rows() {
    let common = common();
    let config = format!("host=127.0.0.1 port={} user=alice dbname=shop password={USER_PASSWORD}", common.gateway.port);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
        tokio::spawn(connection);
        let transaction = client.transaction().await.unwrap();
        let portal = transaction.bind("select n from generate_series(1, 200000) n", &[]).await.unwrap();
        let mut rows = 0;
        let error = loop {
            match transaction.query_portal(&portal, 40_000).await {
                Ok(piece) => rows += piece.len(),
                Err(error) => break error,
            }
        };
        assert_eq!((rows, error.code().map(|c| c.code())), (80_000, Some("42501")));
    });
}

#[test]
fn prepared_statements_do_not_keep_old_meanings() {
    let postgres = shop();
    postgres.sql("shop", "create schema alt; create table alt.customers (id int, email text); grant usage on schema alt to portcullis; grant select on alt.customers to portcullis").unwrap();
    let gateway = Gateway::start(guarded(&postgres)).unwrap();
    let config = format!("host=127.0.0.1 port={} user=alice dbname=shop password={USER_PASSWORD}", gateway.port);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute("set search_path = alt, public").await.unwrap();
        let statement = client.prepare("select reverse(email) from customers").await.unwrap();
        client.batch_execute("update pg_settings set setting = 'public' where name = 'search_path'").await.unwrap();
        let rows = tokio::time::timeout(Duration::from_secs(20), client.query(&statement, &[])).await.unwrap();
        for row in rows.unwrap_or_default() {
            assert_eq!(leaks(row.get::<_, &str>(0)), None);
        }
    });
}
