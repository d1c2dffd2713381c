//! Values of the server's types and of types made of them, in both formats: untouched where no policy is, and hidden and still valid
//! for their type where one is. What is valid is for the server to say.

use std::error::Error;

use bytes::BytesMut;
use portcullis_tests::gateway::{Gateway, Options, USER_PASSWORD};
use portcullis_tests::postgres::{self, Postgres};
use portcullis_wire::pg::types::{Make, Type, builtin, name};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type as PgType, to_sql_checked};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// What no byte of a masked text may show.
const SECRET: &str = "geheim";

const TYPES: &str = "create type mood as enum ('calm', 'geheim'); create domain mail as varchar(40); \
    create type person as (name text, mail mail, born date, n int4); create domain mails as mail[]";

/// Types, and a value of each that is not to be seen.
const SAMPLES: &[(&str, &str)] = &[
    ("bool", "f"),
    ("bytea", "\\x67656865696d00ff"),
    ("\"char\"", "g"),
    ("name", "geheim@example.org"),
    ("int2", "-31337"),
    ("int4", "2147483647"),
    ("int8", "-9223372036854775808"),
    ("oid", "4294967295"),
    ("xid", "31337"),
    ("cid", "31337"),
    ("xid8", "18446744073709551615"),
    ("tid", "(31337,42)"),
    ("pg_lsn", "16/B374D848"),
    ("text", "geheim@example.org"),
    ("text", ""),
    ("varchar(7)", "geheim@"),
    ("varchar", "geheim@example.org"),
    ("char(20)", "geheim@example.org"),
    ("json", "{\"b\": \"geheim@example.org\", \"b\": [1, \"geheim\"]}"),
    ("jsonb", "{\"b\": \"geheim@example.org\", \"c\": [1, \"x\"]}"),
    ("jsonpath", "$.\"geheim\"[*]"),
    ("xml", "<a>geheim</a>"),
    ("uuid", "00112233-4455-6677-8899-aabbccddeeff"),
    ("float4", "1.5e-20"),
    ("float4", "1234567"),
    ("float8", "-123456789012345.6"),
    ("float8", "1e+15"),
    ("float8", "NaN"),
    ("numeric", "-12345.678900"),
    ("numeric(30,10)", "0.0000310000"),
    ("numeric", "31337000000000000"),
    ("money", "$31,337.42"),
    ("date", "1984-05-06"),
    ("date", "0044-03-15 BC"),
    ("time", "07:08:09.25"),
    ("timetz", "24:00:00-03:30"),
    ("timestamp", "1984-05-06 07:08:09.000001"),
    ("timestamptz", "1984-05-06 07:08:09+00"),
    ("timestamptz", "infinity"),
    ("interval", "-1 year -2 mons +3 days -04:05:06.789"),
    ("interval", "00:00:00"),
    ("interval", "1 day"),
    ("inet", "10.31.33.7/24"),
    ("inet", "2001:db8::31:337"),
    ("inet", "::10.31.33.7"),
    ("inet", "::ffff:10.31.33.7"),
    ("inet", "::5"),
    ("inet", "::1"),
    ("cidr", "10.31.33.7/32"),
    ("cidr", "2001:db8::/32"),
    ("macaddr", "08:00:2b:03:13:37"),
    ("macaddr8", "08:00:2b:01:02:03:13:37"),
    ("bit(11)", "10100101111"),
    ("varbit", "1010010111"),
    ("point", "(3.1337,-1e+20)"),
    ("line", "{1,2.5,-3}"),
    ("lseg", "[(1,2),(3,4.5)]"),
    ("box", "(3,4),(1,2)"),
    ("path", "((1,2),(3,4))"),
    ("path", "[(1,2),(3,4)]"),
    ("polygon", "((1,2),(3,4),(5,6))"),
    ("circle", "<(1,2),3.5>"),
    ("tsvector", "'geheim':1"),
    ("tsquery", "'geheim' & 'x'"),
    ("regclass", "pg_class"),
    ("int4range", "[31,337)"),
    ("numrange", "(,3.1337]"),
    ("tsrange", "[\"1984-05-06 07:08:09\",infinity)"),
    ("int8range", "empty"),
    ("datemultirange", "{[1984-05-06,1984-05-09),[1985-01-01,)}"),
    ("int4[]", "{31337,NULL,-5}"),
    ("int4[]", "[0:1][-1:0]={{1,2},{3,4}}"),
    ("bool[]", "{f,f}"),
    ("text[]", "{geheim@example.org,NULL,\"\",\"geheim \\\"x\\\\\",\"NULL\",\"{,}\"}"),
    ("text[]", "{{geheim,a},{b,geheim}}"),
    ("text[]", "{}"),
    ("varchar(9)[]", "{geheim@ex}"),
    ("jsonb[]", "{\"{\\\"a\\\": \\\"geheim@example.org\\\"}\",\"1\"}"),
    ("date[]", "{1984-05-06,infinity}"),
    ("uuid[]", "{00112233-4455-6677-8899-aabbccddeeff}"),
    ("inet[]", "{10.31.33.7}"),
    ("int4range[]", "{\"[31,337)\",NULL}"),
    ("mood", "geheim"),
    ("mood[]", "{geheim,calm}"),
    ("mail", "geheim@example.org"),
    ("mail[]", "{geheim@example.org,NULL}"),
    ("mails", "{geheim@example.org}"),
    ("person", "(\"geheim x\",geheim@example.org,1984-05-06,31337)"),
    ("person[]", "{\"(geheim,,,)\",NULL}"),
];

/// Every mask, as settings of a rule.
const MASKS: [(&str, &str); 9] = [
    ("constant", "mask = \"constant\", value = \"7\""),
    ("year", "mask = \"date-to-year\""),
    ("email", "mask = \"email\""),
    ("hash", "mask = \"hash\""),
    ("last", "mask = \"keep-last\", count = 3"),
    ("null", "mask = \"null\""),
    ("path", "mask = \"redact\", paths = [\"$.b\", \"$.a\"]"),
    ("redact", "mask = \"redact\""),
    ("text", "mask = \"constant\", value = \"hidden\""),
];

/// The values of each row, in one format.
type Rows = Vec<Vec<Option<Vec<u8>>>>;

/// A value as its bytes, whatever its type.
#[derive(Debug, PartialEq)]
struct Raw(Vec<u8>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &PgType, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }

    fn accepts(_: &PgType) -> bool {
        true
    }
}

impl ToSql for Raw {
    fn to_sql(&self, _: &PgType, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &PgType) -> bool {
        true
    }

    to_sql_checked!();
}

/// A server with a table of the samples, a column for each.
fn server() -> Postgres {
    let columns: Vec<String> = SAMPLES.iter().enumerate().map(|(i, (ty, _))| format!("c{i} {ty}")).collect();
    let quoted = |value: &str| format!("'{}'", value.replace('\'', "''"));
    let values: Vec<String> = SAMPLES.iter().map(|(_, value)| quoted(value)).collect();
    let table = format!(
        "{TYPES}; create table samples ({}); insert into samples values ({}); insert into samples default values; \
         grant select on samples to public",
        columns.join(", "),
        values.join(", ")
    );
    Postgres::start(&postgres::Options { setup: table, ..postgres::Options::default() }).unwrap()
}

/// A gateway that masks columns by the name that the client gives them, and looks for addresses in `inspect_…`.
fn masking(postgres: &Postgres) -> Gateway {
    let rule = |(name, mask): (&str, &str)| format!("{{ name = \"{name}\", columns = [\"{name}_*\"], {mask} }}");
    let rules = MASKS.map(rule).join(", ");
    let settings = format!(
        "settings = {{ rules = [{rules}], detect = {{ detectors = [\"email\"], columns = [\"inspect_*\"] }} }}"
    );
    let keys: &'static str = settings.leak();
    Gateway::start(Options::before(postgres).with("mask", "policies/hide-personal-data", keys)).unwrap()
}

async fn connect(port: u16, user: &str, password: &str) -> Client {
    let config =
        format!("host=127.0.0.1 port={port} user={user} dbname=shop password={password} options='-c TimeZone=UTC'");
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn direct(postgres: &Postgres) -> Client {
    connect(postgres.port, postgres::ROLE, postgres::PASSWORD).await
}

async fn through(gateway: &Gateway) -> Client {
    connect(gateway.port, "alice", USER_PASSWORD).await
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// The rows of a query in the text format.
async fn texts(client: &Client, query: &str) -> Result<Rows, tokio_postgres::Error> {
    let messages = client.simple_query(query).await?;
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|i| row.get(i).map(|text| text.as_bytes().to_vec())).collect())
        }
        _ => None,
    });
    Ok(rows.collect())
}

/// The rows of a query in the binary format.
async fn binaries(client: &Client, query: &str) -> Result<Rows, tokio_postgres::Error> {
    let rows = client.query(query, &[]).await?;
    let values =
        |row: &tokio_postgres::Row| (0..row.len()).map(|i| row.get::<_, Option<Raw>>(i).map(|raw| raw.0)).collect();
    Ok(rows.iter().map(values).collect())
}

async fn in_format(binary: bool, client: &Client, query: &str) -> Result<Rows, tokio_postgres::Error> {
    if binary { binaries(client, query).await } else { texts(client, query).await }
}

/// Whether the server takes a value for one of its type.
async fn is_valid(server: &Client, ty: &str, binary: bool, value: &[u8]) -> bool {
    if binary {
        let query = format!("select ($1::{ty}) is not null");
        return server.query_one(&query, &[&Raw(value.to_vec())]).await.is_ok();
    }
    let text = std::str::from_utf8(value).unwrap().replace('\'', "''");
    server.simple_query(&format!("select '{text}'::{ty}")).await.is_ok()
}

fn holds(value: &[u8], part: &str) -> bool {
    value.windows(part.len()).any(|window| window == part.as_bytes())
}

#[test]
fn without_a_policy_every_value_arrives_as_it_is() {
    let postgres = server();
    let gateway = Gateway::start(Options::before(&postgres)).unwrap();
    block_on(async {
        let (direct, through) = (direct(&postgres).await, through(&gateway).await);
        for binary in [false, true] {
            let sent = in_format(binary, &direct, "select * from samples").await.unwrap();
            assert_eq!((sent.len(), sent[0].len()), (2, SAMPLES.len()));
            assert_eq!(in_format(binary, &through, "select * from samples").await.unwrap(), sent);
        }
    });
}

#[test]
fn masked_values_are_valid_for_their_type_and_show_nothing() {
    let postgres = server();
    let gateway = masking(&postgres);
    block_on(async {
        let (direct, through) = (direct(&postgres).await, through(&gateway).await);
        let mut kept = 0;
        for (mask, _) in MASKS {
            for (i, (ty, _)) in SAMPLES.iter().enumerate() {
                for binary in [false, true] {
                    let what = format!("{mask} of {ty} {i}, binary: {binary}");
                    let masked = in_format(binary, &through, &format!("select c{i} as {mask}_c from samples")).await;
                    let rows = match masked {
                        Ok(rows) => rows,
                        // A constant that no value of the type is.
                        Err(error) => {
                            let error = error.as_db_error().unwrap();
                            assert!(error.message().contains("the constant is not a valid"), "{what}: {error}");
                            continue;
                        }
                    };
                    assert_eq!((rows.len(), &rows[1][0]), (2, &None), "{what}: NULL stays NULL");
                    let Some(value) = &rows[0][0] else { continue };
                    kept += 1;
                    assert!(is_valid(&direct, ty, binary, value).await, "{what}: {value:?}");
                    assert!(!holds(value, SECRET), "{what}: {}", String::from_utf8_lossy(value));
                }
            }
        }
        // Not everything became NULL.
        assert!(kept > 150, "{kept} values");
    });
}

#[test]
fn what_is_within_a_value_is_masked_by_itself() {
    let postgres = server();
    let gateway = masking(&postgres);
    block_on(async {
        let through = through(&gateway).await;
        for (mask, ty, expected) in [
            ("redact", "text[]", Some("{[redacted],NULL,[redacted],[redacted],[redacted],[redacted]}")),
            ("email", "varchar(9)[]", Some("{g***@ex}")),
            ("last", "varchar(9)[]", Some("{******@ex}")),
            ("constant", "int4[]", Some("{7,NULL,7}")),
            ("year", "date[]", Some("{1984-01-01,NULL}")),
            ("redact", "jsonb[]", Some(r#"{"\"[redacted]\"","\"[redacted]\""}"#)),
            ("path", "jsonb[]", Some(r#"{"{\"a\": \"[redacted]\"}",1}"#)),
            ("path", "json", Some(r#"{"b": "[redacted]", "b": "[redacted]"}"#)),
            ("path", "jsonb", Some(r#"{"b": "[redacted]", "c": [1, "x"]}"#)),
            ("path", "text", Some("[redacted]")),
            ("redact", "int4[]", None),
            ("null", "text[]", None),
        ] {
            let i = SAMPLES.iter().position(|(sample, _)| *sample == ty).unwrap();
            let query = format!("select c{i} as {mask}_c from samples limit 1");
            let text = texts(&through, &query).await.unwrap()[0][0].clone();
            let made = Type::builtin(through.prepare(&query).await.unwrap().columns()[0].type_().oid());
            let binary = binaries(&through, &query).await.unwrap()[0][0].clone().map(|value| {
                let mut shown = vec![];
                made.to_text(&value, &mut shown).unwrap();
                shown
            });
            let shown = |value: &Option<Vec<u8>>| value.as_ref().map(|value| String::from_utf8(value.clone()).unwrap());
            assert_eq!(shown(&text).as_deref(), expected, "{mask} of {ty} as text");
            assert_eq!(shown(&binary).as_deref(), expected, "{mask} of {ty} in binary");
        }
    });
}

#[test]
fn inspected_values_are_valid_for_their_type_and_show_nothing() {
    // What a policy cannot see in the binary format.
    const UNSEEN: [&str; 3] = ["tsvector", "tsquery", "regclass"];
    let postgres = server();
    let gateway = masking(&postgres);
    block_on(async {
        let (direct, through) = (direct(&postgres).await, through(&gateway).await);
        for (i, (ty, value)) in SAMPLES.iter().enumerate() {
            for binary in [false, true] {
                let what = format!("{ty} {i}, binary: {binary}");
                let shown = in_format(binary, &through, &format!("select c{i} as inspect_c from samples")).await;
                let rows = match shown {
                    Ok(rows) => rows,
                    Err(error) => {
                        let error = error.as_db_error().unwrap();
                        let unseen = binary && UNSEEN.contains(ty);
                        assert!(unseen && error.message().contains("cannot be inspected"), "{what}: {error}");
                        continue;
                    }
                };
                assert_eq!((rows.len(), &rows[1][0]), (2, &None), "{what}: NULL stays NULL");
                let sent = in_format(binary, &direct, &format!("select c{i} from samples")).await.unwrap();
                let Some(shown) = &rows[0][0] else { panic!("{what}: {value} became NULL") };
                assert!(is_valid(&direct, ty, binary, shown).await, "{what}: {shown:?}");
                assert!(!holds(shown, "geheim@example"), "{what}: {}", String::from_utf8_lossy(shown));
                let hides = value.contains('@') && value.contains(".org");
                assert_eq!(sent[0][0].as_ref() == Some(shown), !hides, "{what}: {}", String::from_utf8_lossy(shown));
            }
        }
    });
}

#[test]
fn the_text_form_is_the_servers_own() {
    let postgres = server();
    block_on(async {
        let direct = direct(&postgres).await;
        let statement = direct.prepare("select * from samples").await.unwrap();
        let (text, binary) = (
            texts(&direct, "select * from samples").await.unwrap(),
            binaries(&direct, "select * from samples").await.unwrap(),
        );
        let mut readable = 0;
        for (i, (ty, _)) in SAMPLES.iter().enumerate() {
            let made = Type::builtin(statement.columns()[i].type_().oid());
            let (Some(text), Some(binary)) = (&text[0][i], &binary[0][i]) else { panic!("{ty} {i}") };
            let (mut shown, mut written) = (vec![], vec![]);
            if !made.is_readable() {
                continue;
            }
            readable += 1;
            made.to_text(binary, &mut shown).unwrap();
            assert_eq!(String::from_utf8_lossy(&shown), String::from_utf8_lossy(text), "{ty}");
            if made.to_binary(text, &mut written).is_ok() {
                assert_eq!(&written, binary, "{ty}");
            }
        }
        assert!(readable > 65, "{readable}");
    });
}

#[test]
fn the_table_of_types_is_the_servers_own() {
    let postgres = server();
    let types = "select t.oid, t.typname, t.typelem, \
        coalesce(r.rngsubtype, 0), coalesce(m.rngtypid, 0), t.typdelim from pg_type t \
        left join pg_range r on r.rngtypid = t.oid left join pg_range m on m.rngmultitypid = t.oid where t.oid < 16384";
    let mut known = 0;
    for line in postgres.sql("shop", types).unwrap().lines() {
        let [oid, typname, element, bound, range, _] = line.split('|').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let number = |text: &str| text.parse::<u32>().unwrap();
        let Some(make) = builtin(number(oid)) else { continue };
        known += 1;
        assert_eq!(name(number(oid)), Some(typname));
        match make {
            Make::Array(of) => assert_eq!(of, number(element), "{typname}"),
            Make::Range(of) => assert_eq!(of, number(bound), "{typname}"),
            Make::Multirange(of) => assert_eq!(of, number(range), "{typname}"),
            Make::Plain(_) => assert!(number(bound) == 0 && number(range) == 0, "{typname}"),
            Make::Record(_) => assert_eq!(typname, "record"),
            Make::Domain { .. } => panic!("{typname}"),
        }
    }
    assert!(known > 120, "{known}");
}

#[test]
fn results_of_any_shape_are_masked() {
    let postgres = server();
    let gateway = masking(&postgres);
    block_on(async {
        let through = through(&gateway).await;
        for binary in [false, true] {
            // As many columns as a table may have, and every other of them masked.
            let column = |i: usize| if i.is_multiple_of(2) { format!("c13 as redact_{i}") } else { "c14".into() };
            let many: Vec<String> = (0..1600).map(column).collect();
            let rows = in_format(binary, &through, &format!("select {} from samples", many.join(", "))).await.unwrap();
            assert_eq!((rows.len(), rows[0].len()), (2, 1600));
            let expected = |i: usize| Some(if i.is_multiple_of(2) { b"[redacted]".to_vec() } else { vec![] });
            assert!(rows[0].iter().enumerate().all(|(i, value)| *value == expected(i)));
            assert!(rows[1].iter().all(Option::is_none));
            // Names that stand twice.
            let twice = "select c13 as redact_c, c13 as redact_c, c13 as last_c, c5 as redact_c from samples limit 1";
            let rows = in_format(binary, &through, twice).await.unwrap();
            let text = |text: &str| Some(text.as_bytes().to_vec());
            let expected = [text("[redacted]"), text("[redacted]"), text("***************org"), None];
            assert_eq!(rows, [expected]);
            // No columns at all.
            assert_eq!(in_format(binary, &through, "select from samples").await.unwrap(), [vec![], vec![]]);
            // An empty value is a value.
            let empty = "select c14 as redact_c, c14 as last_c, c14 as inspect_c from samples limit 1";
            assert_eq!(in_format(binary, &through, empty).await.unwrap(), [[text("[redacted]"), text(""), text("")]]);
        }
    });
}

#[test]
fn a_value_as_large_as_can_be_is_refused_and_the_session_goes_on() {
    let postgres = server();
    let gateway = masking(&postgres);
    block_on(async {
        let through = through(&gateway).await;
        let error = texts(&through, "select repeat('x', 1000000000) as redact_c").await.unwrap_err();
        assert_eq!(error.code().map(|code| code.code()), Some("54000"), "{error}");
        let rows = texts(&through, "select c13 as redact_c from samples limit 1").await.unwrap();
        assert_eq!(rows, [[Some(b"[redacted]".to_vec())]]);
    });
}
