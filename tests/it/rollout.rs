//! Packages from registries, and how changes of policies come into force: pinned, signed, tried, taken back.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::ensure;
use portcullis_tests::gateway::{Gateway, Options};
use portcullis_tests::place::{Scratch, portcullis, root};
use portcullis_tests::postgres::Postgres;
use portcullis_tests::process::until;
use portcullis_tests::registry::Registry;

use crate::support::shop;

/// A package that refuses to touch a table, in this version, with a case that says so.
fn package(dir: &Path, version: &str, table: &str) {
    fs::create_dir_all(dir.join("cases")).unwrap();
    let block = root().join("plugins/dist/block.wasm");
    fs::copy(block, dir.join("policy.wasm")).unwrap();
    fs::copy(root().join("plugins/block/settings.schema.json"), dir.join("settings.schema.json")).unwrap();
    let manifest = format!(
        "[package]\nname = \"guard\"\nversion = \"{version}\"\ndescription = \"Keeps a table away.\"\ninterface = \"0.1\"\n\
         component = \"policy.wasm\"\nsettings-schema = \"settings.schema.json\"\nhooks = [\"commands\"]\n\
         [capabilities]\nclock = \"exceptions of rules by day and time\"\n\
         [[settings.rules]]\nname = \"no-{table}\"\nrelations = [\"{table}\"]\nmessage = \"{table} is out of reach\"\n"
    );
    fs::write(dir.join("policy.toml"), manifest).unwrap();
    let case = format!(
        "[[case]]\nname = \"it refuses\"\ncommand.sql = \"select 1 from {table}\"\n\
         expect = {{ decision = \"deny\", message = \"{table} is out of reach\" }}\n"
    );
    fs::write(dir.join("cases/rules.toml"), case).unwrap();
}

/// `portcullis policy` in a directory.
fn policy(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(portcullis("debug").unwrap());
    command.arg("policy").args(arguments).current_dir(dir).env("HOME", dir).env_remove("DOCKER_CONFIG");
    command.env("UPSTREAM_PASSWORD", "x");
    command.output().unwrap()
}

fn done(output: Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    out.into_owned()
}

fn refused(output: Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success(), "{out}{err}");
    err.into_owned()
}

/// A gateway with the policy `guard` from this source.
fn options(postgres: &Postgres, source: &str, keys: &str, more: &str) -> Options {
    let mut options = Options::before(postgres);
    let _ = write!(
        options.policies,
        "[[policy]]\nname = \"guard\"\npackage = \"{source}\"\ncapabilities = [\"clock\"]\n{keys}\n"
    );
    options.chain.push("guard");
    options.more = more.into();
    options
}

/// A rule that the platform's key must have signed everything on a registry.
fn trust(registry: &Registry) -> String {
    format!(
        "[[trust.signer]]\nname = \"platform\"\nkey = \"file:key.pub\"\n\
         [[trust.rule]]\nnamespace = \"{}/policies/*\"\nall_of = [\"platform\"]\n",
        registry.address()
    )
}

fn denial(gateway: &Gateway, table: &str) -> String {
    gateway.query("alice", &format!("select count(*) from {table}")).unwrap().1
}

#[test]
fn what_is_not_pinned_or_not_signed_is_never_loaded() {
    let (postgres, registry, scratch) = (shop(), Registry::start(false).unwrap(), Scratch::new("rollout").unwrap());
    let dir = scratch.path().to_owned();
    let source = |version: &str| format!("oci://{}/policies/guard:{version}", registry.address());
    done(policy(&dir, &["keygen", "key", "--without-password"]));
    package(&dir.join("guard"), "1.0.0", "orders");
    done(policy(&dir, &["push", "guard", &source("1.0.0"), "--key", "key"]));
    // The gateway is configured for a directory first, so that its file is there to make the lock with.
    let mut gateway = Gateway::start_in(scratch, options(&postgres, "guard", "", "")).unwrap();
    gateway.configure(|o| *o = options(&postgres, &source("1.0.0"), "", &trust(&registry))).unwrap();
    let why = refused(gateway.reload().unwrap());
    assert!(why.contains("does not pin") && why.contains("policy `guard`"), "{why}");
    assert!(denial(&gateway, "orders").contains("orders is out of reach"), "what was in force stays so");
    let locked = done(policy(&dir, &["lock"]));
    assert!(locked.contains("guard:1.0.0") && locked.contains("sha256:"), "{locked}");
    done(gateway.reload().unwrap());
    let status = gateway.ask("olga", &["policy", "status"]).unwrap();
    assert!(status.contains("guard 1.0.0: enforce, serving") && status.contains("signed by platform"), "{status}");
    // A new version that nobody signed.
    package(&dir.join("guard"), "1.1.0", "customers");
    done(policy(&dir, &["push", "guard", &source("1.1.0")]));
    gateway.configure(|o| *o = options(&postgres, &source("1.1.0"), "", &trust(&registry))).unwrap();
    let why = refused(policy(&dir, &["lock"]));
    assert!(why.contains("platform") && why.contains("guard"), "{why}");
    // Pinned by hand it is refused still.
    let lock = fs::read_to_string(dir.join("portcullis.lock")).unwrap();
    let pushed = done(policy(&dir, &["inspect", &source("1.1.0"), "--json"]));
    let pushed: serde_json::Value = serde_json::from_str(&pushed).unwrap();
    let digest = pushed["artifact"].as_str().unwrap();
    let first = lock.split('"').find(|part| part.starts_with("sha256:")).unwrap();
    let forged = lock.replace("1.0.0", "1.1.0").replace(first, digest);
    fs::write(dir.join("portcullis.lock"), &forged).unwrap();
    let why = refused(gateway.reload().unwrap());
    assert!(why.contains("platform"), "{why}");
    assert!(denial(&gateway, "orders").contains("orders is out of reach"));
    let status = gateway.ask("olga", &["policy", "status"]).unwrap();
    assert!(status.contains("at the step `verify`") && status.contains("guard 1.0.0"), "{status}");
    let metrics = gateway.http("/metrics", Some("olga")).unwrap();
    assert!(metrics.contains("portcullis_policy_changes_refused_total 2"), "{metrics}");
    // Signed, it is taken.
    let why = refused(policy(&dir, &["sign", &source("1.1.0"), "--key", "key"]));
    assert!(why.contains(digest), "{why}");
    done(policy(&dir, &["sign", &format!("{}@{digest}", source("1.1.0")), "--key", "key"]));
    done(gateway.reload().unwrap());
    assert!(denial(&gateway, "customers").contains("customers is out of reach"));
    assert_eq!(denial(&gateway, "orders"), "");
    // And taken back.
    let back = gateway.ask("olga", &["policy", "rollback", "guard"]).unwrap();
    assert!(back.contains("guard 1.0.0 is in force again"), "{back}");
    assert!(denial(&gateway, "orders").contains("orders is out of reach"));
    done(gateway.reload().unwrap());
    assert!(
        denial(&gateway, "orders").contains("orders is out of reach"),
        "an unchanged configuration changes nothing"
    );
    // The gateway starts without the registry, with what it has kept.
    drop(registry);
    gateway.restart().unwrap();
    assert!(denial(&gateway, "customers").contains("customers is out of reach"), "the configuration counts again");
    // What was kept and has been changed is not loaded.
    let blobs = gateway.data().join("packages/blobs/sha256");
    let largest =
        fs::read_dir(&blobs).unwrap().map(|e| e.unwrap()).max_by_key(|e| e.metadata().unwrap().len()).unwrap();
    let mut bytes = fs::read(largest.path()).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(largest.path(), bytes).unwrap();
    let why = refused(gateway.reload().unwrap());
    assert!(why.contains("damaged or exchanged"), "{why}");
    assert!(denial(&gateway, "customers").contains("customers is out of reach"));
}

#[test]
fn a_tag_that_moves_is_followed_if_it_is_signed_and_no_step_back() {
    let (postgres, registry, scratch) = (shop(), Registry::start(false).unwrap(), Scratch::new("poll").unwrap());
    let dir = scratch.path().to_owned();
    let source = format!("oci://{}/policies/guard:stable", registry.address());
    let push = |version: &str, table: &str, key: bool| {
        package(&dir.join("guard"), version, table);
        let mut arguments = vec!["push", "guard", &source];
        arguments.extend(if key { &["--key", "key"][..] } else { &[] });
        done(policy(&dir, &arguments));
    };
    done(policy(&dir, &["keygen", "key", "--without-password"]));
    push("1.0.0", "orders", true);
    let mut gateway = Gateway::start_in(scratch, options(&postgres, "guard", "", "")).unwrap();
    gateway.configure(|o| *o = options(&postgres, &source, "poll_s = 10", &trust(&registry))).unwrap();
    done(policy(&dir, &["lock"]));
    done(gateway.reload().unwrap());
    push("1.2.0", "customers", true);
    until("the new version is in force", Duration::from_secs(60), || {
        ensure!(denial(&gateway, "customers").contains("customers is out of reach"), "not yet");
        Ok(())
    })
    .unwrap();
    let polled = fs::read_to_string(gateway.data().join("polled.lock")).unwrap();
    assert!(polled.contains("1.2.0"), "{polled}");
    // An older one and one that nobody signed are told and not taken, and a restart holds to what was pinned.
    for (version, key, refusals) in [("1.1.0", true, 1), ("1.3.0", false, 2)] {
        push(version, "orders", key);
        until("it is refused", Duration::from_secs(60), || {
            let metrics = gateway.http("/metrics", Some("olga"))?;
            ensure!(metrics.contains(&format!("portcullis_policy_changes_refused_total {refusals}\n")), "{metrics}");
            Ok(())
        })
        .unwrap();
        let status = gateway.ask("olga", &["policy", "status"]).unwrap();
        assert!(status.contains("at the step `verify`") && status.contains(&source), "{status}");
        assert!(denial(&gateway, "customers").contains("customers is out of reach"));
    }
    gateway.restart().unwrap();
    assert!(denial(&gateway, "customers").contains("customers is out of reach"));
    // What was refused is taken when it is signed, though the tag does not move.
    let why = refused(policy(&dir, &["sign", &source, "--key", "key"]));
    let whole = why.split_whitespace().last().unwrap();
    done(policy(&dir, &["sign", whole, "--key", "key"]));
    until("the signed version is in force", Duration::from_secs(60), || {
        ensure!(denial(&gateway, "orders").contains("orders is out of reach"), "not yet");
        Ok(())
    })
    .unwrap();
    // Whoever changes the lock has the last word.
    push("1.0.0", "customers", true);
    done(policy(&dir, &["lock", "--update", "guard"]));
    done(gateway.reload().unwrap());
    assert!(denial(&gateway, "customers").contains("customers is out of reach"));
}

#[test]
fn a_change_that_fails_anywhere_leaves_everything_as_it_was() {
    let (postgres, scratch) = (shop(), Scratch::new("steps").unwrap());
    let dir = scratch.path().to_owned();
    package(&dir.join("guard"), "1.0.0", "orders");
    let mut gateway = Gateway::start_in(scratch, options(&postgres, "guard", "", "")).unwrap();
    let manifest = fs::read_to_string(dir.join("guard/policy.toml")).unwrap();
    let component = fs::read(dir.join("guard/policy.wasm")).unwrap();
    let expect = |gateway: &Gateway, step: &str, words: &str| {
        let why = refused(gateway.reload().unwrap());
        assert!(why.contains(words), "{why}");
        let status = gateway.ask("olga", &["policy", "status"]).unwrap();
        assert!(status.contains(&format!("at the step `{step}`")), "{status}");
        assert!(denial(gateway, "orders").contains("orders is out of reach"));
    };
    fs::write(dir.join("guard/policy.wasm"), &component[..component.len() / 2]).unwrap();
    expect(&gateway, "compile", "not a WebAssembly component");
    fs::write(dir.join("guard/policy.wasm"), b"\0asm\x0d\0\x01\0").unwrap();
    expect(&gateway, "interface", "exports no `lifecycle`");
    fs::write(dir.join("guard/policy.wasm"), &component).unwrap();
    fs::write(
        dir.join("guard/policy.toml"),
        manifest.replace("[[settings.rules]]", "[settings]\nnonsense = 1\n[[settings.rules]]"),
    )
    .unwrap();
    expect(&gateway, "settings", "nonsense");
    fs::write(dir.join("guard/policy.toml"), manifest.replace("relations = [\"orders\"]", "relations = [\"others\"]"))
        .unwrap();
    expect(&gateway, "cases", "its own case \"it refuses\" in cases/rules.toml fails");
    fs::write(dir.join("guard/policy.toml"), "name = 1").unwrap();
    expect(&gateway, "resolve", "policy.toml");
    fs::write(dir.join("guard/policy.toml"), &manifest).unwrap();
    gateway.configure(|o| o.more = "[nonsense]".into()).unwrap();
    expect(&gateway, "configuration", "nonsense");
    gateway.configure(|o| o.more = String::new()).unwrap();
    done(gateway.reload().unwrap());
    let status = gateway.ask("olga", &["policy", "status"]).unwrap();
    assert!(!status.contains("was refused"), "{status}");
    let search = gateway.ask("olga", &["audit", "search", "--kind", "system", "--text", "cases:"]).unwrap();
    assert!(search.contains("refused"), "{search}");
}

#[test]
fn a_canary_takes_the_place_of_what_it_replaces_in_its_share_of_sessions() {
    let (postgres, scratch) = (shop(), Scratch::new("canary").unwrap());
    let dir = scratch.path().to_owned();
    package(&dir.join("guard"), "1.0.0", "orders");
    package(&dir.join("next"), "2.0.0", "customers");
    let with = |percent: u32| {
        let mut options = options(&postgres, "guard", "", "");
        let _ = write!(
            options.policies,
            "[[policy]]\nname = \"next\"\npackage = \"next\"\ncapabilities = [\"clock\"]\ncanary = {percent}\nreplaces = \"guard\"\n"
        );
        options.chain.push("next");
        options
    };
    let mut gateway = Gateway::start_in(scratch, with(50)).unwrap();
    // Whoever meets the one does not meet the other.
    let (mut old, mut new) = (0, 0);
    for _ in 0..40 {
        let (_, err) = gateway.query("alice", "select count(*) from orders; select count(*) from customers").unwrap();
        match (err.contains("policy \"guard\""), err.contains("policy \"next\"")) {
            (true, false) => old += 1,
            (false, true) => new += 1,
            both => panic!("{both:?}: {err}"),
        }
    }
    assert!(old > 5 && new > 5, "{old} sessions met the old one, {new} the new one");
    gateway.configure(|o| *o = with(100)).unwrap();
    done(gateway.reload().unwrap());
    assert_eq!(denial(&gateway, "orders"), "");
    assert!(denial(&gateway, "customers").contains("policy \"next\""));
    let status = gateway.ask("olga", &["policy", "status"]).unwrap();
    assert!(status.contains("next 2.0.0: enforce, canary 100 %"), "{status}");
    gateway.configure(|o| *o = with(0)).unwrap();
    let why = refused(gateway.reload().unwrap());
    assert!(why.contains("percentage"), "{why}");
}
