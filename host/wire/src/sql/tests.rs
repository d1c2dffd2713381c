use proptest::prelude::*;

use super::*;

/// A statement in one line: its verb (with `!` when a WHERE is missing), effects, relations, columns and functions.
fn line(statement: &Statement) -> String {
    let dotted = |parts: &[&str]| parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(".");
    let relation = |r: &Relation| format!("{}:{}", dotted(&[&r.schema, &r.name]), letters(r.effects));
    let column = |c: &ColumnRef| match c.relation.as_str() {
        "" => format!("?.{}", c.name),
        relation => dotted(&[&c.schema, relation, &c.name]),
    };
    let parts = [
        format!("{}{}", statement.verb, if statement.has_where { "" } else { "!" }),
        letters(statement.effects),
        statement.relations.iter().map(relation).collect::<Vec<_>>().join(" "),
        statement.columns_read.iter().map(column).collect::<Vec<_>>().join(" "),
        statement.functions.join(" "),
    ];
    parts.map(|part| if part.is_empty() { "-".into() } else { part }).join(" | ")
}

/// Read, Write, Ddl, Privilege, Session, Transaction, copy In, copy Out, File, X for opaque.
fn letters(effects: Effects) -> String {
    "rwdpstiofx"
        .chars()
        .enumerate()
        .filter(|(bit, _)| effects.bits() >> bit & 1 == 1)
        .map(|(_, letter)| letter)
        .collect()
}

fn facts(text: &str) -> Facts {
    read(text, Lexing::default()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Each line of a table is a text and, after `=>`, the lines of its statements with `;;` between them.
fn check(table: &str) {
    for row in table.lines().map(str::trim).filter(|row| !row.is_empty()) {
        let (text, expected) = row.split_once(" => ").unwrap_or_else(|| panic!("a row without `=>`: {row}"));
        let found: Vec<_> = facts(text.trim()).statements.iter().map(line).collect();
        assert_eq!(found.join(" ;; "), expected.trim(), "{text}");
    }
}

#[test]
fn statements_do_what_the_table_says() {
    check(include_str!("tests/data.txt"));
    check(include_str!("tests/session.txt"));
    check(include_str!("tests/definitions.txt"));
}

/// Whatever stands at an expression's place is seen: no part of any statement is skipped.
#[test]
fn a_query_is_seen_wherever_an_expression_may_stand() {
    for template in include_str!("tests/places.txt").lines().filter(|template| !template.is_empty()) {
        assert!(template.contains('#'), "{template}");
        let text = template.replace('#', "(SELECT leak(secret) FROM hidden)");
        let all = facts(&text).statements;
        let seen = all.iter().any(|s| {
            s.functions.contains(&"leak".into())
                && s.relations.iter().any(|r| r.name == "hidden" && r.effects.contains(Effects::READ))
                && s.columns_read.iter().any(|c| c.name == "secret")
        });
        assert!(seen, "{text}: {}", all.iter().map(line).collect::<Vec<_>>().join(" ;; "));
        assert!(
            all.iter().all(|s| !s.effects.contains(Effects::OPAQUE) || s.verb == "CALL" || s.verb == "EXECUTE"),
            "{text}"
        );
    }
}

/// The columns of a result, each with what it derives from, then the conditions. `~` marks a name that may be no column.
fn lineage(text: &str) -> String {
    let statement = facts(text).statements.remove(0);
    let Some(lineage) = &statement.lineage else { return "too much".into() };
    let named = |index: &u32| {
        let named = &lineage.columns[*index as usize];
        let place = if named.relation.is_empty() { "?" } else { &named.relation };
        format!("{}{place}.{}", if named.certain { "" } else { "~" }, named.name)
    };
    let show = |output: &Output| match output {
        Output::Anything => "anything".to_owned(),
        Output::All(relation) => format!("{}:all", statement.relations[*relation as usize].name),
        Output::Value { columns, functions, others } => {
            let functions = functions.iter().map(|index| format!("{}()", statement.functions[*index as usize]));
            // The common operators are left out here.
            let others = others.iter().filter_map(|index| match &lineage.others[*index as usize] {
                Other::Operator(name) if ["=", "||", "+", "~~", "<>"].contains(&name.as_str()) => None,
                Other::Operator(name) => Some(name.clone()),
                Other::Type(name) => Some(format!("::{name}")),
            });
            let all: Vec<_> = columns.iter().map(named).chain(functions).chain(others).collect();
            if all.is_empty() { "nothing".into() } else { all.join(" ") }
        }
    };
    let arm = |arm: &Vec<Output>| arm.iter().map(show).collect::<Vec<_>>().join(", ");
    let outputs = lineage.outputs.iter().map(arm).collect::<Vec<_>>().join(" / ");
    let outputs = if outputs.is_empty() { "unknown" } else { &outputs };
    format!("{outputs} | {}", show(&lineage.conditions))
}

#[test]
fn columns_of_a_result_derive_from_what_the_table_says() {
    for row in include_str!("tests/lineage.txt").lines().map(str::trim).filter(|row| !row.is_empty()) {
        let (text, expected) = row.split_once(" => ").unwrap_or_else(|| panic!("a row without `=>`: {row}"));
        assert_eq!(lineage(text.trim()), expected.trim(), "{text}");
    }
}

#[test]
fn texts_without_statements_have_no_facts_but_are_read() {
    for text in ["", " \n", ";", ";;", "-- nothing", "/* nothing /* nested */ */", "--x\r;"] {
        assert_eq!(facts(text).statements, [], "{text:?}");
    }
}

#[test]
fn an_unreadable_text_is_not_quoted() {
    let texts = [
        "SELECT 'secret' FRM t",
        "SELECT 'secret",
        "SELECT \"secret",
        "/* secret",
        "SELECT 1secret",
        "secret",
        "SELECT U&'\\secret'",
        "SELECT $secret$ x",
        "DR/**/OP TABLE secret",
    ];
    for text in texts {
        let error = read(text, Lexing::default()).expect_err(text).to_string();
        assert!(!error.contains("secret") && !error.is_empty(), "{error}");
    }
    assert!(read("SELECT '\0'", Lexing::default()).is_err());
}

#[test]
fn strings_end_where_the_session_says() {
    let off = Lexing { standard_conforming_strings: false, ..Lexing::default() };
    let text = r"SELECT '\'; DROP TABLE t; --'";
    assert_eq!(facts(text).statements.len(), 2);
    assert_eq!(read(text, off).unwrap().statements.len(), 1);
    assert!(read(r"SELECT E'\''", Lexing { backslash_quote: false, ..Lexing::default() }).is_err());
}

#[test]
fn fingerprints_fold_literals_and_nothing_else() {
    let print = |text: &str| facts(text).fingerprint;
    assert_eq!(print("SELECT a FROM t WHERE b = 'x'"), print("select  a from T /* c */ where b='y' -- d"));
    for (one, other) in [
        ("SELECT a FROM t_2024_01", "SELECT a FROM t_2024_02"),
        ("SELECT x.a FROM t AS x", "SELECT x.a FROM u AS x"),
        ("SELECT a FROM r.t", "SELECT a FROM s.t"),
        ("SELECT a FROM t", "SELECT a FROM t; DROP TABLE t"),
    ] {
        assert_ne!(print(one), print(other), "{one}");
    }
}

#[test]
fn names_are_folded_and_cut_as_the_server_does() {
    let long = "A".repeat(70);
    let statement = facts(&format!("SELECT * FROM {long}")).statements.remove(0);
    assert_eq!(statement.relations[0].name, "a".repeat(63));
}

/// Tests run on the 2 MiB stack of a thread, as sessions do.
#[test]
fn deep_nesting_is_an_error_and_not_a_crash() {
    let nest = |open: &str, middle: &str, close: &str, times| open.repeat(times) + middle + &close.repeat(times);
    for times in [100, 1_000, 20_000] {
        let texts = [
            nest("SELECT (", "SELECT 1", ")", times),
            "SELECT ".to_owned() + &nest("f(", "1", ")", times),
            "SELECT ".to_owned() + &nest("NOT ", "true", "", times),
            "SELECT ".to_owned() + &nest("- ", "x", "", times),
            "SELECT 1".to_owned() + &" + 1".repeat(times),
            "SELECT * FROM ".to_owned() + &nest("(SELECT * FROM ", "t", ") x", times),
            "SELECT ".to_owned() + &nest("CASE WHEN a THEN ", "1", " END", times),
            "SELECT ".to_owned() + &nest("ARRAY[", "1", "]", times),
            "SELECT 1".to_owned() + &" UNION SELECT 1".repeat(times),
            "SELECT * FROM t".to_owned() + &" JOIN t ON true".repeat(times),
            nest("EXPLAIN ANALYZE ", "SELECT 1", "", times),
        ];
        for text in texts {
            assert!(read(&text, Lexing::default()).is_err(), "{times}: {}", &text[..40]);
        }
    }
    // What the grammar flattens may be long.
    assert_eq!(facts(&("SELECT a".to_owned() + &" OR a".repeat(5_000))).statements.len(), 1);
    assert_eq!(facts(&"SELECT 1;".repeat(5_000)).statements.len(), 5_000);
}

#[test]
fn runs_of_operators_that_take_long_are_refused_and_rulers_read() {
    for run in ["/*", "/**/", "+-", "-+", "*/", "/*-*/-"] {
        let error = read(&("SELECT 1 ".to_owned() + &run.repeat(10_000)), Lexing::default()).unwrap_err();
        assert!(error.to_string().contains("operator characters"), "{run}: {error}");
    }
    let ruler = format!("/{0}/ SELECT 1; --{1}\n SELECT '{1}';", "*".repeat(120), "-".repeat(120));
    assert_eq!(facts(&ruler.repeat(1000)).statements.len(), 2000);
}

#[test]
fn long_texts_are_refused_and_large_ones_read() {
    assert!(read(&" ".repeat(MAX_TEXT + 1), Lexing::default()).is_err());
    let numbers = |count| "SELECT 1".to_owned() + &",1".repeat(count);
    assert!(read(&numbers(MAX_TOKENS), Lexing::default()).is_err());
    let off = Lexing { standard_conforming_strings: false, ..Lexing::default() };
    assert!(read(&format!("SELECT '{}'", "x".repeat(MAX_TOKENS)), off).is_err());
    assert!(read(&format!("SELECT '{}'", "x".repeat(MAX_TEXT - 10)), Lexing::default()).is_ok());
    assert!(read(&numbers(10_000), Lexing::default()).is_ok());
    let tables: Vec<_> = (0..20_000).map(|i| format!("t{i}")).collect();
    let statement =
        facts(&format!("SELECT {} FROM {}", ["*"; 20_000].join(","), tables.join(","))).statements.remove(0);
    assert_eq!((statement.relations.len(), statement.columns_read.len()), (20_000, 20_000));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = read(&text, Lexing::default());
    }

    #[test]
    fn no_words_make_it_panic(words in proptest::collection::vec(proptest::sample::select(WORDS), 0..24)) {
        let _ = read(&words.join(" "), Lexing::default());
    }
}

const WORDS: &[&str] = &[
    "SELECT",
    "*",
    "t",
    "t.*",
    "FROM",
    "WHERE",
    "(",
    ")",
    ",",
    "JOIN",
    "NATURAL",
    "USING",
    "ON",
    "AS",
    "x",
    "1",
    "=",
    "DELETE",
    "UPDATE",
    "SET",
    "INSERT",
    "INTO",
    "VALUES",
    "WITH",
    "RECURSIVE",
    "UNION",
    "ALL",
    "RETURNING",
    "EXPLAIN",
    "ANALYZE",
    "COPY",
    "TO",
    "STDOUT",
    "CREATE",
    "TABLE",
    "VIEW",
    "DROP",
    "ALTER",
    "GRANT",
    "$1",
    "'s'",
    "f(",
    "LATERAL",
    "ORDER",
    "BY",
    "FOR",
    "OLD",
    "NEW",
    ";",
    ".",
];
