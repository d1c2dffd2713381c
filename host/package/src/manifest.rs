use std::path::PathBuf;

use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;

/// The version of the policy interface that this gateway serves.
const INTERFACE: &str = "0.1";

/// What `policy.toml` says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What the package is.
    pub package: About,
    /// How its component is built, where the source is here.
    pub build: Option<BuildFrom>,
    /// Its default settings, a JSON object.
    #[serde(default = "no_settings", deserialize_with = "settings")]
    pub settings: Value,
}

/// What a package is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct About {
    /// Its name: lower-case letters, digits and hyphens.
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// Its version, as in Semantic Versioning.
    #[serde(deserialize_with = "version")]
    pub version: String,
    /// What it does, in a sentence.
    pub description: String,
    /// The version of `portcullis:policy` that it is built for.
    #[serde(deserialize_with = "interface")]
    pub interface: String,
    /// The component, relative to the manifest.
    #[serde(deserialize_with = "relative")]
    pub component: PathBuf,
    /// The JSON schema of the settings, relative to the manifest.
    #[serde(default, deserialize_with = "some_relative")]
    pub settings_schema: Option<PathBuf>,
    /// What its imports need; the operator grants them.
    #[serde(default, deserialize_with = "distinct")]
    pub capabilities: Vec<Capability>,
}

/// How a component is built.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildFrom {
    /// The directory of a Rust crate with the crate type `cdylib`, relative to the manifest.
    #[serde(rename = "crate", deserialize_with = "relative")]
    pub crate_dir: PathBuf,
}

/// An interface of the host that a policy may import only if the operator grants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// The time.
    Clock,
    /// Hashes under the gateway's masking key.
    Crypto,
    /// Randomness.
    Random,
    /// Values that outlive an instance.
    State,
}

impl Capability {
    /// Every capability there is.
    pub const ALL: [Self; 4] = [Self::Clock, Self::Crypto, Self::Random, Self::State];

    /// Its name in manifests and configurations, which is also that of the interface.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::Crypto => "crypto",
            Self::Random => "random",
            Self::State => "state",
        }
    }
}

fn no_settings() -> Value {
    Value::Object(serde_json::Map::new())
}

fn checked<'de, D: Deserializer<'de>>(d: D, valid: fn(&str) -> bool, rule: &str) -> Result<String, D::Error> {
    let text = String::deserialize(d)?;
    if valid(&text) { Ok(text) } else { Err(D::Error::custom(format!("`{text}` is not {rule}"))) }
}

fn name<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    checked(d, is_name, "a package name: 1 to 64 lower-case letters, digits and hyphens")
}

fn is_name(text: &str) -> bool {
    let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=64).contains(&text.len()) && text.bytes().all(legal)
}

fn version<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    checked(d, is_version, "a version such as `0.1.0`")
}

fn is_version(text: &str) -> bool {
    let (text, build) = text.split_once('+').map_or((text, None), |(t, b)| (t, Some(b)));
    let (core, pre) = text.split_once('-').map_or((text, None), |(t, p)| (t, Some(p)));
    let number = |n: &str| !n.is_empty() && n.len() < 10 && n.bytes().all(|b| b.is_ascii_digit());
    let tag =
        |t: &str| t.split('.').all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
    core.split('.').count() == 3 && core.split('.').all(number) && pre.is_none_or(tag) && build.is_none_or(tag)
}

fn interface<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    let rule = "a version of portcullis:policy that this gateway serves; it serves `0.1`";
    checked(d, |text| text == INTERFACE, rule)
}

fn relative<'de, D: Deserializer<'de>>(d: D) -> Result<PathBuf, D::Error> {
    let valid = |text: &str| !text.is_empty() && !PathBuf::from(text).has_root();
    checked(d, valid, "a path relative to the manifest").map(PathBuf::from)
}

fn some_relative<'de, D: Deserializer<'de>>(d: D) -> Result<Option<PathBuf>, D::Error> {
    relative(d).map(Some)
}

fn distinct<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Capability>, D::Error> {
    let mut all = Vec::<Capability>::deserialize(d)?;
    let count = all.len();
    all.sort();
    all.dedup();
    if all.len() == count { Ok(all) } else { Err(D::Error::custom("a capability is named twice")) }
}

fn settings<'de, D: Deserializer<'de>>(d: D) -> Result<Value, D::Error> {
    to_json(toml::Value::Table(toml::Table::deserialize(d)?)).map_err(D::Error::custom)
}

/// What TOML can say and JSON cannot is refused instead of changed.
fn to_json(value: toml::Value) -> Result<Value, String> {
    Ok(match value {
        toml::Value::Array(items) => Value::Array(items.into_iter().map(to_json).collect::<Result<_, _>>()?),
        toml::Value::Boolean(b) => b.into(),
        toml::Value::Datetime(d) => return Err(format!("`{d}` is a TOML date; settings are JSON: put it in quotes")),
        toml::Value::Float(f) if !f.is_finite() => return Err(format!("`{f}` is no JSON number")),
        toml::Value::Float(f) => f.into(),
        toml::Value::Integer(i) => i.into(),
        toml::Value::String(s) => s.into(),
        toml::Value::Table(table) => {
            let entries = table.into_iter().map(|(key, value)| Ok((key, to_json(value)?)));
            Value::Object(entries.collect::<Result<_, String>>()?)
        }
    })
}
