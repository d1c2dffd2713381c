//! The programs that people use, before a gateway that only records and before one with all the ready-made policies: what they
//! show of the catalogue is what they show without a gateway.

use std::fs;
use std::process::{Command, Output, Stdio};

use portcullis_tests::gateway::{Gateway, Options, USER_PASSWORD};
use portcullis_tests::place::root;
use portcullis_tests::postgres::{PASSWORD, Postgres, ROLE, program};
use portcullis_tests::process::run;

use crate::support::{guarded, shop};

/// One of PostgreSQL's programs, for a database past the gateway or through it.
fn tool(name: &str, gateway: Option<&Gateway>, postgres: &Postgres) -> Command {
    let mut tool = Command::new(program(name).unwrap());
    let (port, user, password) = match gateway {
        Some(gateway) => (gateway.port, "alice", USER_PASSWORD),
        None => (postgres.port, ROLE, PASSWORD),
    };
    tool.env("PGHOST", "127.0.0.1").env("PGPORT", port.to_string()).env("PGUSER", user).env("PGPASSWORD", password);
    tool.env("PGDATABASE", "shop").stdin(Stdio::null());
    tool
}

/// What a program prints past the gateway is what it prints through it, whatever the policies.
fn same_everywhere(name: &str, arguments: &[&str], postgres: &Postgres, gateways: &[Gateway]) {
    let direct = run(tool(name, None, postgres).args(arguments)).unwrap();
    assert!(!direct.is_empty());
    for gateway in gateways {
        let through = run(tool(name, Some(gateway), postgres).args(arguments)).unwrap();
        assert_eq!(direct, through, "{name} {arguments:?}");
    }
}

/// A gateway that only records, and one with all policies.
fn both(postgres: &Postgres) -> [Gateway; 2] {
    [Options::before(postgres), guarded(postgres)].map(|options| Gateway::start(options).unwrap())
}

fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn psql_describes_what_there_is() {
    let postgres = shop();
    postgres
        .sql(
            "shop",
            "create type mood as enum ('sad', 'ok'); create domain cents as integer check (value >= 0);\
             create sequence numbers; create index on orders (product);\
             create function twice(n integer) returns integer language sql as 'select n * 2';\
             create materialized view sums as select customer, sum(cents) from orders group by customer;\
             create table log (at date, what text) partition by range (at);\
             create table log_2026 partition of log for values from ('2026-01-01') to ('2027-01-01');\
             create trigger t before update on orders for each row execute function suppress_redundant_updates_trigger();\
             create publication everything for all tables; create statistics s on id, product from orders;\
             comment on table orders is 'what was ordered'; grant select (id) on customers to public;\
             alter table customers enable row level security; create policy all_rows on customers using (true)",
        )
        .unwrap();
    let gateways = both(&postgres);
    let commands = "\\d \\d+ \\d+_customers \\d+_orders \\d+_contacts \\d+_sums \\d+_log \\dt+ \\di+ \\dv+ \\dm+ \\ds+ \\dE+ \\dS+ \\df+ \
                    \\df+_twice \\da \\dT+ \\dD+ \\dn+ \\du+ \\drds \\dg+ \\db+ \\dp \\ddp \\dx+ \\dy+ \\dRp+ \\dRs+ \\dX \\dFt+ \\dF \\do_= \\dc \\dC \
                    \\dd \\dO \\dL+ \\dA+ \\dAc \\dAf \\dP+ \\des+ \\det+ \\deu+ \\dew+ \\dl \\l \\z \\sf+_twice \\sv+_contacts \\encoding";
    let lines: Vec<String> = commands.split(' ').map(|command| command.replace('_', " ")).collect();
    let arguments: Vec<&str> = ["-X"].into_iter().chain(lines.iter().flat_map(|line| ["-c", line])).collect();
    same_everywhere("psql", &arguments, &postgres, &gateways);
    // What psql asks to complete a word, and what it does with results.
    let script = "select 1 as one, 'two' as two \\gset\n\\echo :one :two\nselect 'select ' || n from generate_series(1, 3) n \\gexec\n\
                  select id, name from customers order by id \\gx\nselect customer, product, count(*) from orders group by 1, 2 \\crosstabview\n\
                  \\errverbose\n\\set FETCH_COUNT 7\nselect id, product from orders order by id;\n\
                  select id, product from orders where id < 3 \\gdesc\nbegin; savepoint s; rollback to s; commit;\n";
    let file = gateways[0].directory().join("script.sql");
    fs::write(&file, script).unwrap();
    same_everywhere("psql", &["-X", "-v", "ON_ERROR_STOP=1", "-f", file.to_str().unwrap()], &postgres, &gateways);
}

#[test]
fn psql_copies_files() {
    let postgres = shop();
    let [open, guarded] = both(&postgres);
    let file = open.directory().join("rows.csv");
    let path = file.display();
    for (n, format) in ["csv, header", "text", "binary"].into_iter().enumerate() {
        let out = format!(
            "\\copy (select 100 * {} + id, customer, product, cents from orders where id <= 40) to '{path}' (format {format})",
            n + 1
        );
        run(tool("psql", Some(&open), &postgres).args(["-X", "-c", &out])).unwrap();
        let into = format!("\\copy orders (id, customer, product, cents) from '{path}' (format {format})");
        let gateway = if n == 0 { &guarded } else { &open };
        run(tool("psql", Some(gateway), &postgres).args(["-X", "-c", &into])).unwrap();
    }
    assert_eq!(postgres.sql("shop", "select count(*), max(id) from orders").unwrap(), "160|340");
    // Out of reach of the masks; and the file that could not be filled is refused by name.
    let copy = format!("\\copy customers to '{path}'");
    let output = tool("psql", Some(&guarded), &postgres).args(["-X", "-c", &copy, "-c", "select 7"]).output().unwrap();
    let (out, err) = text(&output);
    assert!(err.contains("denied") && err.contains("SELECT") && out.contains('7'), "{out} {err}");
    assert!(!fs::read_to_string(&file).unwrap().contains("ada@"));
}

#[test]
fn dbeaver_starts_up() {
    let postgres = shop();
    let file = root().join("tests/clients/dbeaver.sql");
    let arguments = ["-X", "-v", "ON_ERROR_STOP=1", "-f", file.to_str().unwrap()];
    same_everywhere("psql", &arguments, &postgres, &both(&postgres));
}

#[test]
fn pgadmin_starts_up() {
    let postgres = shop();
    let file = root().join("tests/clients/pgadmin.sql");
    let arguments = ["-X", "-v", "ON_ERROR_STOP=1", "-f", file.to_str().unwrap()];
    same_everywhere("psql", &arguments, &postgres, &both(&postgres));
}

/// A dump of everything past the gateway, without what names the moment or the key of a restricted session.
fn dump(arguments: &[&str], gateway: Option<&Gateway>, postgres: &Postgres) -> String {
    let text = run(tool("pg_dump", gateway, postgres).args(arguments)).unwrap();
    text.lines()
        .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn pg_dump_takes_and_pg_restore_brings_back() {
    let postgres = shop();
    postgres.sql("postgres", &format!("create database copy owner {ROLE}")).unwrap();
    let second = format!(
        "[[target]]\nname = \"copy\"\nhost = \"127.0.0.1\"\nport = {}\ndatabase = \"copy\"\nuser = \"{ROLE}\"\n\
         password = \"env:UPSTREAM_PASSWORD\"\npolicies = []\ntls = \"disable\"\n",
        postgres.port
    );
    let gateway = Gateway::start(Options { more: second, ..Options::before(&postgres) }).unwrap();
    for arguments in [
        &[][..],
        &["--data-only", "--inserts"],
        &["--schema-only", "--no-owner"],
        &["--column-inserts", "--table=orders"],
    ] {
        assert_eq!(dump(arguments, None, &postgres), dump(arguments, Some(&gateway), &postgres), "{arguments:?}");
    }
    let kept = gateway.directory().join("dump");
    let kept = kept.to_str().unwrap();
    let restore = |arguments: &[&str]| {
        run(tool("pg_restore", Some(&gateway), &postgres)
            .args(["--exit-on-error", "-d", "copy"])
            .args(arguments)
            .arg(kept))
        .unwrap();
        let original = dump(&[], None, &postgres);
        let copy = dump(&["-d", "copy"], None, &postgres);
        assert_eq!(original, copy, "{arguments:?}");
    };
    // Two sessions that share a snapshot, each way.
    run(tool("pg_dump", Some(&gateway), &postgres).args(["-Fd", "-j", "2", "-f", kept])).unwrap();
    restore(&["-j", "2"]);
    fs::remove_dir_all(kept).unwrap();
    run(tool("pg_dump", Some(&gateway), &postgres).args(["-Fc", "-f", kept])).unwrap();
    restore(&["--clean", "--single-transaction"]);
}

#[test]
fn a_dump_of_rows_is_masked_or_refused() {
    let postgres = shop();
    let gateway = Gateway::start(guarded(&postgres)).unwrap();
    // Rows that are read as rows can be masked, those of COPY cannot.
    let masked = dump(&["--data-only", "--inserts", "--table=customers"], Some(&gateway), &postgres);
    assert!(masked.contains("'a***@example.com', '***************1111'") && !masked.contains("ada@"), "{masked}");
    let output =
        tool("pg_dump", Some(&gateway), &postgres).args(["--data-only", "--table=customers"]).output().unwrap();
    let (out, err) = text(&output);
    assert!(!output.status.success() && err.contains("denied") && !out.contains("ada@"), "{out} {err}");
}

#[test]
fn pgbench_makes_its_own_tables() {
    let postgres = shop();
    let gateway = Gateway::start(Options::before(&postgres)).unwrap();
    // Rows from the client by COPY, then made by the server, then partitioned and with foreign keys.
    for arguments in [&["-i"][..], &["-i", "-I", "dtGvp"], &["-i", "--partitions=3", "--foreign-keys"]] {
        run(tool("pgbench", Some(&gateway), &postgres).args(arguments)).unwrap();
        assert_eq!(postgres.sql("shop", "select count(*) from pgbench_accounts").unwrap(), "100000");
    }
    for protocol in ["simple", "extended", "prepared"] {
        let load = ["-n", "-M", protocol, "-c", "2", "-t", "20"];
        let out = run(tool("pgbench", Some(&gateway), &postgres).args(load)).unwrap();
        assert!(out.contains("transactions actually processed: 40/40"), "{out}");
    }
}

#[test]
fn programs_for_upkeep_work() {
    let postgres = shop();
    let gateway = Gateway::start(Options::before(&postgres)).unwrap();
    run(&mut tool("pg_isready", Some(&gateway), &postgres)).unwrap();
    for (name, arguments) in
        [("vacuumdb", &["--analyze", "-t", "orders"][..]), ("reindexdb", &["-t", "orders"]), ("clusterdb", &[])]
    {
        run(tool(name, Some(&gateway), &postgres).args(arguments)).unwrap();
    }
}
