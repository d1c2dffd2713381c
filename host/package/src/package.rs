use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use crate::case::{self, Case};
use crate::error::{PackageError, Problem};
use crate::manifest::Manifest;
use crate::{file, settings};

/// The name of the manifest in a package's directory.
const MANIFEST: &str = "policy.toml";

/// The most bytes of a component.
const MAX_COMPONENT: u64 = 64 << 20;

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
        let file = if path.is_dir() { path.join(MANIFEST) } else { path.to_owned() };
        let manifest = file::parse(&file, &file::read_text(&file)?)?;
        let dir = match file.parent() {
            Some(dir) if dir != Path::new("") => dir.to_owned(),
            _ => PathBuf::from("."),
        };
        Ok(Self { manifest, dir })
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
                PackageError::NotBuilt { component: file, package: self.dir.clone() }
            }
            other => other,
        })?;
        if !bytes.starts_with(COMPONENT) {
            let message = format!("is not a Wasm component; run `portcullis policy build {}`", self.dir.display());
            return Err(PackageError::Invalid { file: path, message });
        }
        Ok(bytes.into())
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
        let schema = settings::schema(&text).map_err(|message| PackageError::Invalid { file, message })?;
        match settings::problems(&schema, &merged) {
            none if none.is_empty() => Ok(merged),
            problems => Err(refused(problems)),
        }
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
