//! `portcullis policy new`: an example package under another name, with the SDK and the interface beside it.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use portcullis_package::Language;

use crate::cli::{self, LanguageArg, Template};

/// Files of the repository, by their paths in it.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/templates.rs"));

const EXAMPLES: &str = "examples/write-a-policy";

const WIT: &str = "wit/policy.wit";

/// Names that mean something to a language or its tools.
const RESERVED: &str = "
    abstract alloc as async await become box break case chan const continue core crate default defer do dyn
    else enum extern fallthrough false final fn for func gen go goto if impl import in interface let loop
    macro main map match mod move mut override package priv proc-macro pub range ref return sdk select self
    static std struct super switch test trait true try type typeof union unsafe unsized use var virtual
    where while yield
";

/// Writes a package, and says what to do with it.
pub(super) fn new(args: &cli::New) -> anyhow::Result<()> {
    let language = match args.language {
        LanguageArg::Rust => Language::Rust,
        LanguageArg::Go => Language::Go,
        LanguageArg::JavaScript => Language::JavaScript,
        LanguageArg::Python => Language::Python,
        LanguageArg::C => Language::C,
    };
    let files = package(&args.name, language, args.template)?;
    let dir = args.parent.join(&args.name);
    fs::create_dir_all(&args.parent).with_context(|| format!("{} cannot be made", args.parent.display()))?;
    fs::create_dir(&dir).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            anyhow::anyhow!("{} is there already; choose another name, or --parent", dir.display())
        }
        _ => anyhow::anyhow!("{} cannot be made: {error}", dir.display()),
    })?;
    if let Err(error) = write(&dir, &files) {
        // Half a package would be in the way of the next attempt.
        let _ = fs::remove_dir_all(&dir);
        return Err(error).with_context(|| format!("{} cannot be written", dir.display()));
    }
    println!(
        "{} is there: README.md tells about its files and what {} needs. Next:\n",
        dir.display(),
        language.as_str()
    );
    let install = if language == Language::JavaScript { "    npm install\n" } else { "" };
    println!("    cd {}\n{install}    portcullis policy build .\n    portcullis policy test . --watch", dir.display());
    Ok(())
}

/// A file of a package: its path there, and its text.
type File = (String, String);

/// The files of a new package.
fn package(name: &str, language: Language, template: Template) -> anyhow::Result<Vec<File>> {
    check(name)?;
    let example = match template {
        Template::Command => "no-mass-delete",
        Template::Rows => "mask-emails",
    };
    let own = within(&format!("{EXAMPLES}/{}/{example}/", language.as_str()));
    ensure!(own.iter().any(|(path, _)| path == "policy.toml"), "this gateway has no template in {}", language.as_str());
    let mut files: Vec<File> = Vec::new();
    for (path, text) in own {
        let text = text.replace(&format!("../../../../{}", sdk(language)), "./sdk");
        files.push((path, renamed(&text, example, name)?));
    }
    for (path, text) in within(&format!("{}/", sdk(language))).into_iter().filter(|(path, _)| !is_own_test(path)) {
        let text = match (language, path.as_str()) {
            (Language::Rust, "Cargo.toml") => standalone(&text)?,
            // The interface is beside the SDK, not two directories further up.
            (Language::Rust, _) => text.replace("\"../../wit\"", "\"../wit\""),
            _ => text,
        };
        files.push((format!("sdk/{path}"), text));
    }
    let wit = FILES.iter().filter(|(path, _)| *path == WIT).map(|(path, text)| ((*path).into(), (*text).into()));
    files.extend(wit);
    Ok(files)
}

/// The names are those of packages, and of crates and types too: they begin with a letter and mean nothing else.
fn check(name: &str) -> anyhow::Result<()> {
    let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let well_formed = (1..=64).contains(&name.len())
        && name.bytes().all(legal)
        && name.split('-').all(|word| word.starts_with(|c: char| c.is_ascii_lowercase()));
    ensure!(
        well_formed,
        "`{}` is no name for a new package: it takes 1 to 64 lower-case letters, digits and hyphens, and each word begins with a letter, \
         as in no-weekend-deploys",
        name.escape_default()
    );
    ensure!(
        RESERVED.split_whitespace().all(|word| word != name),
        "`{name}` means something else to compilers; choose a name such as {name}-policy"
    );
    Ok(())
}

/// Where the SDK of a language is in the repository.
fn sdk(language: Language) -> &'static str {
    match language {
        Language::C => "plugins/sdk-c",
        Language::Go => "plugins/sdk-go",
        Language::JavaScript => "plugins/sdk-js",
        Language::Python => "plugins/sdk-python",
        Language::Rust => "plugins/sdk",
    }
}

/// The files in a directory of the repository, by their paths there.
fn within(dir: &str) -> Vec<File> {
    let inner = |(path, text): &(&str, &str)| Some((path.strip_prefix(dir)?.to_owned(), (*text).to_owned()));
    FILES.iter().filter_map(inner).collect()
}

/// Whether a file of an SDK is for its own tests, which a package's test runner would take for the package's.
fn is_own_test(path: &str) -> bool {
    path.starts_with("tests/") || path.ends_with("_test.go") || path.ends_with("_test.c") || path == "Makefile"
}

/// An example's text under another name, in the spellings of the languages.
fn renamed(text: &str, example: &str, name: &str) -> anyhow::Result<String> {
    let mut text = text.replace(example, name);
    for spell in [pascal, camel] {
        let (old, new) = (spell(example), spell(name));
        // One that is there already would mean two things.
        if old != new && text.contains(&old) && words(&text).any(|word| word == new) {
            bail!(
                "a package `{name}` would name its policy `{new}`, which means something else there; choose another name"
            );
        }
        text = text.replace(&old, &new);
    }
    Ok(text)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// `NoMassDelete` of `no-mass-delete`.
fn pascal(name: &str) -> String {
    let capital = |word: &str| word.get(..1).unwrap_or_default().to_uppercase() + word.get(1..).unwrap_or_default();
    name.split('-').map(capital).collect()
}

/// `noMassDelete` of `no-mass-delete`.
fn camel(name: &str) -> String {
    let (first, rest) = name.split_once('-').map_or((name, ""), |(first, rest)| (first, rest));
    first.to_owned() + &pascal(rest)
}

/// The manifest of the Rust SDK with everything in it that it takes from its workspace in the repository.
fn standalone(manifest: &str) -> anyhow::Result<String> {
    let workspace = FILES.iter().find(|(path, _)| *path == "plugins/Cargo.toml").context("the SDK has no workspace")?.1;
    let workspace: toml::Table = toml::from_str(workspace)?;
    let mut manifest: toml::Table = toml::from_str(manifest)?;
    manifest.remove("lints");
    for section in ["package", "dependencies"] {
        let shared = workspace.get("workspace").and_then(|workspace| workspace.get(section));
        let Some(keys) = manifest.get_mut(section).and_then(toml::Value::as_table_mut) else { continue };
        for (key, value) in keys {
            if value.get("workspace").is_some() {
                let shared = shared.and_then(|shared| shared.get(key));
                *value = shared.with_context(|| format!("the SDK's workspace has no {section}.{key}"))?.clone();
            }
        }
    }
    Ok(toml::to_string(&manifest)?)
}

fn write(dir: &Path, files: &[File]) -> std::io::Result<()> {
    for (path, text) in files {
        let file = dir.join(path);
        file.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(file, text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
