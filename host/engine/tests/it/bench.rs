//! What the tests share: an engine with a clock of its own, policies, sessions and commands.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_engine::{Capability, Engine, EngineOptions, LoadError, PolicyLimits, PolicySet, PolicySpec};
use portcullis_verdict::mask::HashKey;
use portcullis_verdict::{
    Answer, Command, Credential, Decide, Effects, Facts, Fault, Grant, Judge, Kind, Mode, Outcome, Phase, Principal,
    Ruling, Session, SqlStatement, Statement, Target,
};

use crate::guests;

pub(crate) const TARGET: &str = "shop";

pub(crate) struct Bench {
    pub(crate) engine: Arc<Engine>,
    clock: Arc<AtomicU64>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with_instances(20)
    }

    pub(crate) fn with_instances(max_instances: u32) -> Self {
        Self::with_options(|options| EngineOptions { max_instances, ..options })
    }

    pub(crate) fn with_options(changed: impl FnOnce(EngineOptions) -> EngineOptions) -> Self {
        let clock = Arc::new(AtomicU64::new(1));
        let now = clock.clone();
        let options = EngineOptions {
            cache_dir: Some(cache_dir()),
            max_instances: 20,
            hash_key: HashKey::new(b"a key for tests"),
            meter: None,
            fuel: false,
            log_values: false,
        };
        let engine = Engine::with_clock(changed(options), Arc::new(move || now.load(Ordering::SeqCst))).unwrap();
        Self { engine, clock }
    }

    /// An engine whose one target has these policies, in order.
    pub(crate) fn with(policies: Vec<PolicySpec>) -> Self {
        let bench = Self::new();
        bench.install(policies);
        bench
    }

    /// An engine with one policy that misbehaves in this way.
    pub(crate) fn broken(behaviour: &str) -> Self {
        Self::with(vec![broken("p", behaviour)])
    }

    pub(crate) fn install(&self, policies: Vec<PolicySpec>) -> u64 {
        self.engine.swap(self.prepare(policies).unwrap())
    }

    pub(crate) fn prepare(&self, policies: Vec<PolicySpec>) -> Result<PolicySet, Vec<LoadError>> {
        let chain = policies.iter().map(|p| p.name.clone()).collect();
        self.engine.prepare(policies, BTreeMap::from([(TARGET.into(), chain)]))
    }

    /// What is wrong with these policies, as text.
    pub(crate) fn problems(&self, policies: Vec<PolicySpec>) -> Vec<String> {
        self.prepare(policies).err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    pub(crate) fn judge(&self) -> Box<dyn Judge> {
        self.engine.judge(&session())
    }

    pub(crate) fn advance(&self, ms: u64) {
        self.clock.fetch_add(ms, Ordering::SeqCst);
    }
}

/// Compiled guests are kept between runs, which also puts the cache to the test.
pub(crate) fn cache_dir() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("engine-cache");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).unwrap();
    dir
}

/// A policy that misbehaves in this way, with every capability.
pub(crate) fn broken(name: &str, behaviour: &str) -> PolicySpec {
    PolicySpec {
        name: name.into(),
        component: guests::component("broken"),
        settings: format!(r#"{{"do":"{behaviour}"}}"#),
        mode: Mode::Enforce,
        capabilities: Capability::ALL.into(),
        limits: limits(behaviour),
        pure: false,
        canary: None,
    }
}

/// Only what loops runs out of time, however busy the machine is.
pub(crate) fn limits(behaviour: &str) -> PolicyLimits {
    let call_ms = if behaviour.starts_with("loop-") { 50 } else { 20_000 };
    PolicyLimits { memory_bytes: 8 << 20, call_ms, answer_bytes: 1 << 20, ..PolicyLimits::default() }
}

/// A policy made of another guest, without capabilities.
pub(crate) fn guest(name: &str, guest: &str) -> PolicySpec {
    PolicySpec { component: guests::component(guest), capabilities: [].into(), ..broken(name, "allow") }
}

pub(crate) fn monitor(policy: PolicySpec) -> PolicySpec {
    PolicySpec { mode: Mode::Monitor, ..policy }
}

pub(crate) fn session() -> Arc<Session> {
    session_of("0198c0de-0000-7000-8000-000000000001")
}

pub(crate) fn session_of(id: &str) -> Arc<Session> {
    let labels = BTreeMap::from([("env".into(), "production".into())]);
    Arc::new(Session {
        id: id.into(),
        protocol: "postgres",
        principal: Principal {
            name: "alice".into(),
            groups: vec!["dev".into(), "ops".into()],
            credential: Credential::Scram,
        },
        target: Arc::new(Target { name: TARGET.into(), labels }),
        client_address: "192.0.2.7:4711".parse().unwrap(),
        reason: Some("ticket 7".into()),
    })
}

/// A statement that was read, as far as its first word.
pub(crate) fn read(text: &str) -> Arc<Statement> {
    let verb = text.split(' ').next().unwrap_or_default().to_uppercase();
    let statement = SqlStatement {
        dialect: "postgres".into(),
        verb,
        effects: Effects::READ,
        has_where: true,
        ..SqlStatement::default()
    };
    let facts = Facts { fingerprint: "f1".into(), sql: Ok(vec![statement]) };
    Arc::new(Statement { kind: Kind::Sql, text: text.into(), facts: Arc::new(facts) })
}

pub(crate) fn of(statement: Arc<Statement>) -> Arc<Command> {
    Arc::new(Command { sequence: 7, phase: Phase::Execute, statement, parameters: vec![], reason: None, origins: None })
}

pub(crate) fn command(text: &str) -> Arc<Command> {
    of(read(text))
}

/// A command that the host could not read.
pub(crate) fn unread() -> Arc<Command> {
    of(Arc::new(Statement::unread(Kind::Sql, "selec 1")))
}

/// Short ways to ask.
pub(crate) trait Ask {
    fn ask(&mut self, command: &Arc<Command>) -> Ruling;
    fn ask_granted(&mut self, policy: &str) -> Ruling;
    /// The fault that the one policy answers `select 1` with.
    fn fault(&mut self) -> Fault;
    /// The message with which `select 1` is denied.
    fn denial(&mut self) -> String;
}

impl Ask for Box<dyn Judge> {
    fn ask(&mut self, command: &Arc<Command>) -> Ruling {
        self.check(command, &[], &|text| read(text))
    }

    fn ask_granted(&mut self, policy: &str) -> Ruling {
        let grant = Grant { policy: policy.into(), approvers: vec!["bob".into(), "carol".into()] };
        self.check(&command("select 1"), &[grant], &|text| read(text))
    }

    fn fault(&mut self) -> Fault {
        fault(&self.ask(&command("select 1")))
    }

    fn denial(&mut self) -> String {
        denial(&self.ask(&command("select 1")))
    }
}

/// The one fault in a ruling, which must deny because of it.
pub(crate) fn fault(ruling: &Ruling) -> Fault {
    let Outcome::Deny(denial) = &ruling.outcome else { panic!("not denied: {ruling:?}") };
    let [Answer { verdict: Err(fault), .. }] = ruling.explanation.as_slice() else { panic!("no fault: {ruling:?}") };
    assert!(denial.message.contains(&fault.to_string()) && &*denial.policy == "p", "{denial:?}");
    fault.clone()
}

/// The message of a denial by the policy `p`.
pub(crate) fn denial(ruling: &Ruling) -> String {
    match &ruling.outcome {
        Outcome::Deny(denial) => denial.message.clone(),
        other => panic!("not denied: {other:?}"),
    }
}
