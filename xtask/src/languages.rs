//! The example policies in each language: their own tests, their components, and the SDKs' tests.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use portcullis_tests::languages::{c, go, javascript, python};
use portcullis_tests::place::{artifacts, portcullis, root};
use portcullis_tests::{guest_rust, nothing_may_be_missing};

use crate::steps::show;

/// The examples of each language.
pub(crate) const PACKAGES: [&str; 2] = ["no-mass-delete", "mask-emails"];

/// A language that policies are written in.
pub(crate) struct Language {
    /// Its name, which is that of its directory.
    pub(crate) name: &'static str,
    /// Where its tools are.
    tools: fn() -> Option<PathBuf>,
    /// The command that runs the tests of a package in its directory.
    test: &'static [&'static str],
    /// The directory of its SDK below `plugins`, and the command that runs its tests; Rust's are run with the plugins.
    sdk: Option<(&'static str, &'static [&'static str])>,
}

/// All of them.
pub(crate) const LANGUAGES: [Language; 5] = [
    Language { name: "rust", tools: || None, test: &["cargo", "test", "--quiet", "--locked"], sdk: None },
    Language {
        name: "go",
        tools: go::path,
        test: &["go", "test", "./..."],
        sdk: Some(("sdk-go", &["go", "test", "./..."])),
    },
    Language {
        name: "javascript",
        tools: javascript::path,
        test: &["node", "--test"],
        sdk: Some(("sdk-js", &["node", "--test", "tests/"])),
    },
    Language {
        name: "python",
        tools: python::path,
        test: &["python", "-m", "pytest", "-q"],
        sdk: Some(("sdk-python", &["python", "-m", "pytest", "-q"])),
    },
    Language { name: "c", tools: c::path, test: &["make", "test"], sdk: Some(("sdk-c", &["make", "test"])) },
];

/// Installs what the languages need.
pub(crate) fn install() -> Result<()> {
    go::install()?;
    c::install()?;
    python::install()?;
    javascript::install()
}

/// Builds the components of the examples with the gateway's own command.
pub(crate) fn build(profile: &str) -> Result<()> {
    for language in available()? {
        if language.name == "javascript" {
            for name in PACKAGES {
                // Links the SDK into the package. What npm must know of the tools for that is in its cache, unless somebody has emptied it.
                let mut link = Command::new("npm");
                link.args([
                    "install",
                    "--silent",
                    "--omit=dev",
                    "--prefer-offline",
                    "--no-package-lock",
                    "--no-audit",
                    "--no-fund",
                ]);
                link.arg("--prefix").arg(root().join(language.directory(name)));
                show(&format!("the SDK for {name}"), &mut link)?;
            }
        }
        let mut build = builder(language, profile)?;
        build.args(PACKAGES.map(|name| root().join(language.directory(name))));
        show(&format!("build of the examples in {}", language.name), &mut build)?;
    }
    Ok(())
}

/// The gateway's own `policy build`, which finds the language's tools.
pub(crate) fn builder(language: &Language, profile: &str) -> Result<Command> {
    let mut build = Command::new(portcullis(profile)?);
    build.args(["policy", "build"]).env("PATH", path(language)?).envs(guest_rust::environment()?);
    Ok(build)
}

/// Runs the tests of the examples and of the SDKs in their own languages.
pub(crate) fn test() -> Result<()> {
    for language in available()? {
        let path = path(language)?;
        let run = |what: String, dir: PathBuf, line: &[&str]| {
            let Some((program, arguments)) = line.split_first() else { return Ok(()) };
            // A shell finds the program in the PATH that it is given, and not in ours.
            let mut test = Command::new("/usr/bin/env");
            test.arg("-C").arg(&dir).arg(program).args(arguments).env("PATH", &path);
            test.env("CARGO_TARGET_DIR", artifacts("plugins"));
            show(&what, &mut test)
        };
        for name in PACKAGES {
            run(format!("tests of {name} in {}", language.name), root().join(language.directory(name)), language.test)?;
        }
        if let Some((dir, line)) = language.sdk {
            run(format!("tests of the SDK for {}", language.name), root().join("plugins").join(dir), line)?;
        }
    }
    Ok(())
}

/// The directories of the examples that are built here.
pub(crate) fn packages() -> Result<Vec<String>> {
    Ok(available()?.into_iter().flat_map(|language| PACKAGES.map(|name| language.directory(name))).collect())
}

/// The languages whose tools are here.
fn available() -> Result<Vec<&'static Language>> {
    let (there, missing): (Vec<_>, Vec<_>) =
        LANGUAGES.iter().partition(|language| language.name == "rust" || (language.tools)().is_some());
    let names = missing.iter().map(|language| language.name).collect::<Vec<_>>().join(", ");
    ensure!(missing.is_empty() || !nothing_may_be_missing(), "the tools for policies in {names} are missing");
    if !missing.is_empty() {
        eprintln!("warning: without the tools for {names} their examples are not built");
    }
    Ok(there)
}

impl Language {
    /// The directory of an example, below the checkout's root.
    pub(crate) fn directory(&self, name: &str) -> String {
        format!("examples/write-a-policy/{}/{name}", self.name)
    }
}

/// The PATH with the language's tools before all others.
fn path(language: &Language) -> Result<OsString> {
    let ours = std::env::var_os("PATH").unwrap_or_default();
    let paths = (language.tools)().into_iter().chain(std::env::split_paths(&ours));
    std::env::join_paths(paths).context("a directory in PATH cannot be there")
}
