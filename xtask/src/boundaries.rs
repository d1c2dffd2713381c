//! What may depend on what, under which licences, and in how many versions. All of it is read from `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use portcullis_tests::process::run;
use serde_json::Value;

use crate::steps::cargo;

/// The arrows between the crates, apart from tests.
const ARROWS: [(&str, &[&str]); 14] = [
    ("portcullis-verdict", &[]),
    ("portcullis-wire", &[]),
    ("portcullis-engine", &["portcullis-verdict"]),
    ("portcullis-store", &["portcullis-verdict"]),
    ("portcullis-recording", &["portcullis-verdict"]),
    ("portcullis-deliver", &["portcullis-verdict"]),
    ("portcullis-package", &["portcullis-verdict"]),
    ("portcullis-registry", &["portcullis-package"]),
    ("portcullis-proxy", &["portcullis-verdict", "portcullis-wire"]),
    ("portcullis-admin", &["portcullis-verdict"]),
    (
        "portcullis-gateway",
        &[
            "portcullis-admin",
            "portcullis-deliver",
            "portcullis-engine",
            "portcullis-package",
            "portcullis-proxy",
            "portcullis-recording",
            "portcullis-registry",
            "portcullis-store",
            "portcullis-verdict",
        ],
    ),
    ("portcullis-fuzz", &["portcullis-package", "portcullis-recording", "portcullis-verdict", "portcullis-wire"]),
    ("portcullis-tests", &[]),
    ("xtask", &["portcullis-tests"]),
];

/// Libraries that only these crates may use.
const KEPT_IN: [(&str, &[&str]); 13] = [
    ("axum", &["portcullis-admin"]),
    ("minisign", &["portcullis-package"]),
    ("minisign-verify", &["portcullis-package"]),
    ("pg_query", &["portcullis-wire"]),
    ("redb", &["portcullis-store"]),
    ("reqwest", &["portcullis-registry"]),
    ("tar", &["portcullis-registry"]),
    ("tokio-postgres", &["portcullis-store", "portcullis-tests"]),
    ("wasmtime", &["portcullis-engine"]),
    ("wit-component", &["portcullis-package", "portcullis-engine"]),
    ("tokio-rustls", &["portcullis-admin", "portcullis-proxy"]),
    ("utoipa", &["portcullis-admin"]),
    ("zstd", &["portcullis-fuzz", "portcullis-recording", "portcullis-store"]),
];

/// Every licence that a dependency may offer as a choice.
const LICENCES: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Zlib",
];

/// Libraries of which more than one version is too many: two of them would not understand each other's types, or would both
/// hold keys.
const ONCE: [&str; 11] =
    ["bytes", "hyper", "redb", "ring", "rustls", "serde", "serde_json", "tokio", "tracing", "wasmtime", "axum"];

/// Checks all of it and names every problem.
pub(crate) fn check() -> Result<()> {
    println!("==> crate boundaries, licences, duplicate versions");
    let text = run(&mut cargo(&["metadata", "--format-version", "1", "--locked", "--all-features"]))?;
    let metadata: Value = serde_json::from_str(&text)?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let mut problems = Vec::new();
    for package in packages {
        arrows(package, &mut problems);
        licence(package, &mut problems);
    }
    versions(packages, &mut problems);
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn arrows(package: &Value, problems: &mut Vec<String>) {
    let name = text(package, "name");
    // What comes from a registry has a source.
    if !package["source"].is_null() {
        return;
    }
    let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == name) else {
        return problems.push(format!("{name} is in the workspace and not in the list of allowed arrows"));
    };
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        let to = text(dependency, "name");
        let is_ours = dependency["path"].is_string();
        if is_ours && dependency["kind"].is_null() && !allowed.contains(&to) {
            problems.push(format!("{name} depends on {to}, which the layout does not allow"));
        }
        if KEPT_IN.iter().any(|(library, crates)| *library == to && !crates.contains(&name)) {
            problems.push(format!("{name} depends on {to}, which is kept to other crates"));
        }
    }
}

fn licence(package: &Value, problems: &mut Vec<String>) {
    let expression = text(package, "license");
    // Enough of SPDX (annex D) for what crates write: any of some choices, each of which is one licence or several at once.
    let plain = expression.replace(['(', ')'], "").replace('/', " OR ");
    let acceptable = |choice: &str| choice.split(" AND ").all(|one| LICENCES.contains(&one.trim()));
    if !plain.split(" OR ").any(acceptable) && !plain.split(" AND ").all(|part| part.split(" OR ").any(acceptable)) {
        problems.push(format!("{} has the licence `{expression}`, which is not in the list", text(package, "name")));
    }
}

fn versions(packages: &[Value], problems: &mut Vec<String>) {
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages {
        found.entry(text(package, "name")).or_default().insert(text(package, "version"));
    }
    for name in ONCE {
        if let Some(versions) = found.get(name).filter(|versions| versions.len() > 1) {
            problems.push(format!("{name} is there in several versions: {versions:?}"));
        }
    }
}
