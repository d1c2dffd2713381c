use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::Value;

/// The version of the policy interface that this gateway serves.
const INTERFACE: &str = "0.1";

/// What `policy.toml` says.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What the package is.
    pub package: About,
    /// What its imports need, each with the reason; the operator grants them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub capabilities: BTreeMap<Capability, Reason>,
    /// How its component is built, where the source is here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildFrom>,
    /// What its hooks may cost, by their names in the interface.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub budget: BTreeMap<Budgeted, Budget>,
    /// Its default settings, a JSON object.
    #[serde(default = "no_settings", deserialize_with = "settings", skip_serializing_if = "is_empty")]
    pub settings: Value,
}

/// What a package is.
#[derive(Clone, Debug, Deserialize, Serialize)]
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
    /// Who wrote it, such as `Jo Doe <jo@example.com>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authors: Vec<String>,
    /// An SPDX licence expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Where its source is kept, a URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The version of `portcullis:policy` that it is built for.
    #[serde(deserialize_with = "interface")]
    pub interface: String,
    /// The component, relative to the manifest.
    #[serde(deserialize_with = "relative")]
    pub component: PathBuf,
    /// The JSON schema of the settings, relative to the manifest.
    #[serde(default, deserialize_with = "some_relative", skip_serializing_if = "Option::is_none")]
    pub settings_schema: Option<PathBuf>,
    /// What it is asked about: the interfaces that its component exports.
    #[serde(deserialize_with = "distinct")]
    pub hooks: Vec<Hook>,
    /// Its promise that its answers depend on nothing but what it reads, so that the gateway may use them again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pure: bool,
    /// The kinds of command that it may register for; without it, `sql` if it has the hooks `commands`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commands: Option<Vec<String>>,
}

impl About {
    /// The kinds of command that it may register for.
    pub fn kinds(&self) -> Vec<String> {
        let usual = || if self.hooks.contains(&Hook::Commands) { vec!["sql".into()] } else { Vec::new() };
        self.commands.clone().unwrap_or_else(usual)
    }
}

/// An interface of hooks that a component exports beside `lifecycle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// It decides on sessions and commands.
    Commands,
    /// It decides on results.
    Rows,
}

impl Hook {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Commands, Self::Rows];

    /// The interface's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Commands => "commands",
            Self::Rows => "rows",
        }
    }
}

/// How a component is built.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BuildFrom {
    /// What the source is written in.
    pub language: Language,
    /// The directory of the source, relative to the manifest.
    #[serde(deserialize_with = "relative")]
    pub source: PathBuf,
}

/// A language that `portcullis policy build` knows the tools of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Language {
    /// C, by Zig's compiler.
    C,
    /// Go, by its own compiler.
    Go,
    /// JavaScript and what compiles to it.
    #[serde(rename = "javascript")]
    JavaScript,
    /// Python, by componentize-py.
    Python,
    /// Rust, by cargo.
    Rust,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::C, Self::Go, Self::JavaScript, Self::Python, Self::Rust];

    /// Its name in manifests and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::C => "c",
            Self::Go => "go",
            Self::JavaScript => "javascript",
            Self::Python => "python",
            Self::Rust => "rust",
        }
    }
}

/// A hook with a budget, by its name in the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Budgeted {
    /// Asked instead of `check` after an approval.
    Approved,
    /// Asked for each command.
    Check,
    /// Asked once for each instance.
    Configure,
    /// Asked for each batch of inspected rows.
    FilterBatch,
    /// Asked when a session opens.
    Open,
    /// Asked once for each result.
    PlanResult,
}

impl Budgeted {
    /// The hook's name in the interface.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Check => "check",
            Self::Configure => "configure",
            Self::FilterBatch => "filter-batch",
            Self::Open => "open",
            Self::PlanResult => "plan-result",
        }
    }
}

/// The most that one call of a hook may cost; what is not given is not bounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Budget {
    /// The median time of a call, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micros: Option<u64>,
    /// Units of wasmtime's fuel, about one for each instruction: the same on every machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// The memory of the instance after it, in KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_kib: Option<u64>,
}

/// Why a package needs a capability, for whoever grants it: 1 to 256 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason(pub String);

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let valid = |text: &str| (1..=256).contains(&text.trim().len()) && text.len() <= 256;
        let text = String::deserialize(d)?;
        if valid(&text) {
            Ok(Self(text))
        } else {
            Err(D::Error::custom("a reason has 1 to 256 bytes: say what it is needed for"))
        }
    }
}

/// An interface of the host that a policy may import only if the operator grants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
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

fn is_empty(settings: &Value) -> bool {
    settings.as_object().is_some_and(serde_json::Map::is_empty)
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

fn distinct<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Hook>, D::Error> {
    let mut all = Vec::<Hook>::deserialize(d)?;
    let count = all.len();
    all.sort();
    all.dedup();
    match all.len() {
        0 => Err(D::Error::custom("a policy has `commands`, `rows` or both among its hooks")),
        left if left < count => Err(D::Error::custom("a hook is named twice")),
        _ => Ok(all),
    }
}

fn settings<'de, D: Deserializer<'de>>(d: D) -> Result<Value, D::Error> {
    to_json(toml::Value::Table(toml::Table::deserialize(d)?)).map_err(D::Error::custom)
}

/// What TOML can say and JSON cannot is refused instead of changed.
pub(crate) fn to_json(value: toml::Value) -> Result<Value, String> {
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
