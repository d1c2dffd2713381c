//! What the measurements ask, and the engine that they ask.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use portcullis_engine::{Capability, Engine, EngineOptions, PolicyLimits, PolicySpec};
use portcullis_verdict::mask::HashKey;
use portcullis_verdict::{
    ColumnRef, Command, Credential, Effects, Facts, Kind, Mode, Phase, Principal, Relation, Session, SqlStatement,
    Statement, Target,
};

pub(crate) fn engine(cache_dir: Option<PathBuf>) -> Arc<Engine> {
    let hash_key = HashKey::new(b"a key to measure with");
    Engine::new(EngineOptions { cache_dir, max_instances: 100, hash_key, meter: None, fuel: false, log_values: false })
        .unwrap()
}

/// Puts policies in force, by the targets that are bound to them.
pub(crate) fn install(engine: &Engine, chains: &[(&str, Vec<PolicySpec>)]) {
    let names = |policies: &[PolicySpec]| policies.iter().map(|p| p.name.clone()).collect();
    let bindings: BTreeMap<_, _> = chains.iter().map(|(t, policies)| ((*t).to_owned(), names(policies))).collect();
    let policies = chains.iter().flat_map(|(_, policies)| policies.iter().cloned()).collect();
    match engine.prepare(policies, bindings) {
        Ok(set) => engine.swap(set),
        Err(problems) => panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    };
}

pub(crate) fn policy(name: &str, component: &Arc<[u8]>, settings: &str, limits: PolicyLimits) -> PolicySpec {
    PolicySpec {
        name: name.into(),
        component: component.clone(),
        settings: settings.into(),
        mode: Mode::Enforce,
        capabilities: Capability::ALL.into(),
        limits,
        pure: false,
        canary: None,
    }
}

pub(crate) fn session(target: &str) -> Arc<Session> {
    Arc::new(Session {
        id: "0198c0de-0000-7000-8000-000000000001".into(),
        protocol: "postgres",
        principal: Principal { name: "alice".into(), groups: vec!["dev".into()], credential: Credential::Scram },
        target: Arc::new(Target { name: target.into(), labels: BTreeMap::new() }),
        client_address: "192.0.2.7:4711".parse().unwrap(),
        reason: None,
    })
}

/// A join with a condition, as its facts are read.
pub(crate) fn command() -> Arc<Command> {
    let relation = |name: &str| Relation { schema: "public".into(), name: name.into(), effects: Effects::READ };
    let statement = SqlStatement {
        dialect: "postgres".into(),
        verb: "SELECT".into(),
        effects: Effects::READ,
        relations: ["customers", "orders"].map(relation).into(),
        columns_read: ["name", "email", "id", "customer_id"].map(|c| column("customers", c)).into(),
        functions: vec!["count".into()],
        has_where: true,
        ..SqlStatement::default()
    };
    let facts = Facts { fingerprint: "50fde20626009aba".into(), sql: Ok(vec![statement]) };
    let text = "SELECT c.name, c.email, count(*) FROM public.customers c JOIN public.orders o ON o.customer_id = c.id \
                WHERE c.id = 4711 GROUP BY 1, 2";
    let statement = Arc::new(Statement { kind: Kind::Sql, text: text.into(), facts: Arc::new(facts) });
    Arc::new(Command { sequence: 1, phase: Phase::Execute, statement, parameters: vec![], reason: None, origins: None })
}

pub(crate) fn column(relation: &str, name: &str) -> ColumnRef {
    ColumnRef { schema: "public".into(), relation: relation.into(), name: name.into() }
}
