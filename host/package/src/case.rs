//! Test cases: what is asked, and what is expected.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use portcullis_verdict::{ColumnRef, Phase};
use serde::{Deserialize, Deserializer, de::Error};
use toml::Spanned;

use crate::error::PackageError;
use crate::file;

/// One test case of a package.
#[derive(Clone, Debug)]
pub struct Case {
    /// The file that holds it.
    pub file: PathBuf,
    /// Its name, unique in its file.
    pub name: String,
    pub(crate) session: SessionSpec,
    pub(crate) command: CommandSpec,
    pub(crate) result: Option<ResultSpec>,
    pub(crate) expect: Expect,
}

/// Reads the cases in a file's text.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Vec<Case>, PackageError> {
    let mut names = BTreeSet::new();
    let mut cases = Vec::new();
    for spec in file::parse::<CaseFile>(path, text)?.case {
        let (at, spec) = (spec.span().start, spec.into_inner());
        let name = spec.name.clone();
        let case = spec.check(path).and_then(|case| match names.insert(name.clone()) {
            true => Ok(case),
            false => Err("another case of this file has this name".into()),
        });
        cases.push(case.map_err(|why| file::syntax(path, text, at, format!("the case \"{name}\": {why}")))?);
    }
    Ok(cases)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    case: Vec<Spanned<Spec>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    name: String,
    #[serde(default)]
    session: SessionSpec,
    command: Option<CommandSpec>,
    result: Option<ResultSpec>,
    expect: Option<Expect>,
}

impl Spec {
    /// What could never fail or never pass is refused: it would test nothing.
    fn check(self, file: &Path) -> Result<Case, String> {
        let command = self.command.ok_or("has no [case.command], so that there is nothing to ask")?;
        let expect = self.expect.ok_or("has no [case.expect], so that it could not fail")?;
        if self.name.trim().is_empty() {
            return Err("has an empty name".into());
        }
        match &self.result {
            Some(result) => result.check(&command, &expect)?,
            None => expect.check_command()?,
        }
        Ok(Case { file: file.into(), name: self.name, session: self.session, command, result: self.result, expect })
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SessionSpec {
    pub(crate) principal: String,
    pub(crate) groups: Vec<String>,
    pub(crate) target: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) client_address: SocketAddr,
    pub(crate) credential: CredentialSpec,
    pub(crate) reason: Option<String>,
}

impl Default for SessionSpec {
    fn default() -> Self {
        Self {
            principal: "alice".into(),
            groups: Vec::new(),
            target: "app".into(),
            labels: BTreeMap::new(),
            // An address for documentation (RFC 5737).
            client_address: SocketAddr::from(([192, 0, 2, 1], 40000)),
            credential: CredentialSpec::default(),
            reason: None,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) enum CredentialSpec {
    #[serde(rename = "certificate")]
    Certificate,
    #[default]
    #[serde(rename = "scram-sha-256")]
    Scram,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommandSpec {
    pub(crate) sql: String,
    #[serde(default = "execute", deserialize_with = "phase")]
    pub(crate) phase: Phase,
    #[serde(default)]
    pub(crate) parameters: Vec<Cell>,
    /// What its conditions derive from; as far as its text tells if this is not given.
    pub(crate) conditions: Option<Vec<ColumnSpec>>,
    /// The policy's review has been granted by these.
    pub(crate) approvers: Option<Vec<String>>,
}

fn execute() -> Phase {
    Phase::Execute
}

fn phase<'de, D: Deserializer<'de>>(d: D) -> Result<Phase, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Name {
        Execute,
        Prepare,
    }
    Ok(match Name::deserialize(d)? {
        Name::Execute => Phase::Execute,
        Name::Prepare => Phase::Prepare,
    })
}

/// A value in text form, or `{ null = true }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell(pub(crate) Option<String>);

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(d)? {
            toml::Value::String(text) => Ok(Self(Some(text))),
            toml::Value::Table(t) if t.len() == 1 && t.get("null") == Some(&toml::Value::Boolean(true)) => {
                Ok(Self(None))
            }
            other => {
                let what = other.type_str();
                Err(D::Error::custom(format!("a value is a string, or {{ null = true }} for NULL; this is a {what}")))
            }
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResultSpec {
    pub(crate) columns: Vec<ColumnSpec>,
    #[serde(default)]
    pub(crate) rows: Vec<Vec<Cell>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ColumnSpec {
    pub(crate) name: String,
    #[serde(default = "text", rename = "type")]
    pub(crate) type_name: String,
    #[serde(default)]
    pub(crate) computed: bool,
    #[serde(default, deserialize_with = "origins")]
    pub(crate) origins: Vec<ColumnRef>,
    #[serde(default)]
    pub(crate) labels: Vec<String>,
}

fn text() -> String {
    "text".into()
}

fn origins<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<ColumnRef>, D::Error> {
    let origin = |text: String| match text.split('.').collect::<Vec<_>>()[..] {
        [schema, relation, name] if ![schema, relation, name].contains(&"") => {
            Ok(ColumnRef { schema: schema.into(), relation: relation.into(), name: name.into() })
        }
        _ => Err(D::Error::custom(format!("the origin `{text}` is not of the form `schema.table.column`"))),
    };
    Vec::<String>::deserialize(d)?.into_iter().map(origin).collect()
}

impl ResultSpec {
    fn check(&self, command: &CommandSpec, expect: &Expect) -> Result<(), String> {
        let count = self.columns.len();
        let expected = expect.rows.iter().flatten();
        if let Some(row) = self.rows.iter().chain(expected).find(|row| row.len() != count) {
            return Err(format!("a row has {} cells, but the result has {count} columns", row.len()));
        }
        match expect.decision {
            None | Some(Decision::Allow | Decision::Rewrite) => {}
            Some(_) => return Err("a command that is not allowed has no result: leave [case.result] out".into()),
        }
        if command.phase == Phase::Prepare {
            return Err("a command that is only prepared has no result: leave [case.result] out".into());
        }
        match (&expect.rows, &expect.refused, expect.max_rows) {
            (Some(_), Some(_), _) => Err("expects `rows` and `refused` of the same result".into()),
            (None, None, None) => Err("expects nothing of its result: give `rows`, `refused` or `max_rows`".into()),
            _ => expect.check_terms(),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expect {
    pub(crate) decision: Option<Decision>,
    /// A part of the message.
    pub(crate) message: Option<String>,
    pub(crate) rewrite: Option<String>,
    #[serde(default)]
    pub(crate) findings: Vec<String>,
    pub(crate) approval: Option<ApprovalSpec>,
    /// The rows that the client sees.
    pub(crate) rows: Option<Vec<Vec<Cell>>>,
    /// A part of the message that refuses the result.
    pub(crate) refused: Option<String>,
    pub(crate) max_rows: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Decision {
    Allow,
    Deny,
    Review,
    Rewrite,
}

impl Decision {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Review => "review",
            Self::Rewrite => "rewrite",
        }
    }
}

/// What an approval request must say; what is left out may be anything.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApprovalSpec {
    pub(crate) any_of: Option<Vec<String>>,
    pub(crate) quorum: Option<u32>,
    pub(crate) ttl_seconds: Option<u32>,
    pub(crate) reuse: Option<portcullis_verdict::Reuse>,
}

impl Expect {
    fn check_command(&self) -> Result<(), String> {
        if self.rows.is_some() || self.refused.is_some() || self.max_rows.is_some() {
            return Err("expects `rows`, `refused` or `max_rows`, but has no [case.result]".into());
        }
        if self.decision.is_none() {
            return Err("has no `decision` in [case.expect]: allow, deny, review or rewrite".into());
        }
        self.check_terms()
    }

    fn check_terms(&self) -> Result<(), String> {
        let only = |key: &str, given: bool, with: &[Decision]| {
            if !given || self.decision.is_some_and(|d| with.contains(&d)) {
                return Ok(());
            }
            let with = with.iter().map(|d| d.as_str()).collect::<Vec<_>>().join(" or ");
            Err(format!("expects `{key}`, which comes only with the decision {with}"))
        };
        only("message", self.message.is_some(), &[Decision::Deny, Decision::Review])?;
        only("rewrite", self.rewrite.is_some(), &[Decision::Rewrite])?;
        only("approval", self.approval.is_some(), &[Decision::Review])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(Path::new("c.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_those_of_an_ordinary_user() {
        let text = "[[case]]\nname = \"a\"\ncommand.sql = \"select 1\"\nexpect.decision = \"allow\"\n";
        let [case] = &parse(Path::new("c.toml"), text).unwrap()[..] else { panic!("not one case") };
        assert_eq!((case.session.principal.as_str(), case.session.target.as_str()), ("alice", "app"));
        assert_eq!(case.session.client_address.to_string(), "192.0.2.1:40000");
        assert!(matches!(case.session.credential, CredentialSpec::Scram));
        assert_eq!(case.command.phase, Phase::Execute);
    }

    #[test]
    fn nulls_and_origins_are_read() {
        let text = r#"
            [[case]]
            name = "a"
            command = { sql = "s", phase = "execute", parameters = ["1", { null = true }] }
            expect.rows = []
            [[case.result.columns]]
            name = "x"
            origins = ["public.t.c"]
        "#;
        let case = parse(Path::new("c.toml"), text).unwrap().remove(0);
        assert_eq!(case.command.parameters, [Cell(Some("1".into())), Cell(None)]);
        let column = &case.result.unwrap().columns[0];
        assert_eq!((column.type_name.as_str(), column.origins[0].relation.as_str()), ("text", "t"));
    }

    #[test]
    fn what_would_test_nothing_is_refused() {
        let head = "[[case]]\nname = \"a\"\n";
        let sql = "command.sql = \"s\"\n";
        let column = "result.columns = [{ name = \"x\" }]\n";
        let cases = [
            ("expect.decision = \"allow\"\n".to_owned(), "no [case.command]"),
            (sql.to_owned(), "no [case.expect]"),
            (format!("{sql}expect = {{}}\n"), "no `decision`"),
            (format!("{sql}expect.decision = \"alow\"\n"), "did you mean `allow`?"),
            (format!("{sql}expect.rows = []\n"), "no [case.result]"),
            (
                format!("{sql}expect = {{ decision = \"allow\", message = \"m\" }}\n"),
                "`message`, which comes only with",
            ),
            (format!("{sql}expect = {{ decision = \"allow\", rewrite = \"m\" }}\n"), "decision rewrite"),
            (format!("{sql}expect = {{ decision = \"deny\", approval = {{}} }}\n"), "decision review"),
            (format!("{sql}{column}expect.findings = [\"f\"]\n"), "expects nothing of its result"),
            (format!("{sql}{column}expect = {{ rows = [], refused = \"x\" }}\n"), "`rows` and `refused`"),
            (format!("{sql}{column}expect.rows = [[\"a\", \"b\"]]\n"), "a row has 2 cells"),
            (format!("{sql}{column}expect = {{ decision = \"deny\", rows = [] }}\n"), "leave [case.result] out"),
            (format!("{sql}{column}expect.rows = [[1]]\n"), "{ null = true } for NULL; this is a integer"),
            (format!("{sql}command.phase = \"prepare\"\n{column}expect.rows = []\n"), "only prepared"),
            (format!("{sql}result.columns = [{{ name = \"x\", origins = [\"t.c\"] }}]\n"), "schema.table.column"),
            (format!("{sql}sesion.target = \"t\"\n"), "did you mean `session`?"),
        ];
        for (body, expected) in cases {
            let error = error(&format!("{head}{body}"));
            assert!(error.contains(expected) && error.starts_with("c.toml:"), "{body}: {error}");
        }
    }

    #[test]
    fn names_are_unique_and_errors_name_the_case() {
        let one = "[[case]]\nname = \"a\"\ncommand.sql = \"s\"\nexpect.decision = \"allow\"\n";
        let error = error(&format!("{one}{one}"));
        assert_eq!(error, "c.toml:5:1: the case \"a\": another case of this file has this name");
    }
}
