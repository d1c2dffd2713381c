//! References to secrets. The configuration file never holds one.

use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use secrecy::zeroize::Zeroizing;
use serde::Deserialize;

/// Where a secret is: `env:NAME`, an environment variable, or `file:path`, a file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "toml::Value")]
#[schemars(with = "String", extend("pattern" = "^(env|file):.+$"))]
pub(crate) enum SecretRef {
    /// An environment variable.
    Env(String),
    /// A file, relative to the configuration file's directory.
    File(PathBuf),
}

/// The way out, for a value that is not a reference.
pub(crate) const LITERAL_HINT: &str = "put the secret into a file that only the gateway's user can read and write \
                                       \"file:path\", or into an environment variable and write \"env:NAME\"";

/// What every refusal of a literal says; it must not repeat the value.
pub(crate) const LITERAL: &str = "a secret is given by reference, never as a value";

/// Files longer than this hold no secret.
const MAX_SECRET_BYTES: u64 = 1 << 20;

// The value is taken as any TOML value, so that no error of serde's own repeats it.
impl TryFrom<toml::Value> for SecretRef {
    type Error = &'static str;

    fn try_from(value: toml::Value) -> Result<Self, Self::Error> {
        let text = value.as_str().ok_or(LITERAL)?;
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() && !name.contains(['=', '\0']) => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            _ => Err(LITERAL),
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl SecretRef {
    /// The file, if it is one.
    pub(crate) fn path(&self, base: &Path) -> Option<PathBuf> {
        match self {
            Self::Env(_) => None,
            Self::File(path) => Some(base.join(path)),
        }
    }

    /// The secret's bytes as they are.
    pub(crate) fn bytes(&self, base: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
        let bytes = match self {
            Self::Env(name) => std::env::var_os(name)
                .ok_or_else(|| format!("the environment variable {name} is not set"))?
                .into_encoded_bytes(),
            Self::File(path) => read(&base.join(path), MAX_SECRET_BYTES)?,
        };
        if bytes.is_empty() {
            return Err(format!("{self} is empty"));
        }
        Ok(Zeroizing::new(bytes))
    }

    /// The secret as text, without the line end that editors leave at the end of a file.
    pub(crate) fn text(&self, base: &Path) -> Result<Zeroizing<String>, String> {
        let bytes = self.bytes(base)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| format!("{self} is not UTF-8"))?;
        let line = text.strip_suffix('\n').unwrap_or(text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        match line {
            "" => Err(format!("{self} is empty")),
            line if line.contains('\0') => Err(format!("{self} holds a NUL byte")),
            line => Ok(Zeroizing::new(line.to_owned())),
        }
    }
}

/// Reads a file of at most `max` bytes.
pub(crate) fn read(path: &Path, max: u64) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let fail = |error: std::io::Error| format!("{} cannot be read: {}", path.display(), reason(&error));
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(fail)?.take(max + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > max {
        return Err(format!("{} is larger than {max} bytes", path.display()));
    }
    Ok(bytes)
}

/// An I/O error in the words of a person.
fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => error.to_string(),
    }
}

/// Whether others than the file's owner and group can read it.
pub(crate) fn is_world_readable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o004 != 0)
}
