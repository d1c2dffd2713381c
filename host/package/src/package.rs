use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use crate::case::{self, Case};
use crate::component::{self, Unfit};
use crate::error::{PackageError, Problem};
use crate::manifest::Manifest;
use crate::{file, settings};

/// The name of the manifest in a package's directory.
pub(crate) const MANIFEST: &str = "policy.toml";

/// The most bytes of a component.
pub(crate) const MAX_COMPONENT: u64 = 64 << 20;

/// The most files with cases.
const MAX_CASE_FILES: usize = 1000;

/// How every binary component begins: magic, version 13, layer 1.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// A policy package on disk.
#[derive(Clone, Debug)]
pub struct Package {
    /// What its `policy.toml` says.
    pub manifest: Manifest,
    /// The directory of its `policy.toml`.
    pub dir: PathBuf,
}

impl Package {
    /// Reads the manifest of the package in a directory, or the manifest itself.
    pub fn open(path: &Path) -> Result<Self, PackageError> {
        let is_manifest = path.is_file() || path.ends_with(MANIFEST);
        let file = if is_manifest { path.to_owned() } else { path.join(MANIFEST) };
        let text = file::read_text(&file).map_err(|error| match error {
            PackageError::Read { file: manifest, source } if source.kind() == ErrorKind::NotFound => {
                PackageError::Missing { manifest, inner: Self::within(path).into_iter().next() }
            }
            other => other,
        })?;
        let manifest = file::parse(&file, &text)?;
        let dir = match file.parent() {
            Some(dir) if dir != Path::new("") => dir.to_owned(),
            _ => PathBuf::from("."),
        };
        Ok(Self { manifest, dir })
    }

    /// The directories of the packages that lie in a directory, by name; none where it cannot be read.
    pub fn within(dir: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut found: Vec<PathBuf> = entries.filter(|inner| inner.join(MANIFEST).is_file()).collect();
        found.sort();
        found
    }

    /// Where the component is, or is to be.
    pub fn component_path(&self) -> PathBuf {
        self.dir.join(&self.manifest.package.component)
    }

    /// The component's bytes.
    pub fn component(&self) -> Result<Arc<[u8]>, PackageError> {
        let path = self.component_path();
        let bytes = file::read(&path, MAX_COMPONENT).map_err(|error| match error {
            PackageError::Read { file, source } if source.kind() == ErrorKind::NotFound => {
                PackageError::NotBuilt { component: file, hint: self.how_to_build() }
            }
            other => other,
        })?;
        if !bytes.starts_with(COMPONENT) {
            let message = format!("is not a Wasm component; {}", self.how_to_build());
            return Err(PackageError::Invalid { file: path, message });
        }
        Ok(bytes.into())
    }

    fn how_to_build(&self) -> String {
        match self.manifest.build {
            Some(_) => format!("run `portcullis policy build {}`", self.dir.display()),
            None => {
                "the package has no [build] section; `cargo xtask plugins` builds those of the standard plugins".into()
            }
        }
    }

    /// Whether a component imports only what the manifest declares, and exports the hooks that it names.
    pub fn fits(&self, component: &[u8]) -> Result<(), Unfit> {
        component::check(component, &self.manifest)
    }

    /// The settings: the operator's, as a JSON merge patch (RFC 7396) over the package's, checked against its schema.
    pub fn settings(&self, operator: Option<&Value>) -> Result<Value, PackageError> {
        let refused = |problems| PackageError::Settings { package: self.manifest.package.name.clone(), problems };
        let mut merged = self.manifest.settings.clone();
        if let Some(patch) = operator {
            settings::merge(&mut merged, patch);
        }
        if !merged.is_object() {
            return Err(refused(vec![Problem { pointer: String::new(), message: "the value is not a table".into() }]));
        }
        let Some(schema) = &self.manifest.package.settings_schema else { return Ok(merged) };
        let file = self.dir.join(schema);
        let text = file::read_text(&file)?;
        match settings::check(text, &merged).map_err(|message| PackageError::Invalid { file, message })? {
            none if none.is_empty() => Ok(merged),
            problems => Err(refused(problems)),
        }
    }

    /// The JSON schema of the settings, if there is one.
    pub fn schema(&self) -> Result<Option<Value>, PackageError> {
        let Some(schema) = &self.manifest.package.settings_schema else { return Ok(None) };
        let file = self.dir.join(schema);
        let read = serde_json::from_str(&file::read_text(&file)?);
        read.map(Some).map_err(|error| PackageError::Invalid { file, message: format!("is not JSON: {error}") })
    }

    /// The test cases in `cases/*.toml`, by file and then in the order of the file. None where there is no such directory.
    pub fn cases(&self) -> Result<Vec<Case>, PackageError> {
        let dir = self.dir.join("cases");
        let failed = |source| PackageError::Read { file: dir.clone(), source };
        let entries = match std::fs::read_dir(&dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, _>>().map_err(failed)?;
        files.retain(|file| file.extension().is_some_and(|e| e == "toml"));
        files.sort();
        if files.len() > MAX_CASE_FILES {
            let message = format!("holds more than {MAX_CASE_FILES} files with cases");
            return Err(PackageError::Invalid { file: dir, message });
        }
        let read = |file: PathBuf| case::parse(&file, &file::read_text(&file)?);
        files.into_iter().map(read).collect::<Result<Vec<_>, _>>().map(|cases| cases.concat())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    /// A directory that goes when the test ends.
    pub(crate) struct Dir(PathBuf);

    impl Dir {
        pub(crate) fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("portcullis-package-{}-{test}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path.canonicalize().unwrap())
        }

        pub(crate) fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        pub(crate) fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
            let path = self.path(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
            path
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    pub(crate) const MINIMAL: &str = r#"[package]
name = "block"
version = "0.1.0"
description = "Refuses."
interface = "0.1"
component = "out/block.wasm"
hooks = ["commands"]
"#;

    fn open(test: &str, manifest: &str) -> (Dir, Result<Package, PackageError>) {
        let dir = Dir::new(test);
        dir.put("policy.toml", manifest);
        let package = Package::open(&dir.0);
        (dir, package)
    }

    #[test]
    fn a_whole_manifest_is_read() {
        let manifest = format!(
            "{MINIMAL}settings-schema = \"s.json\"\nauthors = [\"Jo\"]\n[capabilities]\nstate = \"a\"\nclock = \"b\"\n\
             [build]\nlanguage = \"rust\"\nsource = \".\"\n[budget]\ncheck = {{ micros = 5, memory-kib = 64 }}\n[settings]\nlimit = 3\nrules = [{{ verb = \"DROP\", on = true, share = 0.5 }}]\n"
        );
        let (dir, package) = open("whole", &manifest);
        let manifest = package.unwrap().manifest;
        let again: Manifest = toml::from_str(&toml::to_string(&manifest).unwrap()).unwrap();
        assert_eq!(format!("{manifest:?}"), format!("{again:?}"));
        let Manifest { package: about, build, settings, capabilities, budget } = manifest;
        assert_eq!((about.name.as_str(), about.version.as_str()), ("block", "0.1.0"));
        assert_eq!(about.settings_schema, Some("s.json".into()));
        assert_eq!(capabilities.keys().map(|c| c.as_str()).collect::<Vec<_>>(), ["clock", "state"]);
        assert_eq!((about.kinds(), budget.len()), (vec!["sql".to_owned()], 1));
        assert_eq!(build.unwrap().source, Path::new("."));
        assert_eq!(settings, json!({"limit": 3, "rules": [{"verb": "DROP", "on": true, "share": 0.5}]}));
        let by_file = Package::open(&dir.path("policy.toml")).unwrap();
        assert_eq!(by_file.component_path(), dir.path("out/block.wasm"));
    }

    #[test]
    fn errors_say_where_and_what_was_meant() {
        let change = |from: &str, to: &str| MINIMAL.replace(from, to);
        let cases = [
            (format!("{MINIMAL}settings_schema = \"x\"\n"), "policy.toml:8:1: unknown field `settings_schema`"),
            (format!("{MINIMAL}settings_schema = \"x\"\n"), "did you mean `settings-schema`?"),
            (format!("{MINIMAL}[capabilities]\nclok = \"x\"\n"), "policy.toml:9:1: unknown variant `clok`"),
            (format!("{MINIMAL}[capabilities]\nclok = \"x\"\n"), "did you mean `clock`?"),
            (format!("{MINIMAL}[capabilities]\nclock = \"\"\n"), "policy.toml:9:9: a reason has 1 to 256 bytes"),
            (change("[\"commands\"]", "[\"rows\", \"rows\"]"), "a hook is named twice"),
            (change("[\"commands\"]", "[]"), "`commands`, `rows` or both"),
            (format!("{MINIMAL}[biuld]\n"), "did you mean `build`?"),
            (format!("{MINIMAL}[settings]\nday = 2020-01-01\n"), "put it in quotes"),
            (format!("{MINIMAL}[settings]\nn = inf\n"), "no JSON number"),
            (change("\"block\"", "\"Block\""), "policy.toml:2:8: `Block` is not a package name"),
            (change("\"block\"", "\"\""), "is not a package name"),
            (change("\"0.1.0\"", "\"1\""), "policy.toml:3:11: `1` is not a version"),
            (change("\"0.1\"", "\"0.2\""), "policy.toml:5:13: `0.2` is not a version of portcullis:policy"),
            (change("\"out/", "\"/out/"), "a path relative to the manifest"),
            (change("interface = \"0.1\"\n", ""), "missing field `interface`"),
            (change("name", "name = "), "policy.toml:2:"),
        ];
        for (manifest, expected) in cases {
            let (_dir, package) = open("errors", &manifest);
            let error = package.unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains('\n'), "{expected}: {error}");
        }
    }

    #[test]
    fn where_there_is_no_package_one_further_in_is_named() {
        let missing = |path: &Path| Package::open(path).unwrap_err().to_string();
        for path in ["/nowhere/at/all", "/nowhere/at/all/policy.toml"] {
            let error = missing(Path::new(path));
            assert!(error.ends_with("here: /nowhere/at/all/policy.toml does not exist"), "{error}");
        }
        let dir = Dir::new("within");
        for name in ["b", "a"] {
            dir.put(&format!("{name}/policy.toml"), MINIMAL);
        }
        dir.put("c/README.md", "no package");
        assert_eq!(Package::within(&dir.0), [dir.path("a"), dir.path("b")]);
        let error = missing(&dir.0);
        assert!(error.ends_with(&format!("name one, such as {}", dir.path("a").display())), "{error}");
    }

    #[test]
    fn a_component_is_there_and_is_one() {
        let (dir, package) = open("component", MINIMAL);
        let package = package.unwrap();
        let error = package.component().unwrap_err().to_string();
        assert!(error.contains("out/block.wasm; ") && error.contains("`cargo xtask plugins`"), "{error}");
        let (_dir, with_source) =
            open("component-source", &format!("{MINIMAL}[build]\nlanguage = \"rust\"\nsource = \".\"\n"));
        let error = with_source.unwrap().component().unwrap_err().to_string();
        assert!(error.contains("out/block.wasm; run `portcullis policy build "), "{error}");
        dir.put("out/block.wasm", b"\0asm\x01\0\0\0");
        let error = package.component().unwrap_err().to_string();
        assert!(error.contains("is not a Wasm component"), "{error}");
        dir.put("out/block.wasm", COMPONENT);
        assert_eq!(&*package.component().unwrap(), COMPONENT);
    }

    #[test]
    fn settings_are_merged_and_checked() {
        let manifest = format!("{MINIMAL}settings-schema = \"s.json\"\n[settings]\nlimit = 3\nextra = true\n");
        let (dir, package) = open("settings", &manifest);
        let package = package.unwrap();
        let error = package.settings(None).unwrap_err().to_string();
        assert!(error.contains("s.json cannot be read"), "{error}");
        dir.put("s.json", r#"{"properties": {"limit": {"maximum": 5}, "words": {"items": {"type": "string"}}}}"#);
        let settings = |patch| package.settings(Some(&patch));
        assert_eq!(package.settings(None).unwrap(), json!({"limit": 3, "extra": true}));
        assert_eq!(settings(json!({"limit": 4, "extra": null})).unwrap(), json!({"limit": 4}));
        let error = settings(json!({"limit": 9, "words": ["a", 1]})).unwrap_err().to_string();
        assert!(error.contains("package `block`") && error.contains("\n  /limit: "), "{error}");
        assert!(error.contains("\n  /words/1: "), "{error}");
        assert!(settings(json!([1])).unwrap_err().to_string().contains("not a table"));
        dir.put("s.json", r#"{"type": "objct"}"#);
        let error = package.settings(None).unwrap_err().to_string();
        assert!(error.contains("s.json: is not a JSON schema: /type"), "{error}");
    }

    #[test]
    fn cases_come_by_file_and_order() {
        let (dir, package) = open("cases", MINIMAL);
        let package = package.unwrap();
        assert!(package.cases().unwrap().is_empty());
        let case = |name| format!("[[case]]\nname = \"{name}\"\ncommand.sql = \"x\"\nexpect.decision = \"allow\"\n");
        dir.put("cases/b.toml", case("3"));
        dir.put("cases/a.toml", case("1") + &case("2"));
        dir.put("cases/README.md", "no case");
        let cases = package.cases().unwrap();
        let found: Vec<_> = cases.iter().map(|c| (c.file.file_name().unwrap().to_str().unwrap(), &*c.name)).collect();
        assert_eq!(found, [("a.toml", "1"), ("a.toml", "2"), ("b.toml", "3")]);
    }
}
