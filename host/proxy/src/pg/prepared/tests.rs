//! What EXECUTE is taken for after a history of commands.

use super::*;
use crate::read_statement;

fn effects_after(history: &[&str], text: &str) -> Effects {
    let mut prepared = Prepared::default();
    history.iter().for_each(|text| prepared.sent(&read_statement(text)));
    prepared.follow(read_statement(text)).effects()
}

#[test]
fn what_runs_is_judged_by_what_was_prepared() {
    let (read, write) = (Effects::READ, Effects::READ | Effects::WRITE);
    for (history, text, expected) in [
        (&["prepare p as select a from t"][..], "execute p", read),
        (&["prepare p as select a from t"], "execute p(1)", read),
        (&["prepare p as select a from t"], "create table u as execute p", read | Effects::DDL | Effects::WRITE),
        (&["prepare p as select a from t"], "explain analyze execute p", read),
        (&["prepare p as delete from t where a = 1"], "execute P", Effects::WRITE),
        (
            &["prepare p as select 1", "deallocate p", "prepare p as delete from t where a = 1"],
            "execute p",
            Effects::WRITE,
        ),
        (
            &["prepare p as select 1 from t", "deallocate p", "prepare p as delete from t where a = 1"],
            "execute p",
            write,
        ),
        (&["prepare p as select 1"], "execute p((select dblink('x')))", Effects::OPAQUE),
        (&["prepare p as select dblink('x')"], "execute p", Effects::OPAQUE),
        (&[], "execute p", Effects::OPAQUE),
        (&["prepare p as select 1"], "execute q", Effects::OPAQUE),
        (&["prepare \"P\" as select 1"], "execute p", Effects::OPAQUE),
    ] {
        assert_eq!(effects_after(history, text), expected, "{history:?}; {text}");
    }
}

#[test]
fn relations_and_missing_conditions_are_those_of_what_runs() {
    let mut prepared = Prepared::default();
    prepared.sent(&read_statement("prepare p as delete from s.t"));
    let followed = prepared.follow(read_statement("execute p"));
    let statement = &followed.facts.sql.as_ref().unwrap()[0];
    assert_eq!((statement.verb.as_str(), statement.has_where), ("EXECUTE", false));
    assert_eq!((statement.relations[0].schema.as_str(), statement.relations[0].name.as_str()), ("s", "t"));
}

#[test]
fn a_name_of_the_protocols_or_of_too_many_is_anybodys() {
    let mut prepared = Prepared::default();
    prepared.sent(&read_statement("prepare p as select a from t"));
    prepared.sent_by_protocol(b"q");
    assert_eq!(prepared.follow(read_statement("execute p")).effects(), Effects::READ);
    prepared.sent_by_protocol(b"p");
    assert_eq!(prepared.follow(read_statement("execute p")).effects(), Effects::OPAQUE);
    for i in 0..=MOST_OF_ONE {
        prepared.sent(&read_statement(&format!("prepare r as select a{i} from t")));
    }
    assert_eq!(prepared.follow(read_statement("execute r")).effects(), Effects::OPAQUE);
    for i in 0..MOST {
        prepared.sent(&read_statement(&format!("prepare n{i} as select 1")));
    }
    assert_eq!(prepared.follow(read_statement(&format!("execute n{}", MOST - 1))).effects(), Effects::OPAQUE);
}
