//! `portcullis policy …`, as an author uses it: the binary, on a package whose component is in the repository.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

/// A package in a directory of its own, which goes when the test ends.
struct Package(PathBuf);

impl Package {
    /// The package of the compatibility tests: its component is in the repository, so that nothing needs to be built.
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("portcullis-policy-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(dir.join("cases")).unwrap();
        let fixture = fixtures().join("0.1.0/rust");
        for file in ["policy.toml", "policy.wasm", "cases/commands.toml", "cases/results.toml"] {
            fs::copy(fixture.join(file), dir.join(file)).unwrap();
        }
        let package = Self(dir);
        package.change("policy.toml", "[build]\nlanguage = \"rust\"\nsource = \".\"\n", "");
        package
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn change(&self, file: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(file)).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        fs::write(self.path(file), text.replace(from, to)).unwrap();
    }

    fn run(&self, command: &str, arguments: &[&str]) -> Output {
        portcullis(command, &self.0, arguments).output().unwrap()
    }
}

impl Drop for Package {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/compat")
}

fn portcullis(command: &str, package: &Path, arguments: &[&str]) -> Command {
    let mut portcullis = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    portcullis.args(["policy", command]).arg(package).args(arguments).stdin(Stdio::null());
    portcullis
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(output)))
}

/// Components are in the repository as they were built, for every version of the interface that there was.
#[test]
fn components_of_every_version_load_and_answer_as_they_did() {
    let mut tried = 0;
    for version in fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        let packages = fs::read_dir(version).unwrap().map(|entry| entry.unwrap().path());
        for package in packages.filter(|path| path.join("policy.toml").exists()) {
            for command in ["check", "test"] {
                let output = portcullis(command, &package, &[]).output().unwrap();
                assert!(output.status.success(), "{command} {}:\n{}", package.display(), text(&output));
            }
            tried += 1;
        }
    }
    assert!(tried >= 1);
}

#[test]
fn check_says_what_the_component_needs_and_where_the_manifest_is_wrong() {
    let package = Package::new();
    let output = package.run("check", &[]);
    let said = text(&output);
    assert!(output.status.success() && said.contains("answers commands, rows"), "{said}");
    assert!(said.contains("needs portcullis:policy@0.1.0: this gateway and every other"), "{said}");
    package.change("policy.toml", "hooks = [\"commands\", \"rows\"]", "hooks = [\"commands\"]");
    let output = package.run("check", &[]);
    assert!(!output.status.success() && text(&output).contains("the component exports [\"commands\", \"rows\"]"));
    package.change("policy.toml", "hooks = [\"commands\"]", "hooks = [\"commands\", \"rows\"]\ncommands = []");
    let output = package.run("check", &[]);
    assert!(
        !output.status.success() && text(&output).contains("list it in policy.toml: commands = [\"sql\"]"),
        "{}",
        text(&output)
    );
}

#[test]
fn coverage_names_what_no_case_asks() {
    let package = Package::new();
    let output = package.run("test", &["--coverage"]);
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("  open          asked 13 times, by every case"), "{said}");
    assert!(said.contains("  approved      asked 1 times, by commands: a command is approved"), "{said}");
    fs::remove_file(package.path("cases/results.toml")).unwrap();
    let said = text(&package.run("test", &["--coverage"]));
    assert!(said.contains("  filter-batch  never asked") && !said.contains("never review"), "{said}");
}

#[test]
fn a_report_has_every_case_and_why_it_failed() {
    let package = Package::new();
    package.change("cases/commands.toml", "rewrite = \"select 1\"", "rewrite = \"select <2>\"");
    let file = package.path("report.xml");
    let output = package.run("test", &["--junit", file.to_str().unwrap()]);
    assert!(!output.status.success());
    let report = fs::read_to_string(&file).unwrap();
    assert!(report.contains("<testsuite name=\"compat\" tests=\"13\" failures=\"1\""), "{report}");
    assert!(report.contains("expected rewrite: select &lt;2&gt;"), "{report}");
    // A package that cannot be loaded fails in the report, too.
    fs::write(package.path("policy.wasm"), "nonsense").unwrap();
    assert!(!package.run("test", &["--junit", file.to_str().unwrap()]).status.success());
    let report = fs::read_to_string(&file).unwrap();
    assert!(report.contains("the package loads") && report.contains("failures=\"1\""), "{report}");
}

#[test]
fn run_tells_the_verdict_and_what_the_gateway_read() {
    let package = Package::new();
    let output = package.run("run", &["delete from orders", "--json"]);
    let answer = json(&output);
    assert!(output.status.success());
    assert_eq!((&answer["verdict"], &answer["findings"][0]["rule"]), (&"allow".into(), &"allowed".into()));
    let statement = &answer["facts"]["sql"]["statements"][0];
    assert_eq!((&statement["verb"], &statement["has_where"]), (&"DELETE".into(), &false.into()));
    let hooks: Vec<_> = answer["first"].as_array().unwrap().iter().map(|cost| cost["hook"].as_str().unwrap()).collect();
    assert_eq!(hooks, ["instantiate", "configure", "open", "check"]);
    let said = text(&package.run("run", &["delete from orders"]));
    assert!(said.contains("verdict    allow\n") && said.contains("without a WHERE"), "{said}");
}

#[test]
fn run_asks_as_somebody_with_settings() {
    let package = Package::new();
    let who = [
        "select 'tell'",
        "--principal",
        "bob",
        "--group",
        "dba",
        "--target",
        "shop",
        "--label",
        "env=production",
        "--json",
    ];
    let answer = json(&package.run("run", &who));
    assert_eq!(answer["verdict"], "deny");
    assert!(
        answer["message"].as_str().unwrap().contains("postgres bob [\"dba\"] shop Some(\"production\")"),
        "{answer}"
    );
    let answer = json(&package.run("run", &["drop table review", "--json"]));
    assert_eq!((&answer["verdict"], &answer["approval"]["quorum"]), (&"review".into(), &2.into()));
    let answer = json(&package.run("run", &["select 1", "--principal", "mallory", "--json"]));
    assert_eq!((&answer["session_opened"], &answer["message"]), (&false.into(), &"mallory stays out".into()));
    for (name, settings) in [("s.toml", "greeting = \"bye\""), ("s.json", "{\"greeting\": \"bye\"}")] {
        fs::write(package.path(name), settings).unwrap();
        let output = package.run("run", &["select 1", "--settings", package.path(name).to_str().unwrap()]);
        assert!(!output.status.success() && text(&output).contains("it does not say hello"), "{}", text(&output));
    }
}

#[test]
fn run_fails_when_the_policy_does() {
    let package = Package::new();
    let output = package.run("run", &["select error", "--json"]);
    let answer = json(&output);
    assert!(!output.status.success());
    assert_eq!(answer["verdict"], "fault");
    assert!(answer["message"].as_str().unwrap().contains("an error"), "{answer}");
}

#[test]
fn bench_holds_what_it_measures_against_the_budget() {
    let package = Package::new();
    let rounds = ["--rounds", "3", "--json"];
    let output = package.run("bench", &rounds);
    assert!(output.status.success(), "{}", text(&output));
    let report = json(&output);
    let check = &report[0]["hooks"]["check"];
    let fuel = check["fuel"].as_u64().unwrap();
    assert!(
        fuel > 0 && check["memory_kib"].as_u64().unwrap() >= 64 && report[0]["over"] == Value::Array(vec![]),
        "{report}"
    );
    assert!(report[0]["hooks"]["filter-batch"]["ns_per_value"].is_u64(), "{report}");
    assert_eq!(json(&package.run("bench", &rounds))[0]["hooks"]["check"]["fuel"], fuel, "fuel is the same every time");

    let manifest = fs::read_to_string(package.path("policy.toml")).unwrap();
    fs::write(
        package.path("policy.toml"),
        format!("{manifest}\n[budget]\ncheck = {{ fuel = {fuel}, memory-kib = 65536 }}\n"),
    )
    .unwrap();
    assert!(package.run("bench", &rounds).status.success());
    package.change("policy.toml", &format!("fuel = {fuel}"), &format!("fuel = {}", fuel - 1));
    let output = package.run("bench", &["--rounds", "3"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    assert!(
        said.contains(&format!("OVER  check consumes {fuel} units of fuel, its budget is fuel = {}", fuel - 1)),
        "{said}"
    );
}

/// A child that is ended with the test.
struct Watching(Child);

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn watch_tests_again_at_every_change_and_survives_what_is_broken() {
    let package = Package::new();
    let child = portcullis("test", &package.0, &["--watch"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut watching = Watching(child);
    let mut lines = BufReader::new(watching.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut round = || {
        let told: Vec<String> = lines.by_ref().take_while(|line| !line.starts_with("waiting for a change")).collect();
        told.join("\n")
    };
    assert!(round().contains("13 passed, 0 failed"));
    package.change("cases/commands.toml", "rewrite = \"select 1\"", "rewrite = \"select 2\"");
    let told = round();
    assert!(told.contains("12 passed, 1 failed") && told.contains("expected rewrite: select 2"), "{told}");
    package.change("policy.toml", "[package]", "[packag]");
    assert!(round().contains("policy.toml:1:"));
    package.change("policy.toml", "[packag]", "[package]");
    assert!(round().contains("12 passed, 1 failed"));
    // A file that was not there.
    let case = "[[case]]\nname = \"new\"\ncommand.sql = \"select 1\"\nexpect.decision = \"allow\"\n";
    fs::write(package.path("cases/new.toml"), case).unwrap();
    assert!(round().contains("13 passed, 1 failed"));
}
