//! Texts: statements and manifests.

use portcullis_package::Manifest;
use portcullis_wire::sql::{self, Lexing};

/// A statement is read the same each time, and white space after it changes nothing.
pub(crate) fn sql(data: &[u8]) {
    let Some((options, text)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(text);
    let lexing = Lexing { standard_conforming_strings: options & 1 == 0, backslash_quote: options & 2 == 0 };
    match sql::read(&text, lexing) {
        Ok(facts) => {
            assert!(!facts.fingerprint.is_empty());
            for statement in &facts.statements {
                assert!(!statement.verb.is_empty(), "a statement without a verb");
                let used = statement.relations.iter().fold(sql::Effects::empty(), |all, r| all | r.effects);
                assert!(statement.effects.contains(used), "a relation's effects are not the statement's");
            }
            assert_eq!(sql::read(&format!("{text}\n"), lexing), Ok(facts));
        }
        Err(error) => assert!(error.to_string().len() < 100, "the error quotes the text"),
    }
}

/// A manifest that is read has legal names, and its settings are an object.
pub(crate) fn manifest(data: &[u8]) {
    let Ok(manifest) = toml::from_str::<Manifest>(&String::from_utf8_lossy(data)) else { return };
    let about = &manifest.package;
    assert!((1..=64).contains(&about.name.len()) && about.name.is_ascii());
    assert!(!about.component.has_root() && about.settings_schema.as_ref().is_none_or(|path| !path.has_root()));
    assert!(manifest.settings.is_object());
}
