//! The protocol's own features through the gateway, with every policy on.

use std::process::{Command, Stdio};
use std::time::Duration;

use portcullis_tests::gateway::{Gateway, Options};
use portcullis_tests::postgres::program;
use portcullis_tests::process::until;

use crate::support::{common, guarded, shop};

#[test]
fn copy_in_arrives() {
    let postgres = shop();
    let gateway = Gateway::start(guarded(&postgres)).unwrap();
    let data = gateway.directory().join("orders.tsv");
    let rows: String = (0..200_000).map(|n| format!("{}\t1\tlamp number {n}\t5\n", 1000 + n)).collect();
    std::fs::write(&data, rows).unwrap();
    let copy = format!("\\copy orders (id, customer, product, cents) from '{}'", data.display());
    let output = gateway.psql("alice", &["-c", &copy]).unwrap().output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(postgres.sql("shop", "select count(*), max(id) from orders").unwrap(), "200040|200999");
}

#[test]
fn cancel_reaches_the_server() {
    let common = common();
    let mut psql = common.gateway.psql("alice", &["-c", "select pg_sleep(600)"]).unwrap();
    let child = psql.stderr(Stdio::piped()).spawn().unwrap();
    until("the query runs", Duration::from_secs(20), || {
        let running = common.postgres.sql(
            "shop",
            "select count(*) from pg_stat_activity where query like '%pg_sleep(600)%' and pid <> pg_backend_pid()",
        )?;
        anyhow::ensure!(running == "1");
        Ok(())
    })
    .unwrap();
    Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("canceling statement due to user request"));
}

#[test]
fn notifications_and_notices_pass() {
    let common = common();
    let (out, err) = common.gateway.query("alice", "listen news; notify news, 'hello'; select 1").unwrap();
    assert!(out.contains("hello"), "{out} {err}");
    let (_, err) = common.gateway.query("alice", "drop table if exists nothing_there").unwrap();
    assert!(err.contains("denied"), "{err}");
    let (_, err) = common.gateway.query("alice", "rollback").unwrap();
    assert!(err.contains("WARNING"), "{err}");
}

#[test]
fn pgbench_runs_in_every_protocol() {
    let postgres = shop();
    let gateway = Gateway::start(guarded(&postgres)).unwrap();
    postgres.sql("shop", "create table numbers as select n as id, n * 7 as value from generate_series(1, 1000) n; grant select on numbers to portcullis").unwrap();
    let script = gateway.directory().join("script.sql");
    std::fs::write(&script, "\\set id random(1, 1000)\nselect value from numbers where id = :id;\n").unwrap();
    for protocol in ["simple", "extended", "prepared"] {
        let mut bench = Command::new(program("pgbench").unwrap());
        bench.args([
            "-n",
            "-h",
            "127.0.0.1",
            "-p",
            &gateway.port.to_string(),
            "-U",
            "alice",
            "-c",
            "4",
            "-t",
            "30",
            "-M",
            protocol,
            "-f",
        ]);
        bench.arg(&script).arg("shop").env("PGPASSWORD", portcullis_tests::gateway::USER_PASSWORD);
        let output = bench.output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !err.contains("ERROR"), "{protocol}: {err}");
    }
}

#[test]
fn a_long_result_streams() {
    let postgres = shop();
    let gateway = Gateway::start(Options::before(&postgres)).unwrap();
    // 200 MB through a gateway that must not hold them.
    let text = "copy (select repeat('x', 1000) from generate_series(1, 200000)) to stdout";
    let mut psql = gateway.psql("alice", &["-c", text, "-o", "/dev/null"]).unwrap();
    assert!(psql.status().unwrap().success());
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.id())).unwrap();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap().trim().trim_end_matches(" kB");
    assert!(peak.parse::<u64>().unwrap() < 150_000, "{peak} kB");
}
