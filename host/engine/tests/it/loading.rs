use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_engine::{Capability, Engine, EngineOptions, PolicyLimits, PolicySpec};
use portcullis_verdict::mask::HashKey;

use crate::bench::{Bench, broken, cache_dir, guest};

/// The one problem with a policy.
fn problem(policy: PolicySpec) -> String {
    let mut problems = Bench::new().problems(vec![policy]);
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.remove(0)
}

/// A guest whose import `wasi:cli/environment@0.2.3` is renamed.
fn foreign(package: &str, version: &str) -> PolicySpec {
    let spec = guest("p", "ambient");
    let (old, new) = ("wasi:cli/environment@0.2.3", format!("{package}/environment{version}"));
    assert_eq!(old.len(), new.len());
    let mut component = spec.component.to_vec();
    for at in 0..component.len() {
        if component[at..].starts_with(old.as_bytes()) {
            component[at..at + new.len()].copy_from_slice(new.as_bytes());
        }
    }
    PolicySpec { component: component.into(), ..spec }
}

#[test]
fn an_import_that_is_not_offered_is_named() {
    let said = problem(foreign("evil:cli", "@0.2.3"));
    assert!(said.contains("imports `evil:cli/environment@0.2.3`, which the gateway does not offer"), "{said}");
    let said = problem(foreign("wasi:cli", "@0.3.0"));
    assert!(said.contains("imports `wasi:cli/environment@0.3.0`, which the gateway does not offer"), "{said}");
}

#[test]
fn something_else_than_a_policy_is_refused() {
    assert!(problem(guest("p", "no-exports")).contains("neither `commands` nor `rows`"));
    let other = |bytes: &[u8]| problem(PolicySpec { component: Arc::from(bytes), ..broken("p", "allow") });
    assert!(other(b"junk").contains("not a WebAssembly component"));
    assert!(other(b"\0asm\x01\0\0\0").contains("not a WebAssembly component"), "a core module");
    assert!(other(b"\0asm\x0d\0\x01\0").contains("exports no `lifecycle`"), "an empty component");
}

#[test]
fn every_wrong_setting_is_reported_with_its_place() {
    let problems = Bench::new().problems(vec![broken("p", "error-in-validate"), broken("q", "error-in-validate")]);
    let expected = ["policy `p`: setting `/do`: as told", "policy `p`: setting `/more`: and this"];
    assert_eq!(problems[..2], expected);
    assert_eq!(problems.len(), 4);
    assert!(problem(PolicySpec { settings: "{".into(), ..broken("p", "") }).contains("not JSON"));
}

#[test]
fn a_trial_start_finds_what_fails() {
    let cases = [
        ("trap-in-validate", "trapped"),
        ("loop-in-validate", "500 ms"),
        ("trap-in-configure", "trapped"),
        ("loop-in-configure", "500 ms"),
        ("memory-in-configure", "memory"),
        ("error-in-configure", "as told"),
        ("register-unknown", "`telnet`, which this gateway does not know"),
    ];
    for (behaviour, expected) in cases {
        let said = problem(broken("p", behaviour));
        assert!(said.contains(expected), "{behaviour}: {said}");
    }
}

#[test]
fn limits_are_checked() {
    let with = |limits| problem(PolicySpec { limits, ..broken("p", "allow") });
    assert!(with(PolicyLimits { memory_bytes: 0, ..Default::default() }).contains("`memory_bytes`"));
    assert!(with(PolicyLimits { call_ms: 0, ..Default::default() }).contains("`call_ms`"));
    assert!(with(PolicyLimits { answer_bytes: 1, ..Default::default() }).contains("`answer_bytes`"));
    let small = PolicyLimits { memory_bytes: 65_536, ..Default::default() };
    assert!(with(small).contains("ran out of its memory of 65536 bytes"));
}

#[test]
fn bindings_are_checked() {
    let bench = Bench::new();
    assert!(bench.problems(vec![broken("p", "allow"), broken("p", "deny")])[0].contains("same name"));
    let bind = |names: &[&str]| {
        let chain = names.iter().map(ToString::to_string).collect();
        let bound = bench.engine.prepare(vec![broken("p", "allow")], BTreeMap::from([("t".into(), chain)]));
        bound.err().unwrap().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(bind(&["q"]), ["policy `q`: the target `t` is bound to it, but there is no such policy"]);
    assert_eq!(bind(&["p", "p"]), ["policy `p`: the target `t` is bound to it more than once"]);
}

#[test]
fn a_component_is_inspected() {
    let bench = Bench::new();
    let component = crate::guests::component("broken");
    let found = bench.engine.inspect(&component).unwrap();
    assert_eq!((found.size, found.digest.len()), (component.len(), 64));
    assert_eq!(found.capabilities, Capability::ALL.into());
    assert_eq!(found.hooks.len(), 3);
    let found = bench.engine.inspect(&crate::guests::component("allow")).unwrap();
    assert!(found.capabilities.is_empty() && !found.hooks.contains(&"rows".into()), "{found:?}");
    let found = bench.engine.inspect(&crate::guests::component("ambient")).unwrap();
    assert!(found.capabilities.is_empty(), "WASI needs no grant: {found:?}");
    let said = bench.engine.inspect(&foreign("evil:cli", "@0.2.3").component).unwrap_err().to_string();
    assert!(said.contains("evil:cli/environment"), "{said}");
}

#[test]
fn compiled_code_lives_in_a_private_directory() {
    use std::os::unix::fs::PermissionsExt;
    let options = |dir| EngineOptions {
        cache_dir: Some(dir),
        max_instances: 1,
        hash_key: HashKey::new(b"k"),
        meter: None,
        fuel: false,
        log_values: false,
    };
    let dir = cache_dir().join("open-to-all");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    let said = Engine::new(options(dir)).err().unwrap().to_string();
    assert!(said.contains("chmod 700"), "{said}");
    let dir = cache_dir().join(format!("fresh-{}", std::process::id()));
    drop(Engine::new(options(dir.clone())).unwrap());
    assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    std::fs::remove_dir_all(dir).unwrap();
}
