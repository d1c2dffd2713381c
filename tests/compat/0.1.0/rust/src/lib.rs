//! Calls every function of `portcullis:policy@0.1.0` once, exports every hook, and says what it got.

wit_bindgen::generate!({ world: "policy", path: "../wit" });

use exports::portcullis::policy::commands::{Command, Guest as Commands, Session, Verdict};
use exports::portcullis::policy::lifecycle::{Error, Guest as Lifecycle, Registration, SettingError};
use exports::portcullis::policy::rows::{
    Action, BatchResult, Chunk, Edit, Guest as Rows, Mask, Patch, Plan, ResultSet, Rule, Spans,
};
use portcullis::policy::facts::{Phase, SqlStatement};
use portcullis::policy::log::{self, Level};
use portcullis::policy::types::{Approval, Decision, Finding, Reuse};
use portcullis::policy::{clock, crypto, detect, random, state};

struct Policy;

impl Lifecycle for Policy {
    fn validate_settings(settings: String) -> Result<(), Vec<SettingError>> {
        if settings.contains("hello") {
            return Ok(());
        }
        Err(vec![SettingError { path: "/greeting".into(), message: "it does not say hello".into() }])
    }

    fn configure(settings: String) -> Result<Registration, Error> {
        if settings.contains("hello") {
            return Ok(Registration { commands: vec!["sql".into()] });
        }
        Err(Error { code: "bad-settings".into(), message: "it does not say hello".into() })
    }
}

fn verdict(decision: Decision) -> Verdict {
    Verdict { decision, message: None, rewrite: None, approval: None, findings: vec![] }
}

impl Commands for Policy {
    fn open(session: &Session) -> Result<Verdict, Error> {
        Ok(match session.principal().as_str() {
            "mallory" => Verdict { message: Some("mallory stays out".into()), ..verdict(Decision::Deny) },
            _ => verdict(Decision::Allow),
        })
    }

    fn check(session: &Session, command: &Command) -> Result<Verdict, Error> {
        let text = command.text(1000);
        let finding = |rule: &str, message: String| Finding { rule: rule.into(), message };
        if !command.parsed() {
            return Ok(Verdict { message: Some("this cannot be read".into()), ..verdict(Decision::Deny) });
        }
        if text.contains("review") {
            let approval = Approval {
                any_of: vec!["dba".into(), "security".into()],
                quorum: 2,
                ttl_seconds: 600,
                reuse: Reuse::SameCommand,
                reason: "it asks for a review".into(),
            };
            return Ok(Verdict { approval: Some(approval), ..verdict(Decision::Review) });
        }
        if text.contains("rewrite") {
            return Ok(Verdict { rewrite: Some("select 1".into()), ..verdict(Decision::Allow) });
        }
        if text.contains("error") {
            return Err(Error { code: "as-told".into(), message: "an error".into() });
        }
        let statements = command.sql();
        if !text.contains("tell") {
            let findings = vec![finding("allowed", statements.iter().map(SqlStatement::verb).collect())];
            return Ok(Verdict { findings, ..verdict(Decision::Allow) });
        }
        let message = [of_session(session), of_command(command), of_statements(&statements), of_host()].join("; ");
        Ok(Verdict { message: Some(message), findings: vec![finding("told", text)], ..verdict(Decision::Deny) })
    }

    fn approved(_: &Session, _: &Command, approvers: Vec<String>) -> Result<Verdict, Error> {
        let findings = vec![Finding { rule: format!("approved-by-{}", approvers.join("-")), message: String::new() }];
        Ok(Verdict { findings, ..verdict(Decision::Allow) })
    }
}

fn of_session(s: &Session) -> String {
    format!(
        "session {} {} {} {:?} {} {:?} {:?} {} {} {:?}",
        s.id(),
        s.protocol(),
        s.principal(),
        s.groups(),
        s.target(),
        s.label("env"),
        s.label("none"),
        s.client_address(),
        s.credential(),
        s.reason(),
    )
}

fn of_command(c: &Command) -> String {
    let phase = match c.phase() {
        Phase::Prepare => "prepare",
        Phase::Execute => "execute",
    };
    let parameter = |value: Option<Vec<u8>>| value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let parameters: Vec<_> = c.parameters().into_iter().map(|p| (parameter(p.value), p.binary)).collect();
    format!("command {} {phase} {} {parameters:?}", c.kind(), !c.fingerprint().is_empty())
}

fn of_statements(statements: &[SqlStatement]) -> String {
    let told = statements.iter().map(|s| {
        let relations: Vec<_> =
            s.relations().into_iter().map(|r| format!("{}.{} {:#b}", r.schema, r.name, r.effects.bits())).collect();
        let columns: Vec<_> =
            s.columns_read().into_iter().map(|c| format!("{}.{}.{}", c.schema, c.relation, c.name)).collect();
        format!(
            "{} {} {:#b} {relations:?} {columns:?} {:?} {}",
            s.dialect(),
            s.verb(),
            s.effects().bits(),
            s.functions(),
            s.has_where(),
        )
    });
    told.collect::<Vec<_>>().join(" and ")
}

fn of_host() -> String {
    for level in [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error] {
        log::write(level, "a line");
    }
    let clock = clock::now_ms() > 1_700_000_000_000;
    let random = random::bytes(8).len();
    let put = state::put("key", b"value", 60);
    let got = state::get("key").map(|value| value == b"value");
    let sums = (state::increment("counter", 2, 60), state::increment("counter", -5, 60), state::get("none"));
    let hash = crypto::hmac_each(&[1, 3], b"abc", 2);
    let data = b"none ann@example.com";
    let hits: Vec<_> = detect::scan(&["card".into(), "email".into()], &[4, data.len() as u32], data)
        .into_iter()
        .map(|hit| (hit.value, hit.start, hit.len, hit.detector, hit.score))
        .collect();
    format!("host {clock} {random} {put:?} {got:?} {sums:?} {hash:?} {:?} {hits:?}", detect::names())
}

impl Rows for Policy {
    fn plan_result(_: &Session, command: &Command, result: &ResultSet) -> Result<Plan, Error> {
        let mask = |name: &str, parameters: &[(&str, &str)]| {
            let parameters = parameters.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            Action::Mask(Mask { name: name.into(), parameters })
        };
        let action = |name: &str| match name {
            "constant" => mask("constant", &[("value", "gone")]),
            "year" => mask("date-to-year", &[]),
            "email" => mask("email", &[]),
            "hash" => mask("hash", &[]),
            "last" => mask("keep-last", &[("count", "4")]),
            "null" => mask("null", &[]),
            "redact" => mask("redact", &[]),
            "spans" | "patch" | "drop" | "abort" => Action::Inspect,
            "deny" => Action::Deny("this column is not shown".into()),
            _ => Action::Keep,
        };
        let columns = result.columns();
        let rules =
            columns.iter().enumerate().map(|(i, c)| Rule { column: i as u32, action: action(&c.name) }).collect();
        let max_rows = command.text(1000).contains("few").then_some(2);
        log::write(Level::Info, &format!("{} {:?}", result.id(), columns));
        Ok(Plan { rules, max_rows })
    }

    fn filter_batch(
        _: &Session,
        _: &Command,
        result: &ResultSet,
        row_count: u32,
        chunks: Vec<Chunk>,
    ) -> Result<BatchResult, Error> {
        let columns = result.columns();
        let mut answer = BatchResult { edits: vec![], drop_rows: vec![], abort: None };
        for chunk in &chunks {
            let present: Vec<u32> =
                (0..row_count).filter(|row| chunk.nulls[*row as usize / 8] >> (row % 8) & 1 == 0).collect();
            answer.edits.push(match columns[chunk.column as usize].name.as_str() {
                "spans" => Edit::Spans(Spans {
                    starts: vec![0; present.len()],
                    lens: vec![2; present.len()],
                    rows: present,
                    fill: b'#',
                }),
                "patch" => {
                    let ends = (1..=present.len() as u32).map(|n| n * 3).collect();
                    let data = b"new".repeat(present.len());
                    Edit::Patch(Patch { nulls: vec![0; present.len().div_ceil(8)], ends, data, rows: present })
                }
                "drop" => {
                    answer.drop_rows.extend(present);
                    Edit::Keep
                }
                _ => {
                    answer.abort = Some("enough of this".into());
                    Edit::Keep
                }
            });
        }
        Ok(answer)
    }
}

export!(Policy);
