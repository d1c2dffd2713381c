//! A package that needs nothing outside of its directory: what is packed and carried elsewhere.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item};

use crate::error::PackageError;
use crate::file;
use crate::manifest::Manifest;
use crate::package::{MANIFEST, MAX_COMPONENT, Package};

impl Manifest {
    /// Reads the text of a `policy.toml` that came from `file`.
    pub fn parse(file: &Path, text: &str) -> Result<Self, PackageError> {
        file::parse(file, text)
    }

    /// What keeps the package from being used in any directory: the key, and what it must be instead.
    pub fn not_portable(&self) -> Option<&'static str> {
        let about = &self.package;
        if about.component != Path::new(Package::COMPONENT) {
            return Some("`component` is not \"component.wasm\"");
        }
        if about.settings_schema.as_ref().is_some_and(|schema| schema != Path::new(Package::SETTINGS_SCHEMA)) {
            return Some("`settings-schema` is not \"settings.schema.json\"");
        }
        self.build.as_ref().map(|_| "it has a [build] section, and packages are carried without their source")
    }
}

impl Package {
    /// The manifest's name.
    pub const MANIFEST: &str = MANIFEST;
    /// The component's name in a package that was carried elsewhere.
    pub const COMPONENT: &str = "component.wasm";
    /// The name of the settings' schema in such a package.
    pub const SETTINGS_SCHEMA: &str = "settings.schema.json";
    /// The most bytes of a component.
    pub const MAX_COMPONENT: u64 = MAX_COMPONENT;

    /// The files beside the component, by the names that they have where the package needs nothing outside of its directory:
    /// manifest, settings schema, `README.md`, `LICENSE*` and `cases/*.toml`.
    ///
    /// The manifest is changed for that: it names the component and the schema beside it, and has no `[build]`.
    pub fn files(&self) -> Result<BTreeMap<String, Vec<u8>>, PackageError> {
        let manifest = self.dir.join(MANIFEST);
        let text = portable(&manifest, &file::read_text(&manifest)?)?;
        let mut files = BTreeMap::from([(MANIFEST.to_owned(), text.into_bytes())]);
        if let Some(schema) = &self.manifest.package.settings_schema {
            files.insert(Self::SETTINGS_SCHEMA.to_owned(), file::read_text(&self.dir.join(schema))?.into_bytes());
        }
        let is_text = |name: &str| name == "README.md" || name.starts_with("LICENSE");
        for (name, path) in entries(&self.dir)?.into_iter().filter(|(name, path)| is_text(name) && !path.is_dir()) {
            files.insert(name, own_text(&path)?);
        }
        let is_cases = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "toml");
        for (name, path) in entries(&self.dir.join("cases"))?.into_iter().filter(|(_, path)| is_cases(path)) {
            files.insert(format!("cases/{name}"), own_text(&path)?);
        }
        Ok(files)
    }

    /// What the manifest names outside of the package's directory, and would be packed with it.
    pub fn outside(&self) -> Vec<&Path> {
        let about = &self.manifest.package;
        let named = std::iter::once(&about.component).chain(&about.settings_schema);
        let leaves = |path: &&PathBuf| path.components().any(|part| part == std::path::Component::ParentDir);
        named.filter(leaves).map(PathBuf::as_path).collect()
    }

    /// The directory of the component's source, if it is here.
    pub fn source(&self) -> Option<PathBuf> {
        let source = self.dir.join(&self.manifest.build.as_ref()?.source);
        source.is_dir().then_some(source)
    }
}

/// A text file of the package's own: a link might lead to what is nobody's business.
fn own_text(path: &Path) -> Result<Vec<u8>, PackageError> {
    if path.is_symlink() {
        let message = "is a symbolic link, which is not packed; put a file in its place".into();
        return Err(PackageError::Invalid { file: path.to_owned(), message });
    }
    Ok(file::read_text(path)?.into_bytes())
}

/// The entries of a directory by name; none where there is no such directory.
fn entries(dir: &Path) -> Result<Vec<(String, PathBuf)>, PackageError> {
    let failed = |source| PackageError::Read { file: dir.to_owned(), source };
    let found = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        found => found.map_err(failed)?,
    };
    let named = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.map_err(failed)?.path();
        match path.file_name().and_then(|name| name.to_str()) {
            Some(name) => Ok((name.to_owned(), path)),
            None => Err(PackageError::Invalid { file: path, message: "its name is not UTF-8; rename it".into() }),
        }
    };
    found.map(named).collect()
}

/// The manifest's text with everything beside it. What need not change, comments included, stays as it is.
fn portable(file: &Path, text: &str) -> Result<String, PackageError> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        file::syntax(file, text, error.span().map_or(0, |span| span.start), error.message().replace('\n', "; "))
    })?;
    document.remove("build");
    for (key, name) in [("component", Package::COMPONENT), ("settings-schema", Package::SETTINGS_SCHEMA)] {
        let value = document.get_mut("package").and_then(|about| about.get_mut(key)).and_then(Item::as_value_mut);
        if let Some(value) = value.filter(|value| value.as_str() != Some(name)) {
            let decor = value.decor().clone();
            *value = name.into();
            *value.decor_mut() = decor;
        }
    }
    Ok(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::tests::{Dir, MINIMAL};

    #[test]
    fn a_manifest_is_made_portable_and_keeps_its_words() {
        let text = "# Ours.\n[package]\nname = 'block'   # short\nversion = \"0.1.0\"\ndescription = \"Refuses.\"\n\
            interface = \"0.1\"\nhooks = [\"commands\"]\ncomponent = \"../../dist/block.wasm\" # built\nsettings-schema = \"../s.json\"\n\n\
            [build]\nlanguage = \"rust\"\nsource = \".\"\n\n[settings]\nlimit = 0x10 # rows\n";
        let expected = "# Ours.\n[package]\nname = 'block'   # short\nversion = \"0.1.0\"\ndescription = \"Refuses.\"\n\
            interface = \"0.1\"\nhooks = [\"commands\"]\ncomponent = \"component.wasm\" # built\nsettings-schema = \"settings.schema.json\"\n\n\
            [settings]\nlimit = 0x10 # rows\n";
        let file = Path::new("policy.toml");
        let once = portable(file, text).unwrap();
        assert_eq!(once, expected);
        assert_eq!(portable(file, &once).unwrap(), once);
        assert!(Manifest::parse(file, text).unwrap().not_portable().unwrap().contains("`component`"));
        assert_eq!(Manifest::parse(file, &once).unwrap().not_portable(), None);
        let inline = "package = { name = \"x\", component = \"a/b.wasm\" }\n";
        assert_eq!(portable(file, inline).unwrap(), "package = { name = \"x\", component = \"component.wasm\" }\n");
        assert!(portable(file, "a = 1\nb = \n").unwrap_err().to_string().starts_with("policy.toml:2:"));
    }

    #[test]
    fn files_are_those_that_belong_to_the_package() {
        let dir = Dir::new("files");
        dir.put("p/policy.toml", MINIMAL.replace("0.1\"\ncomp", "0.1\"\nsettings-schema = \"../s.json\"\ncomp"));
        dir.put("s.json", "{}");
        for name in ["README.md", "LICENSE", "LICENSE-MIT", "cases/a.toml", "cases/notes.md", "src/lib.rs", ".env"] {
            dir.put(&format!("p/{name}"), name);
        }
        let files = Package::open(&dir.path("p")).unwrap().files().unwrap();
        let names: Vec<_> = files.keys().map(String::as_str).collect();
        let expected = ["LICENSE", "LICENSE-MIT", "README.md", "cases/a.toml", "policy.toml", "settings.schema.json"];
        assert_eq!(names, expected);
        assert_eq!(files["cases/a.toml"], b"cases/a.toml");
    }
}
