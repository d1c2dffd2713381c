use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;

const TEMPLATES: [(Template, &str); 2] = [(Template::Command, "no-mass-delete"), (Template::Rows, "mask-emails")];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What git has of a directory, from which everything must come.
fn committed(dir: &str) -> BTreeMap<String, String> {
    let mut git = std::process::Command::new("git");
    let output = git.args(["ls-files", "-z", "--", "."]).current_dir(repository().join(dir)).output().unwrap();
    assert!(output.status.success(), "git does not list {dir}");
    let names = String::from_utf8(output.stdout).unwrap();
    let read = |name: &str| (name.to_owned(), fs::read_to_string(repository().join(dir).join(name)).unwrap());
    names.split_terminator('\0').map(read).collect()
}

#[test]
fn a_package_is_the_example_but_for_the_line_that_says_where_the_sdk_is() {
    for language in Language::ALL {
        for (template, example) in TEMPLATES {
            let files: BTreeMap<_, _> = package(example, language, template).unwrap().into_iter().collect();
            let dir = format!("{EXAMPLES}/{}/{example}", language.as_str());
            let mut changed = Vec::new();
            for (path, text) in committed(&dir) {
                let new = files.get(&path).unwrap_or_else(|| panic!("{dir} is made without {path}"));
                assert_eq!(new.lines().count(), text.lines().count(), "{dir}/{path}");
                changed.extend(new.lines().zip(text.lines()).filter(|(new, old)| new != old).map(|(new, old)| {
                    assert!(
                        new.contains("./sdk") && old.contains("../../../../plugins/sdk"),
                        "{dir}/{path}: {old} -> {new}"
                    );
                    path.clone()
                }));
            }
            // A README may link to the SDK's, too.
            changed.retain(|path| path != "README.md");
            assert_eq!(changed.len(), 1, "{dir}: {changed:?}");
            let own = |path: &&String| !path.starts_with("sdk/") && **path != WIT;
            let names: Vec<_> = files.keys().filter(own).cloned().collect();
            assert_eq!(names, committed(&dir).into_keys().collect::<Vec<_>>(), "{dir}");
            assert_eq!(files[WIT], fs::read_to_string(repository().join(WIT)).unwrap());
        }
    }
}

#[test]
fn the_sdk_comes_without_its_own_tests_and_without_what_tools_make() {
    for language in Language::ALL {
        let files = package("a-policy", language, Template::Command).unwrap();
        let vendored: Vec<String> =
            files.iter().filter_map(|(path, _)| path.strip_prefix("sdk/")).map(str::to_owned).collect();
        let kept: Vec<String> = committed(sdk(language)).into_keys().filter(|path| !is_own_test(path)).collect();
        assert_eq!(vendored, kept, "{}", language.as_str());
        for (path, text) in &files {
            assert!(!text.contains("../../../../plugins"), "{}: {path}", language.as_str());
            assert!(!text.contains(env!("CARGO_MANIFEST_DIR")) && !text.contains("resolved"), "{path}");
        }
    }
}

#[test]
fn the_name_is_everywhere_in_the_spelling_of_the_language() {
    for language in Language::ALL {
        for (template, example) in TEMPLATES {
            let files = package("freeze-on-fridays", language, template).unwrap();
            let own = || files.iter().filter(|(path, _)| !path.starts_with("sdk/"));
            for old in [example.to_owned(), pascal(example), camel(example)] {
                let left: Vec<_> = own().filter(|(_, text)| text.contains(&old)).map(|(path, _)| path).collect();
                assert!(left.is_empty(), "{old} is left in {left:?} of {}", language.as_str());
            }
            let manifest = &own().find(|(path, _)| path == "policy.toml").unwrap().1;
            assert!(manifest.contains("name = \"freeze-on-fridays\""));
        }
    }
}

#[test]
fn the_rust_sdk_needs_no_workspace() {
    let files = package("a-policy", Language::Rust, Template::Command).unwrap();
    let manifest = &files.iter().find(|(path, _)| path == "sdk/Cargo.toml").unwrap().1;
    assert!(!manifest.contains("workspace"), "{manifest}");
    let manifest: toml::Table = toml::from_str(manifest).unwrap();
    assert_eq!(manifest["package"]["edition"].as_str(), Some("2024"));
    assert!(manifest["dependencies"]["wit-bindgen"]["version"].is_str());
    let bindings = &files.iter().find(|(path, _)| path == "sdk/src/bindings.rs").unwrap().1;
    assert!(bindings.contains("path: \"../wit\"") && !bindings.contains("../../wit"));
}

#[test]
fn bad_names_are_refused() {
    for name in [
        "",
        "Block",
        "a b",
        "../up",
        "/etc",
        "a--b",
        "-a",
        "a-",
        "3d",
        "a-1",
        "no_mass",
        "é",
        &"a".repeat(65),
        "self",
        "test",
        "go",
    ] {
        assert!(check(name).is_err(), "{name}");
    }
    let error = package("verdict", Language::Rust, Template::Command).unwrap_err().to_string();
    assert!(
        error.starts_with("a package `verdict` would name its policy `Verdict`, which means something else"),
        "{error}"
    );
    for name in ["block", "no-weekend-deploys", "pci2", &"a".repeat(64)] {
        assert!(check(name).is_ok(), "{name}");
    }
}

#[test]
fn a_package_is_written_whole_where_there_was_nothing() {
    let parent = crate::config::scratch("policy-new");
    let args = |name: &str| cli::New {
        name: name.into(),
        language: LanguageArg::Rust,
        template: Template::Rows,
        parent: parent.clone(),
    };
    new(&args("cover")).unwrap();
    let package = portcullis_package::Package::open(&parent.join("cover")).unwrap();
    assert_eq!(package.manifest.package.name, "cover");
    assert!(!package.cases().unwrap().is_empty());
    fs::write(parent.join("cover/mine"), "kept").unwrap();
    let error = new(&args("cover")).unwrap_err().to_string();
    assert!(error.contains("is there already"), "{error}");
    assert_eq!(fs::read_to_string(parent.join("cover/mine")).unwrap(), "kept");
}
