//! What goes wrong when the policy is asked about sessions and commands.

use std::cell::{Cell, RefCell};

use crate::exports::portcullis::policy::commands::{Command, Error, Guest, Session, Verdict};
use crate::portcullis::policy::facts::SqlStatement;
use crate::portcullis::policy::types::{Approval, Decision, Finding, Reuse};
use crate::portcullis::policy::{clock, crypto, detect, log, random, state};
use crate::{Policy, behaviour, error, misbehave};

thread_local! {
    static ASKED: Cell<u32> = const { Cell::new(0) };
    static KEPT: RefCell<Vec<SqlStatement>> = const { RefCell::new(Vec::new()) };
}

fn verdict(decision: Decision) -> Verdict {
    Verdict { decision, message: None, rewrite: None, approval: None, findings: vec![] }
}

fn allow() -> Verdict {
    verdict(Decision::Allow)
}

fn deny(message: impl Into<String>) -> Verdict {
    Verdict { message: Some(message.into()), ..verdict(Decision::Deny) }
}

fn rewrite(text: impl Into<String>) -> Verdict {
    Verdict { rewrite: Some(text.into()), ..allow() }
}

fn terms() -> Approval {
    Approval { any_of: vec!["dba".into()], quorum: 1, ttl_seconds: 60, reuse: Reuse::Once, reason: "told to".into() }
}

fn review(approval: Approval) -> Verdict {
    Verdict { approval: Some(approval), ..verdict(Decision::Review) }
}

impl Guest for Policy {
    fn open(s: &Session) -> Result<Verdict, Error> {
        misbehave("open")?;
        Ok(match behaviour().as_str() {
            "open-deny" => deny(format!("{} may not open {}", s.principal(), s.target())),
            "open-review" => review(terms()),
            "open-rewrite" => rewrite("select 1"),
            _ => allow(),
        })
    }

    fn check(s: &Session, c: &Command) -> Result<Verdict, Error> {
        misbehave("check")?;
        let asked = ASKED.get() + 1;
        ASKED.set(asked);
        let behaviour = behaviour();
        if let Some(answer) = bad_answer(&behaviour) {
            return Ok(answer);
        }
        Ok(match behaviour.as_str() {
            "allow" => allow(),
            "deny" => deny("as told"),
            "deny-silently" => verdict(Decision::Deny),
            "deny-drop" if c.sql().iter().any(|s| s.verb().starts_with("DROP")) => deny("no DROP"),
            "deny-text-2" if c.text(100).contains('2') => deny("a 2"),
            "error" => return Err(error("cannot say")),
            "review" | "approved-again" | "approved-rewrite" | "approved-deny" => review(terms()),
            "rewrite" => rewrite("select 2"),
            "count" => deny(format!("asked {asked} times")),
            other if other.starts_with("count-") => {
                look(&other["count-".len()..], s, c);
                deny(format!("asked {asked} times"))
            }
            "trap-second" if asked == 2 => std::process::abort(),
            "trap-second" => deny(format!("asked {asked} times")),
            "trap-thrice" if state::increment("asked", 1, 3600).is_ok_and(|n| n <= 3) => std::process::abort(),
            "facts" => deny(facts(s, c)),
            "text-5" => deny(c.text(5)),
            "fingerprint" => deny(c.fingerprint()),
            "sql-then-trap" => {
                c.sql();
                std::process::abort()
            }
            "parsed" => deny(format!("parsed {}", c.parsed())),
            _ => return capability(&behaviour, c),
        })
    }

    fn approved(_: &Session, c: &Command, approvers: Vec<String>) -> Result<Verdict, Error> {
        misbehave("approved")?;
        Ok(match behaviour().as_str() {
            "approved-again" => review(terms()),
            "approved-rewrite" => rewrite(format!("{} -- more", c.text(1000))),
            "approved-deny" => deny(format!("not even with {}", approvers.join(" and "))),
            _ => allow(),
        })
    }
}

fn bad_answer(behaviour: &str) -> Option<Verdict> {
    let with = |change: fn(&mut Approval)| {
        let mut terms = terms();
        change(&mut terms);
        Some(review(terms))
    };
    let finding = |rule: usize, message: usize| Finding { rule: "r".repeat(rule), message: "m".repeat(message) };
    let finds = |findings| Some(Verdict { findings, ..allow() });
    match behaviour {
        "huge-answer" => Some(deny("x".repeat(2 << 20))),
        "long-message" => Some(deny("x".repeat(1025))),
        "nul-message" => Some(deny("a\0b")),
        "nul-rewrite" => Some(rewrite("select\0 1")),
        "rewrite-with-deny" => Some(Verdict { rewrite: Some("select 1".into()), ..deny("no") }),
        "review-without-approval" => Some(verdict(Decision::Review)),
        "allow-with-approval" => Some(Verdict { approval: Some(terms()), ..allow() }),
        "review-with-rewrite" => Some(Verdict { rewrite: Some("select 1".into()), ..review(terms()) }),
        "no-groups" => with(|t| t.any_of.clear()),
        "many-groups" => with(|t| t.any_of = vec!["g".into(); 33]),
        "quorum-0" => with(|t| t.quorum = 0),
        "quorum-17" => with(|t| t.quorum = 17),
        "ttl-0" => with(|t| t.ttl_seconds = 0),
        "ttl-long" => with(|t| t.ttl_seconds = 604_801),
        "long-reason" => with(|t| t.reason = "r".repeat(1025)),
        "nul-group" => with(|t| t.any_of = vec!["d\0ba".into()]),
        "many-findings" => finds(vec![finding(1, 1); 33]),
        "long-rule" => finds(vec![finding(129, 1)]),
        "long-finding" => finds(vec![finding(1, 1025)]),
        _ => None,
    }
}

/// Reads one thing, or does one.
fn look(at: &str, s: &Session, c: &Command) {
    match at {
        "session" => drop((s.id(), s.groups(), s.reason())),
        "facts" => drop((c.kind(), c.phase(), c.parsed(), c.fingerprint(), c.sql().iter().map(SqlStatement::verb).count())),
        "crypto" => drop(crypto::hmac_each(&[1], b"a", 8)),
        "text" => drop(c.text(1)),
        "parameters" => drop(c.parameters()),
        "conditions" => drop(c.conditions()),
        "clock" => _ = clock::now_ms(),
        "random" => drop(random::bytes(1)),
        "state" => drop(state::get("n")),
        "log" => log::write(log::Level::Debug, "asked"),
        _ => std::process::abort(),
    }
}

fn capability(behaviour: &str, c: &Command) -> Result<Verdict, Error> {
    Ok(match behaviour {
        "log" => {
            log::write(log::Level::Warn, &format!("line\nbreak \u{1b}[31m{}", "x".repeat(5000)));
            allow()
        }
        "log-flood" => {
            (0..1000).for_each(|i| log::write(log::Level::Info, &format!("line {i}")));
            allow()
        }
        "handle-flood" => loop {
            KEPT.with_borrow_mut(|kept| kept.extend(c.sql()));
        },
        "handle-churn" => {
            (0..20_000).for_each(|_| drop(c.sql()));
            allow()
        }
        "handle-stale" => KEPT.with_borrow_mut(|kept| {
            let message = kept.first().map(SqlStatement::verb).unwrap_or_default();
            kept.extend(c.sql());
            deny(message)
        }),
        "clock" => deny(format!("{}", clock::now_ms() > 1_600_000_000_000)),
        "random" => deny(format!("{} {}", random::bytes(4096).len(), random::bytes(16) != random::bytes(16))),
        "random-huge" => deny(format!("{}", random::bytes(4097).len())),
        "inputs" => deny(inputs()),
        "inputs-and-trap" => {
            inputs();
            std::process::abort()
        }
        "inputs-flood" => deny(format!("{}", (0..300).map(|_| random::bytes(1024).len()).sum::<usize>())),
        "state-count" => deny(format!("{:?}", state::increment("n", 1, 60))),
        "state-peek" => deny(format!("{:?}", state::get("n"))),
        "state-bounds" => deny(state_bounds()),
        "state-fill" => deny(format!("{:?}", (0..100).find_map(|i| state::put(&format!("{i}"), b"v", 60).err()))),
        "crypto" => deny(format!("{:?}", crypto::hmac_each(&[1, 1, 4], b"abcd", 32))),
        "crypto-short" => deny(format!("{:?}", crypto::hmac_each(&[1, 1, 4], b"abcd", 5))),
        "crypto-none" => deny(format!("{:?}", crypto::hmac_each(&[1], b"a", 0))),
        "crypto-long" => deny(format!("{:?}", crypto::hmac_each(&[1], b"a", 33))),
        "crypto-bad-ends" => deny(format!("{:?}", crypto::hmac_each(&[9], b"abc", 16))),
        "detect" => {
            let hits = detect::scan(&["email".into(), "card".into()], &[11, 30], b"me@acme.com4111 1111 1111 1111");
            deny(hits.iter().map(|h| format!("{}:{}+{}={}", h.value, h.start, h.len, h.detector)).collect::<String>())
        }
        "detect-bad-ends" => deny(format!("{}", detect::scan(&["email".into()], &[5, 2], b"12345").len())),
        "detect-unknown" => deny(format!("{}", detect::scan(&["dna".into()], &[], b"").len())),
        _ => allow(),
    })
}

/// One of everything that capabilities give.
fn inputs() -> String {
    let (clock, random) = (clock::now_ms(), random::bytes(4));
    let (none, counted) = (state::get("none"), state::increment("n", 1, 60));
    let (put, got) = (state::put("k", &random, 60), state::get("k"));
    format!("{clock} {random:?} {none:?} {counted:?} {put:?} {got:?} {:?}", state::increment("k", 1, 60))
}

fn state_bounds() -> String {
    let long = "k".repeat(257);
    let results = [
        state::put(&long, b"v", 60).is_err(),
        state::put("k", &vec![0; 65_537], 60).is_err(),
        state::put("k", b"v", 604_801).is_err(),
        state::put("k", b"v", 60).is_ok(),
        state::increment("k", 1, 60).is_err(),
        state::get("k").as_deref() == Some(b"v"),
        state::get("none").is_none(),
        state::increment("max", i64::MAX, 60).is_ok(),
        state::increment("max", 1, 60).is_err(),
    ];
    format!("{}", results.iter().all(|r| *r))
}

fn facts(s: &Session, c: &Command) -> String {
    let mut out = format!(
        "{} {} {} {:?} {} {:?} {} {} {:?}|{} {:?} {} {}|",
        s.id(),
        s.protocol(),
        s.principal(),
        s.groups(),
        s.target(),
        s.label("env"),
        s.client_address(),
        s.credential(),
        s.reason(),
        c.kind(),
        c.phase(),
        c.text(1000),
        c.fingerprint(),
    );
    for s in c.sql() {
        out += &format!("{} {} {:?} {}", s.dialect(), s.verb(), s.functions(), s.has_where());
        out += &s.relations().iter().map(|r| format!(" {}.{}", r.schema, r.name)).collect::<String>();
        out += &s.columns_read().iter().map(|r| format!(" {}.{}", r.relation, r.name)).collect::<String>();
        out += &format!(" {:?}", s.effects());
    }
    out += &c.parameters().iter().map(|p| format!("|{:?} {}", p.value, p.binary)).collect::<String>();
    out
}
