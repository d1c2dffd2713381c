//! Policies change while traffic runs.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::ensure;
use portcullis_tests::gateway::{Gateway, USER_PASSWORD};
use portcullis_tests::postgres::program;
use portcullis_tests::process::until;

use crate::support::{guarded, shop};

fn generation(gateway: &Gateway) -> u64 {
    let metrics = gateway.http("/metrics", Some("olga")).unwrap();
    let line = metrics.lines().find(|l| l.starts_with("portcullis_policy_generation ")).expect(&metrics);
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_swap_under_load_fails_no_command_and_leaves_none_undecided() {
    let postgres = shop();
    let mut gateway = Gateway::start(guarded(&postgres)).unwrap();
    let script = gateway.directory().join("script.sql");
    std::fs::write(&script, "\\set id random(1, 40)\nselect product, cents from orders where id = :id;\n").unwrap();
    let mut bench = Command::new(program("pgbench").unwrap());
    bench.args([
        "-n",
        "-h",
        "127.0.0.1",
        "-p",
        &gateway.port.to_string(),
        "-U",
        "dora",
        "-c",
        "4",
        "-T",
        "600",
        "-M",
        "prepared",
        "-f",
    ]);
    bench.arg(&script).arg("shop").env("PGPASSWORD", USER_PASSWORD).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut load = bench.spawn().unwrap();
    until("the load runs", Duration::from_secs(30), || {
        let metrics = gateway.http("/metrics", Some("olga"))?;
        ensure!(metrics.lines().any(|l| l.starts_with("portcullis_sessions_active") && l.ends_with(" 4")), "{metrics}");
        Ok(())
    })
    .unwrap();
    let first = generation(&gateway);
    for round in 0..10 {
        let limit = 500_000 + round;
        gateway
            .configure(|o| {
                *o = guarded(&postgres);
                o.policies = o.policies.replace("capabilities = [\"state\"]",
                    &format!("capabilities = [\"state\"]\nsettings = {{ max_rows = {limit}, commands_per_minute = 100000000 }}"));
            })
            .unwrap();
        let reload = gateway.reload().unwrap();
        assert!(reload.status.success(), "{}", String::from_utf8_lossy(&reload.stderr));
    }
    assert!(generation(&gateway) >= first + 10);
    assert!(load.try_wait().unwrap().is_none(), "the load must still be running");
    Command::new("kill").args(["-s", "INT", &load.id().to_string()]).status().unwrap();
    let err = String::from_utf8(load.wait_with_output().unwrap().stderr).unwrap();
    for word in ["ERROR", "denied", "aborted", "FATAL"] {
        assert!(!err.contains(word), "{err}");
    }
}

#[test]
fn a_bad_set_leaves_the_old_one_serving_and_says_why() {
    let postgres = shop();
    let mut gateway = Gateway::start(guarded(&postgres)).unwrap();
    let before = generation(&gateway);
    for (what, change) in [
        ("capabilities = ", ("capabilities = [\"state\"]", "capabilities = []")),
        ("no-such-package", ("policies/fair-use", "policies/no-such-package")),
        ("max_rows", ("capabilities = [\"state\"]", "capabilities = [\"state\"]\nsettings = { max_rows = \"many\" }")),
    ] {
        gateway
            .configure(|o| {
                *o = guarded(&postgres);
                o.policies = o.policies.replace(change.0, change.1);
            })
            .unwrap();
        let output = gateway.reload().unwrap();
        assert!(!output.status.success(), "{what}");
        let told = String::from_utf8_lossy(&output.stderr).into_owned() + &gateway.log().unwrap();
        assert!(told.contains(what), "{what}: {told}");
        assert!(gateway.query("alice", "delete from orders").unwrap().1.contains("denied by"), "{what}");
    }
    assert_eq!(generation(&gateway), before);
    gateway.configure(|o| *o = guarded(&postgres)).unwrap();
    assert!(gateway.reload().unwrap().status.success());
}

#[test]
fn a_stop_lets_sessions_finish_what_they_do() {
    let postgres = shop();
    let mut gateway = Gateway::start(guarded(&postgres)).unwrap();
    let mut psql = gateway.psql("alice", &["-c", "select pg_sleep(1), 'finished'"]).unwrap();
    let child = psql.stdout(Stdio::piped()).spawn().unwrap();
    until("the query runs", Duration::from_secs(20), || {
        let running =
            postgres.sql("shop", "select count(*) from pg_stat_activity where query like 'select pg_sleep(1)%'")?;
        ensure!(running == "1");
        Ok(())
    })
    .unwrap();
    gateway.stop().unwrap();
    assert!(String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap().contains("finished"));
}
