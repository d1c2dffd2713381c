//! What a reading says of the columns of results.

use portcullis_verdict::{Column, Origins as _};

use super::*;
use crate::read_statement;

const USERS: u32 = 1;
const ARCHIVED: u32 = 2;
const CONTACTS: u32 = 3;
const LISTED: u32 = 4;
const CLOCK: u32 = 5;
const LOOP: u32 = 6;
const BOTH: u32 = 7;
const YEAR: u32 = 8;
const LEAF: u32 = 9;

/// Two tables of the same name, a view of one of them, a view of that view, damaged ones, one with its definition, and a table with
/// partitions on two levels.
fn reading() -> Reading {
    let view = |sources: &[(u32, i16)]| View { sources: sources.to_vec(), ..View::default() };
    let relation = |schema: &str, name: &str, columns: &[&str], sources: &[(u32, i16)]| Relation {
        schema: schema.into(),
        name: name.into(),
        columns: (1..).zip(columns.iter().map(|c| (*c).to_owned())).collect(),
        view: (!sources.is_empty()).then(|| view(sources)),
        ..Relation::default()
    };
    let definition = "select u.id, upper(u.email) as shout, c.address from public.users u, public.contacts c";
    let defined = View { definition: Some(definition.into()), ..view(&[(USERS, 1), (USERS, 2), (CONTACTS, 1)]) };
    let part =
        |name: &str, parent: u32| Relation { parents: vec![parent], ..relation("public", name, &["id", "iban"], &[]) };
    let relations = HashMap::from([
        (USERS, relation("public", "users", &["id", "email"], &[])),
        (ARCHIVED, relation("archive", "users", &["id", "email"], &[])),
        (CONTACTS, relation("public", "contacts", &["address"], &[(USERS, 2)])),
        (LISTED, relation("public", "listed", &["who"], &[(CONTACTS, 1), (USERS, 1)])),
        (CLOCK, relation("public", "clock", &["hour"], &[(99, 1)])),
        (LOOP, relation("public", "loop", &["x"], &[(LOOP, 1)])),
        (BOTH, Relation { view: Some(defined), ..relation("public", "listing", &["id", "shout", "address"], &[]) }),
        (10, relation("public", "sales", &["id", "iban"], &[])),
        (11, Relation { generated: vec![(2, 1)], ..relation("public", "cards", &["number", "last4"], &[]) }),
        (YEAR, part("sales_2026", 10)),
        (LEAF, part("sales_2026_11", YEAR)),
    ]);
    let mut by_name: HashMap<String, Vec<u32>> = HashMap::new();
    for (oid, relation) in &relations {
        by_name.entry(relation.name.clone()).or_default().push(*oid);
    }
    let mut types = Types::default();
    types.add(&["16400", "mood", "e", "0", "0", "-1", "0"].map(|value| Some(value.to_owned())));
    let mut reading =
        Reading { relations, by_name, types, functions: HashSet::from(["leak".into()]), ..Reading::default() };
    reading.tell_parents(&labels());
    reading
}

fn labels() -> Vec<(String, Vec<String>)> {
    let label = |pattern: &str, labels: &[&str]| (pattern.into(), labels.iter().map(|l| (*l).into()).collect());
    vec![
        label("public.users.email", &["pii", "contact"]),
        label("*.users.email", &["pii"]),
        label("public.*.id", &["key"]),
        label("public.contacts", &["malformed"]),
        label("public.sales_2026_11.iban", &["money"]),
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
    show(&reading().columns(&[field], &read_statement(text), &Altered::Nothing, &labels())[0])
}

/// Each column of a result of so many columns without a relation.
fn each<const N: usize>(text: &str) -> [String; N] {
    let shape = [0; N].map(|_| field(0, 0));
    let columns = reading().columns(&shape, &read_statement(text), &Altered::Nothing, &labels());
    std::array::from_fn(|i| show(&columns[i]))
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
        // Views that name each other cannot be.
        (LOOP, 1, "public.loop.x []"),
        // By its definition, column by column.
        (BOTH, 1, "public.listing.id public.users.id computed [key]"),
        (BOTH, 2, "public.listing.shout public.users.email computed [contact pii]"),
        (BOTH, 3, "public.contacts.address public.listing.address public.users.email computed [contact pii]"),
        // A generated column is made of others.
        (11, 2, "public.cards.last4 public.cards.number computed []"),
        // Rows of a partition are its parents', and the other way round where there are labels.
        (10, 2, "public.sales.iban public.sales_2026_11.iban computed [money]"),
        (YEAR, 2, "public.sales.iban public.sales_2026.iban public.sales_2026_11.iban computed [money]"),
        (LEAF, 2, "public.sales.iban public.sales_2026.iban public.sales_2026_11.iban computed [money]"),
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
        ("select upper(email) from archive.users where id = 1", "archive.users.email computed [pii]"),
        ("select u::text from archive.users u", "archive.users.email archive.users.id computed [pii]"),
        ("select max(address) from contacts", "public.contacts.address public.users.email computed [contact pii]"),
        ("select now()", " []"),
        ("begin; select now(); commit", " []"),
        ("select upper(name) from users", " computed []"),
        ("select u.leak from users u", " computed []"),
        ("select leak(id) from users u", " computed []"),
        (
            "select max(x.e) from (select email as e, id from users) x where x.id = 1",
            "archive.users.email public.users.email computed [contact pii]",
        ),
        ("select max(x.id) from (select * from archive.users) x where x.email = ''", "archive.users.id computed []"),
        ("select count(*) from users where leak(email) = ''", " []"),
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
    let columns = reading().columns(&shape, &read_statement("select 1"), &Altered::Nothing, &[]);
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

#[test]
fn each_column_has_its_own_origins() {
    let users = "public.users.email computed [contact pii]";
    let id = "public.users.id computed [key]";
    assert_eq!(each("select id + 1, upper(email) from public.users"), [id, users]);
    assert_eq!(each("select * from public.users union select 1, 'x'"), [id, users]);
    assert_eq!(each("select x.* from (select email || '', id + 0 from public.users) x"), [users, id]);
    // Another number of columns than the text tells: whatever it names.
    assert_eq!(
        each("select id + 1 from public.users where email = ''"),
        [
            "public.users.email public.users.id computed [contact key pii]",
            "public.users.email public.users.id computed [contact key pii]"
        ]
    );
    // Two relations of the name.
    let both = "archive.users.email archive.users.id public.users.email public.users.id computed [contact key pii]";
    assert_eq!(each("select * from users union select * from users"), [both, both]);
    // The transaction has changed something, so that these may be no longer their columns.
    let shape = [field(0, 0), field(USERS, 1)];
    let text = "select 1, id from public.users";
    let columns = reading().columns(&shape, &read_statement(text), &Altered::Anything, &labels());
    assert_eq!(columns.iter().map(show).collect::<Vec<_>>(), [" computed []", " computed []"]);
}

#[test]
fn conditions_have_origins_too() {
    let labelled = Labelled { reading: Some(Arc::new(reading())), labels: labels().into() };
    let conditions =
        |text: &str| -> Vec<String> { labelled.conditions(&read_statement(text)).iter().map(show).collect() };
    assert_eq!(conditions("select id from public.users"), [""; 0]);
    assert_eq!(
        conditions("select 1 from public.users where email like 'a%'"),
        ["public.users.email computed [contact pii]"]
    );
    assert_eq!(
        conditions("delete from listing where shout = ''")[0],
        "public.listing.shout public.users.email computed [contact pii]"
    );
    for unknown in [
        "select 1 from users where leak(id) = 1",
        "select 1 from nowhere where x = 1",
        "select 1 from users where x = 1",
        "execute p",
    ] {
        assert_eq!(conditions(unknown), [" computed []"], "{unknown}");
    }
    let without = Labelled { reading: None, labels: labels().into() };
    assert_eq!(without.conditions(&read_statement("select 1")), [Column::unknown()]);
}

#[test]
fn what_a_transaction_has_altered_is_unknown_and_the_rest_is_not() {
    let mut altered = Altered::Nothing;
    altered.add(&read_statement("select 1; alter table sales_2026_11 add column x int"));
    let columns = |shape: &[Field], text: &str, altered: &Altered| -> Vec<String> {
        reading().columns(shape, &read_statement(text), altered, &labels()).iter().map(show).collect()
    };
    // Its parents have its rows.
    for table in [LEAF, YEAR, 10] {
        assert_eq!(columns(&[field(table, 2)], "select 1", &altered), [" computed []"], "{table}");
    }
    let text = "select max(id) from public.users";
    assert_eq!(columns(&[field(USERS, 1)], text, &altered), ["public.users.id [key]"]);
    assert_eq!(columns(&[field(0, 0)], text, &altered), ["public.users.id computed [key]"]);
    altered.add(&read_statement("create or replace view listing as select 1"));
    assert_eq!(columns(&[field(BOTH, 1)], "select 1", &altered), [" computed []"]);
    altered.add(&read_statement("create function f() returns int language sql return 1"));
    assert_eq!(altered, Altered::Anything);
}

#[test]
fn operators_and_casts_of_ones_own_may_read_anything() {
    let mut reading = reading();
    reading.operators.insert("~>~".into());
    reading.casts.insert("dl".into());
    let one =
        |text: &str| show(&reading.columns(&[field(0, 0)], &read_statement(text), &Altered::Nothing, &labels())[0]);
    assert_eq!(one("select id + 1 from public.users"), "public.users.id computed [key]");
    for text in [
        "select id ~>~ 1 from public.users",
        "select 1 operator(other.~>~) 1",
        "select 5::dl",
        "select cast(id as x.dl) from users",
    ] {
        assert_eq!(one(text), " computed []", "{text}");
    }
    assert_eq!(one("select count(*) from public.users where id ~>~ 1"), " []");
}
