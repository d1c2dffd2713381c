//! What a reading says of the columns of results.

use super::*;
use crate::read_statement;

const USERS: u32 = 1;
const ARCHIVED: u32 = 2;
const CONTACTS: u32 = 3;
const LISTED: u32 = 4;
const CLOCK: u32 = 5;
const LOOP: u32 = 6;

/// Two tables of the same name, a view of one of them, a view of that view, and damaged ones.
fn reading() -> Reading {
    let relation = |schema: &str, name: &str, columns: &[&str], sources: &[(u32, i16)]| Relation {
        schema: schema.into(),
        name: name.into(),
        columns: (1..).zip(columns.iter().map(|c| (*c).to_owned())).collect(),
        sources: sources.to_vec(),
        ..Relation::default()
    };
    let relations = HashMap::from([
        (USERS, relation("public", "users", &["id", "email"], &[])),
        (ARCHIVED, relation("archive", "users", &["id", "email"], &[])),
        (CONTACTS, relation("public", "contacts", &["address"], &[(USERS, 2)])),
        (LISTED, relation("public", "listed", &["who"], &[(CONTACTS, 1), (USERS, 1)])),
        (CLOCK, relation("public", "clock", &["hour"], &[(99, 1)])),
        (LOOP, relation("public", "loop", &["x"], &[(LOOP, 1)])),
    ]);
    let mut by_name: HashMap<String, Vec<u32>> = HashMap::new();
    for (oid, relation) in &relations {
        by_name.entry(relation.name.clone()).or_default().push(*oid);
    }
    Reading { relations, by_name, types: HashMap::from([(16_400, "mood".into())]), ..Reading::default() }
}

fn labels() -> Vec<(String, Vec<String>)> {
    let label = |pattern: &str, labels: &[&str]| (pattern.into(), labels.iter().map(|l| (*l).into()).collect());
    vec![
        label("public.users.email", &["pii", "contact"]),
        label("*.users.email", &["pii"]),
        label("public.*.id", &["key"]),
        label("public.contacts", &["malformed"]),
    ]
}

fn field(table: u32, attribute: i16) -> Field {
    Field { name: "shown".into(), table, attribute, type_oid: 25, type_modifier: -1, binary: false }
}

/// One column in short: its origins, whether it is computed, and its labels.
fn show(column: &Column) -> String {
    let origins: Vec<String> =
        column.origins.iter().map(|o| format!("{}.{}.{}", o.schema, o.relation, o.name)).collect();
    let computed = if column.computed { " computed" } else { "" };
    format!("{}{computed} [{}]", origins.join(" "), column.labels.join(" "))
}

fn one(field: Field, text: &str) -> String {
    show(&reading().columns(&[field], &read_statement(text), &labels())[0])
}

#[test]
fn columns_of_relations_have_the_origins_of_the_catalogue() {
    for (table, attribute, expected) in [
        (USERS, 2, "public.users.email [contact pii]"),
        (USERS, 1, "public.users.id [key]"),
        (ARCHIVED, 2, "archive.users.email [pii]"),
        (CONTACTS, 1, "public.contacts.address public.users.email computed [contact pii]"),
        (
            LISTED,
            1,
            "public.contacts.address public.listed.who public.users.email public.users.id computed [contact key pii]",
        ),
        (USERS, 0, "public.users.email public.users.id computed [contact key pii]"),
        // Unknown: a relation, a column, a source, and a view of itself.
        (99, 1, " computed []"),
        (USERS, 7, " computed []"),
        (CLOCK, 1, " computed []"),
        (LOOP, 1, " computed []"),
    ] {
        // The text has no say here: a client is free to name other columns in it.
        assert_eq!(one(field(table, attribute), "select 1"), expected, "{table} {attribute}");
    }
}

#[test]
fn expressions_derive_from_the_columns_that_the_text_names() {
    for (text, expected) in [
        ("select upper(email) from users", "archive.users.email public.users.email computed [contact pii]"),
        ("select upper(email) from public.users", "public.users.email computed [contact pii]"),
        ("select upper(email) from archive.users where id = 1", "archive.users.email archive.users.id computed [pii]"),
        ("select u::text from archive.users u", "archive.users.email archive.users.id computed [pii]"),
        ("select max(address) from contacts", "public.contacts.address public.users.email computed [contact pii]"),
        ("select now()", " []"),
        ("begin; select now(); commit", " []"),
        ("begin; select upper(email) from public.users; commit", "public.users.email computed [contact pii]"),
        ("begin; fetch c; commit", " computed []"),
        ("select count(*) from users", " []"),
        ("select max(hour) from clock", " computed []"),
        // Unknown: a relation, a text that cannot be read, and one that runs another.
        ("select upper(email) from nowhere", " computed []"),
        ("select upper(email) from secret.users", " computed []"),
        ("select upper(email) frm users", " computed []"),
        ("do $$ begin end $$", " computed []"),
    ] {
        assert_eq!(one(field(0, 0), text), expected, "{text}");
    }
}

#[test]
fn names_and_types_are_those_of_the_result() {
    let shape = [25, 16_400, 16_401].map(|type_oid| Field { type_oid, ..field(USERS, 1) });
    let columns = reading().columns(&shape, &read_statement("select 1"), &[]);
    let types: Vec<&str> = columns.iter().map(|c| c.type_name.as_str()).collect();
    assert_eq!(types, ["text", "mood", "oid 16401"]);
    assert!(columns.iter().all(|c| c.name == "shown" && c.labels.is_empty()));
}

#[test]
fn what_a_copy_carries_are_columns_of_their_own() {
    let carried = |text: &str| -> Vec<String> {
        reading().carried_columns(&read_statement(text), &labels(), false).iter().map(show).collect()
    };
    assert_eq!(carried("copy public.users (email) to stdout"), ["public.users.email [contact pii]"]);
    assert_eq!(carried("copy public.users to stdout"), ["public.users.email [contact pii]", "public.users.id [key]"]);
    assert_eq!(
        carried("copy (select address from contacts) to stdout"),
        ["public.contacts.address []", "public.users.email [contact pii]"]
    );
    assert_eq!(carried("copy nowhere to stdout"), [" computed []"]);
}
