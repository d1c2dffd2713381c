//! `portcullis policy inspect`

use std::io::Write as _;
use std::path::Path;

use anyhow::Context;
use portcullis_engine::Inspection;
use portcullis_package::{Manifest, Package, trust};
use portcullis_registry::{Artifact, Pulled};
use serde_json::{Value, json};

use super::{INSTANCES, describe, engine, share};
use crate::cli::RegistryArgs;
use crate::show::{safe, safe_lines};

/// What is known of something that can be inspected.
struct Subject {
    found: Inspection,
    manifest: Option<Manifest>,
    /// The JSON schema of its settings.
    schema: Option<Value>,
    /// The digest of its artifact.
    artifact: Option<String>,
    /// What its signatures say of themselves: nobody has checked them.
    signatures: Vec<String>,
}

/// Prints what a component imports, exports and needs, by its own types; and what its package says of it.
pub(super) fn inspect(what: &str, as_json: bool, args: &RegistryArgs) -> anyhow::Result<()> {
    let path = Path::new(what);
    let subjects = if what.contains("://") || path.join("oci-layout").is_file() || what.ends_with(".tar") {
        share::find(what, args)?.iter().map(|(_, pulled)| artifact(pulled)).collect::<anyhow::Result<Vec<_>>>()?
    } else if path.is_dir() || path.ends_with("policy.toml") {
        vec![package(&Package::open(path)?)?]
    } else {
        let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let found = engine(INSTANCES, None, false)?.inspect(&bytes)?;
        vec![Subject { found, manifest: None, schema: None, artifact: None, signatures: Vec::new() }]
    };
    let mut out = std::io::stdout().lock();
    for subject in &subjects {
        if as_json {
            writeln!(out, "{:#}", to_json(subject))?;
        } else {
            out.write_all(words(subject).as_bytes())?;
        }
    }
    Ok(())
}

fn package(package: &Package) -> anyhow::Result<Subject> {
    let found = engine(INSTANCES, None, false)?.inspect(&package.component()?)?;
    let artifact = Some(Artifact::pack(package)?.digest().to_string());
    let schema = package.schema()?;
    Ok(Subject { found, manifest: Some(package.manifest.clone()), schema, artifact, signatures: Vec::new() })
}

fn artifact(pulled: &Pulled) -> anyhow::Result<Subject> {
    let found = engine(INSTANCES, None, false)?.inspect(pulled.artifact.component())?;
    let signature = |signature: &portcullis_registry::Signature| match signature.media_type.as_str() {
        trust::MINISIGN => match trust::claimed_key(&signature.bytes) {
            Some(id) => format!("minisign, by the key {id}"),
            None => "minisign, unreadable".into(),
        },
        trust::COSIGN => "cosign".into(),
        other => other.to_owned(),
    };
    Ok(Subject {
        found,
        manifest: Some(pulled.artifact.policy().clone()),
        schema: pulled.artifact.schema()?,
        artifact: Some(pulled.artifact.digest().to_string()),
        signatures: pulled.signatures.iter().map(signature).collect(),
    })
}

fn to_json(Subject { found, manifest, schema, artifact, signatures }: &Subject) -> Value {
    let capabilities: Vec<&str> = found.capabilities.iter().map(|c| c.as_str()).collect();
    json!({
        "package": manifest, "settings_schema": schema, "artifact": artifact, "signatures": signatures,
        "digest": found.digest, "bytes": found.size, "hooks": found.hooks,
        "imports": found.imports, "capabilities": capabilities,
    })
}

fn words(Subject { found, manifest, schema, artifact, signatures }: &Subject) -> String {
    let mut lines = Vec::new();
    let mut line = |key: &str, value: String| lines.push(format!("{key:<10}{value}\n"));
    if let Some(Manifest { package: about, .. }) = manifest {
        line("package", format!("{} {}: {}", about.name, about.version, safe_lines(&about.description)));
        if !about.authors.is_empty() {
            line("authors", safe(&about.authors.join(", ")).to_string());
        }
        about.license.iter().for_each(|license| line("licence", safe(license).to_string()));
        about.source.iter().for_each(|source| line("source", safe(source).to_string()));
    }
    artifact.iter().for_each(|digest| line("artifact", digest.clone()));
    for signature in signatures {
        line("signature", format!("{}; `policy verify` checks it", safe(signature)));
    }
    let [needs, answers] = describe(found);
    line("component", format!("sha256:{}, {} KiB", found.digest, found.size.div_ceil(1024)));
    line("answers", answers);
    line("needs", needs);
    for (capability, reason) in manifest.iter().flat_map(|manifest| &manifest.capabilities) {
        line("", format!("{}: {}", capability.as_str(), safe(&reason.0)));
    }
    for import in &found.imports {
        line("imports", safe_lines(import));
    }
    let properties = schema.as_ref().and_then(|schema| schema["properties"].as_object());
    for (name, property) in properties.into_iter().flatten() {
        let kind = property["type"].as_str().unwrap_or("any");
        let default = manifest.as_ref().and_then(|manifest| manifest.settings.get(name));
        let default = default.map_or(String::new(), |value| format!(", default {}", shortened(&value.to_string())));
        let about = property["description"].as_str().map_or(String::new(), |about| format!(": {about}"));
        line("setting", safe(&format!("{name} ({kind}{default}){about}")).to_string());
    }
    lines.concat() + "\n"
}

fn shortened(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    if short.len() < text.len() { short + "…" } else { short }
}
