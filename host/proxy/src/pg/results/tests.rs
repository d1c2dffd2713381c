//! Edits of results, in both formats, with a scripted policy.

use portcullis_verdict::{Edit, Kind, Mask, Phase, Ruling, Statement, Wants};
use portcullis_wire::pg::frame::{Fields, HEADER, put};

use super::*;

const BOOL: u32 = 16;
const INT4: u32 = 23;
const TEXT: u32 = 25;
const POINT: u32 = 600;
const BPCHAR: u32 = 1042;
const VARCHAR: u32 = 1043;
const DATE: u32 = 1082;
const TIMESTAMPTZ: u32 = 1184;
const NUMERIC: u32 = 1700;
const UUID: u32 = 2950;
const JSONB: u32 = 3802;
const INTS: u32 = 1007;
const TEXTS: u32 = 1009;
const VARCHARS: u32 = 1015;
const RECORD: u32 = 2249;
const TSVECTOR: u32 = 3614;
/// Types that are not built in: a row, an array of it, a domain, an array of that, and an enumeration.
const PERSON: u32 = 20_000;
const PERSONS: u32 = 20_001;
const MAIL: u32 = 20_002;
const MAILS: u32 = 20_003;
const COLOUR: u32 = 20_004;

type Filter = fn(&mut Batch) -> Result<(), Denial>;

/// A policy that inspects.
struct Inspector(Filter);

impl Judge for Inspector {
    fn wants(&mut self, _: Kind) -> Wants {
        unreachable!("commands are not decided here")
    }

    fn edits(&self, _: &Snapshot) -> bool {
        true
    }

    fn open(&mut self) -> Ruling {
        unreachable!("sessions are not opened here")
    }

    fn check(
        &mut self,
        _: &Arc<Command>,
        _: &[portcullis_verdict::Grant],
        _: &dyn Fn(&str) -> Arc<Statement>,
    ) -> Ruling {
        unreachable!("commands are not decided here")
    }

    fn plan(&mut self, _: &Snapshot, _: &Arc<Command>, _: &Arc<ResultSet>) -> Result<RowPlan, Denial> {
        unreachable!("the plan is made already")
    }

    fn filter(
        &mut self,
        _: &Snapshot,
        _: &Arc<Command>,
        _: &Arc<ResultSet>,
        _: &RowPlan,
        batch: &mut Batch,
    ) -> Result<(), Denial> {
        (self.0)(batch)
    }

    fn rest(&mut self) {}
}

fn field(type_oid: u32, binary: bool) -> Field {
    Field { name: "c".into(), table: 0, attribute: 0, type_oid, type_modifier: -1, binary }
}

fn masked(mask: Mask) -> ColumnPlan {
    ColumnPlan::Mask(mask, "p".into())
}

fn inspected() -> ColumnPlan {
    ColumnPlan::Inspect(vec![0])
}

fn editor(columns: Vec<ColumnPlan>, max_rows: Option<u64>, shape: &[Field]) -> Result<Editor, Fault> {
    let statement = Arc::new(Statement::unread(Kind::Sql, "select"));
    let command = Arc::new(Command {
        sequence: 1,
        phase: Phase::Execute,
        statement,
        parameters: vec![],
        reason: None,
        origins: None,
    });
    let limit = max_rows.map(|max_rows| Limit { max_rows, policy: "l".into() });
    let plan = RowPlan { columns, limit, asked: vec![] };
    Editor::new(command, Snapshot::empty(), Arc::default(), plan, (shape, 0), &HashKey::new(b"key"), &make)
}

fn make(oid: u32) -> Make<'static> {
    match oid {
        PERSON => Make::Record(&[(INT4, -1), (MAIL, -1), (DATE, -1)]),
        PERSONS => Make::Array(PERSON),
        MAIL => Make::Domain { base: VARCHAR, modifier: 24 },
        MAILS => Make::Array(MAIL),
        COLOUR => Make::Plain(Class::Enum),
        _ => Make::Plain(Class::Other),
    }
}

type Row<'a> = &'a [Option<&'a [u8]>];

fn encode(rows: &[Row<'_>]) -> Vec<u8> {
    let mut out = vec![];
    for row in rows {
        put(&mut out, b'D', |b| {
            b.extend((row.len() as i16).to_be_bytes());
            for value in *row {
                b.extend(value.map_or(-1, |v| v.len() as i32).to_be_bytes());
                b.extend_from_slice(value.unwrap_or_default());
            }
        });
    }
    out
}

/// The values of whole rows; what is no whole row is a failure.
fn decode(bytes: &[u8]) -> Vec<Vec<Option<Vec<u8>>>> {
    assert_eq!(rows::frames(bytes).map(<[u8]>::len).sum::<usize>(), bytes.len(), "a part of a row");
    let values = |frame: &[u8]| {
        let mut fields = Fields::new(b'D', &frame[HEADER..]);
        (0..fields.count().unwrap()).map(|_| fields.value().unwrap().map(<[u8]>::to_vec)).collect()
    };
    rows::frames(bytes).map(values).collect()
}

fn untouched(_: &mut Batch) -> Result<(), Denial> {
    Ok(())
}

/// The refusal's words.
fn refusal(stop: Stop) -> String {
    match stop {
        Stop::Refuse(fault) => fault.message,
        Stop::Broken(error) => panic!("broken instead of refused: {error}"),
    }
}

fn binary(oid: u32, text: &str) -> Vec<u8> {
    let mut out = vec![];
    Type::of(oid, -1, &make).to_binary(text.as_bytes(), &mut out).unwrap();
    out
}

/// Masks one value of a type with this modifier, given as text, in the text and in the binary format; shown as text.
fn in_both_formats(mask: &Mask, oid: u32, type_modifier: i32, value: &str) -> [Option<String>; 2] {
    [false, true].map(|is_binary| {
        let value = if is_binary { binary(oid, value) } else { value.as_bytes().to_vec() };
        let shape = [Field { type_modifier, ..field(oid, is_binary) }];
        let mut out = vec![];
        let mut editor = editor(vec![masked(mask.clone())], None, &shape).map_err(|f| f.message).unwrap();
        let edited = editor.edit(&mut Inspector(untouched), &encode(&[&[Some(&value)]]), &mut out);
        assert!(edited.is_ok_and(|edited| (edited.kept, edited.masked) == (1, 1)));
        decode(&out)[0][0].clone().map(|value| {
            let mut shown = value.clone();
            if is_binary {
                shown.clear();
                Type::of(oid, -1, &make).to_text(&value, &mut shown).unwrap();
            }
            String::from_utf8(shown).unwrap()
        })
    })
}

#[test]
fn masks_give_the_same_value_in_both_formats() {
    let constant = |value: &str| Mask::Constant(value.into());
    for (mask, oid, modifier, value, expected) in [
        (Mask::Redact, TEXT, -1, "secret", Some("[redacted]")),
        (Mask::Redact, VARCHAR, 12, "secret", Some("[redacte")),
        (Mask::Redact, VARCHAR, i32::MIN, "secret", Some("[redacted]")),
        (Mask::KeepLast(2), BPCHAR, 9, "abcd ", Some("**cd ")),
        (Mask::Redact, INT4, -1, "5", None),
        (constant("-7"), INT4, -1, "5", Some("-7")),
        (constant("0.50"), NUMERIC, -1, "12.34", Some("0.50")),
        (constant("f"), BOOL, -1, "t", Some("f")),
        (Mask::Redact, JSONB, -1, "{}", Some("\"[redacted]\"")),
        (Mask::DateToYear, DATE, -1, "1984-05-06", Some("1984-01-01")),
        (Mask::DateToYear, DATE, -1, "0044-03-15 BC", None),
        (Mask::DateToYear, TIMESTAMPTZ, -1, "1984-05-06 07:08:09+00", Some("1984-01-01 00:00:00+00")),
        (Mask::Null, TEXT, -1, "secret", None),
        (Mask::Redact, TEXT, -1, "", Some("[redacted]")),
        (Mask::KeepLast(1), TEXT, -1, "", Some("")),
        (Mask::Redact, TEXTS, -1, "{a,NULL,\"b c\"}", Some("{[redacted],NULL,[redacted]}")),
        (Mask::Redact, TEXTS, -1, "{}", Some("{}")),
        (Mask::Redact, VARCHARS, 7, "{secret}", Some("{[re}")),
        (Mask::Email, TEXTS, -1, "{{a@b.cc},{\"d e@f.gg\"}}", Some("{{a***@b.cc},{d***@f.gg}}")),
        (Mask::KeepLast(2), TEXTS, -1, "[2:3]={abcd,\"a\\\"{b\"}", Some("[2:3]={**cd,\"**{b\"}")),
        (Mask::Redact, INTS, -1, "{1,2}", None),
        (constant("7"), INTS, -1, "{1,2}", Some("{7,7}")),
        (Mask::DateToYear, 1182, -1, "{1984-05-06,infinity}", Some("{1984-01-01,NULL}")),
        (Mask::Null, TEXTS, -1, "{a}", None),
        (Mask::Redact, 3807, -1, r#"{"{\"a\": 1}"}"#, Some(r#"{"\"[redacted]\""}"#)),
        (
            Mask::parse("redact", &[("path".into(), "$.a".into())]).unwrap(),
            JSONB,
            -1,
            r#"{"a": 1, "b": 2}"#,
            Some(r#"{"a": "[redacted]", "b": 2}"#),
        ),
        (Mask::Redact, MAILS, -1, "{a@b.cc}", Some("{[redacted]}")),
        (Mask::Email, MAILS, -1, "{a@long-domain-name.example}", Some("{a***@long-domain-nam}")),
        (Mask::Email, PERSON, -1, "(7,a@b.cc,2001-09-09)", Some("(,a***@b.cc,)")),
        (
            Mask::DateToYear,
            PERSONS,
            -1,
            r#"{"(7,a,2001-09-09)","(,,)",NULL}"#,
            Some(r#"{"(,[redacted],2001-01-01)","(,,)",NULL}"#),
        ),
        (constant("8"), PERSON, -1, "(7,a@b.cc,2001-09-09)", Some("(8,8,)")),
        (Mask::Null, PERSON, -1, "(7,a,)", None),
        (Mask::Redact, COLOUR, -1, "red", None),
    ] {
        let expected = expected.map(str::to_owned);
        assert_eq!(
            in_both_formats(&mask, oid, modifier, value),
            [expected.clone(), expected],
            "{mask:?} of type {oid}"
        );
    }
    let [text, binary] = in_both_formats(&Mask::Hash, UUID, -1, "00112233-4455-6677-8899-aabbccddeeff");
    assert!(text.is_some() && text == binary, "equal values stay equal in both formats");
}

#[test]
fn null_stays_null_and_unreadable_values_become_it() {
    let shape = [field(TEXT, false), field(POINT, true), field(DATE, true), field(TEXT, false)];
    let columns =
        vec![masked(Mask::Constant("x".into())), masked(Mask::Redact), masked(Mask::DateToYear), ColumnPlan::Keep];
    let mut editor = editor(columns, None, &shape).map_err(|f| f.message).unwrap();
    let rows: [Row<'_>; 2] = [&[None; 4], &[Some(b"a"), Some(b"raw"), Some(b"bad"), Some(b"kept")]];
    let mut out = vec![];
    let edited = editor.edit(&mut Inspector(untouched), &encode(&rows), &mut out);
    assert!(edited.is_ok_and(|edited| (edited.kept, edited.masked) == (2, 3)));
    assert_eq!(decode(&out), [vec![None; 4], vec![Some(b"x".to_vec()), None, None, Some(b"kept".to_vec())]]);
}

#[test]
fn a_plan_that_does_not_fit_is_refused() {
    for (plan, oid, is_binary, expected) in [
        (
            masked(Mask::Constant("x".into())),
            INT4,
            false,
            "policy \"p\": column \"c\": the constant is not a valid integer",
        ),
        (
            masked(Mask::Constant("x".into())),
            POINT,
            false,
            "policy \"p\": column \"c\": the constant is not a valid value",
        ),
        (masked(Mask::Constant("x".into())), INTS, true, "the constant is not a valid integer"),
        (inspected(), TSVECTOR, true, "column \"c\" cannot be inspected in its type's binary format"),
    ] {
        let Err(fault) = editor(vec![plan], None, &[field(oid, is_binary)]) else { panic!("type {oid} fits") };
        assert!(fault.code == "42501" && fault.message.contains(expected), "{}", fault.message);
    }
    assert!(editor(vec![inspected()], None, &[field(TSVECTOR, false)]).is_ok());
    assert!(editor(vec![inspected()], None, &[field(POINT, true)]).is_ok());
}

#[test]
fn policies_see_text_and_their_answers_are_encoded() {
    fn patch(batch: &mut Batch) -> Result<(), Denial> {
        let shown = |place: usize, row| batch.chunks[place].value(row).map(|v| String::from_utf8_lossy(v).into_owned());
        let seen: Vec<_> = (0..3).map(|row| (shown(0, row), shown(1, row))).collect();
        let text = |t: &str| Some(t.to_owned());
        assert_eq!(seen, [(text("7"), text("call 555")), (None, text("x")), (text("-1"), None)]);
        assert_eq!(batch.chunks.iter().map(|c| c.column).collect::<Vec<_>>(), [0, 2]);
        let number = Edit::Patch { rows: vec![0, 2], nulls: vec![0b10], ends: vec![2, 2], data: b"42".to_vec() };
        let spans = Edit::Spans { rows: vec![0], starts: vec![5], lens: vec![3], fill: b'*' };
        batch.apply(&[0, 2], vec![number, spans], &[]).unwrap();
        Ok(())
    }
    let shape = [field(INT4, true), field(BOOL, true), field(TEXT, true)];
    let mut editor =
        editor(vec![inspected(), ColumnPlan::Keep, inspected()], None, &shape).map_err(|f| f.message).unwrap();
    let (seven, minus, truth) = (7i32.to_be_bytes(), (-1i32).to_be_bytes(), &b"\x01"[..]);
    let rows: [Row<'_>; 3] = [
        &[Some(&seven), Some(truth), Some(b"call 555")],
        &[None, None, Some(b"x")],
        &[Some(&minus), Some(truth), None],
    ];
    let mut out = vec![];
    // Twice, since memory is kept between batches.
    for _ in 0..2 {
        out.clear();
        let edited = editor.edit(&mut Inspector(patch), &encode(&rows), &mut out);
        assert!(edited.is_ok_and(|edited| (edited.kept, edited.masked) == (3, 3)));
        let expected: [Row<'_>; 3] = [
            &[Some(&42i32.to_be_bytes()), Some(truth), Some(b"call ***")],
            &[None, None, Some(b"x")],
            &[None, Some(truth), None],
        ];
        assert_eq!(out, encode(&expected));
    }
}

/// What a policy blanks within an array or a row stays in its place; what costs it its form becomes NULL.
#[test]
fn arrays_and_rows_are_inspected_as_text_and_stay_what_they_are() {
    fn blank(batch: &mut Batch) -> Result<(), Denial> {
        let text = String::from_utf8(batch.chunks[0].value(0).unwrap().to_vec()).unwrap();
        let (start, len) = text.find("555").map_or((0, text.len()), |at| (at, 3));
        let spans = Edit::Spans { rows: vec![0], starts: vec![start as u32], lens: vec![len as u32], fill: b'*' };
        batch.apply(&[0], vec![spans], &[]).unwrap();
        Ok(())
    }
    for (oid, value, expected) in [
        (TEXTS, "{a,NULL,\"call 555\"}", Some("{a,NULL,\"call ***\"}")),
        (TEXTS, "{a}", None),
        (INTS, "{1,555}", None),
        (PERSON, "(1,555,2001-09-09)", Some("(1,***,2001-09-09)")),
        (PERSON, "(555,a,2001-09-09)", None),
        (PERSONS, r#"{"(1,\"call 555\",)"}"#, Some(r#"{"(1,\"call ***\",)"}"#)),
        (RECORD, "(555)", None),
    ] {
        for is_binary in [false, true] {
            if is_binary && oid == RECORD {
                continue;
            }
            let encoded = |text: &str| if is_binary { binary(oid, text) } else { text.as_bytes().to_vec() };
            let mut editor = editor(vec![inspected()], None, &[field(oid, is_binary)]).map_err(|f| f.message).unwrap();
            let mut out = vec![];
            let edited = editor.edit(&mut Inspector(blank), &encode(&[&[Some(&encoded(value))]]), &mut out);
            assert!(edited.is_ok_and(|edited| (edited.kept, edited.masked) == (1, 1)));
            assert_eq!(decode(&out), [[expected.map(encoded)]], "{value}");
        }
    }
}

#[test]
fn damaged_arrays_and_rows_become_null() {
    for (oid, is_binary, value) in [
        (TEXTS, false, &b"{secret"[..]),
        (TEXTS, false, b"secret"),
        (TEXTS, true, b"secret"),
        (TEXTS, true, b"\0\0\0\x01\0\0\0\0\0\0\0\x19\x7f\xff\xff\xff\0\0\0\x01\0\0\0\x01a"),
        (PERSON, false, b"(1,secret)"),
        (PERSON, true, b"\0\0\0\x01"),
        (RECORD, false, b"(secret)"),
        (RECORD, true, b"\0\0\0\0"),
    ] {
        let mut editor =
            editor(vec![masked(Mask::Redact)], None, &[field(oid, is_binary)]).map_err(|f| f.message).unwrap();
        let mut out = vec![];
        assert!(editor.edit(&mut Inspector(untouched), &encode(&[&[Some(value)]]), &mut out).is_ok());
        assert_eq!(decode(&out), [[None]], "{value:?}");
    }
}

fn drop_the_second(batch: &mut Batch) -> Result<(), Denial> {
    batch.apply(&[0], vec![Edit::Keep], &[1]).unwrap();
    Ok(())
}

#[test]
fn dropped_rows_do_not_arrive_and_do_not_count() {
    let rows: [Row<'_>; 3] = [&[Some(b"a")], &[Some(b"b")], &[Some(b"c")]];
    let kept: [Row<'_>; 2] = [rows[0], rows[2]];
    let mut editor = editor(vec![inspected()], Some(3), &[field(TEXT, false)]).map_err(|f| f.message).unwrap();
    let mut out = vec![];
    let edited = editor.edit(&mut Inspector(drop_the_second), &encode(&rows), &mut out);
    assert!(edited.is_ok_and(|edited| (edited.kept, edited.masked) == (2, 0)));
    assert_eq!(out, encode(&kept));
    // One row is left of the limit, and the third of this batch is one too many.
    let Err((edited, stop)) = editor.edit(&mut Inspector(drop_the_second), &encode(&rows), &mut out) else {
        panic!("the limit does not act")
    };
    assert_eq!((edited.kept, decode(&out).len()), (1, 3));
    assert_eq!(refusal(stop), "denied by policy \"l\": the result has more than 3 rows");
}

#[test]
fn a_limit_lets_exactly_as_many_rows_pass() {
    let rows: [Row<'_>; 2] = [&[Some(b"a")], &[None]];
    for (max_rows, batches, expected) in [(2, 1, None), (4, 2, None), (0, 1, Some(0)), (1, 1, Some(1)), (3, 2, Some(3))]
    {
        // A plan without columns keeps them all.
        let mut editor = editor(vec![], Some(max_rows), &[field(TEXT, false)]).map_err(|f| f.message).unwrap();
        let (mut out, mut refused) = (vec![], None);
        for _ in 0..batches {
            let edited = editor.edit(&mut Inspector(untouched), &encode(&rows), &mut out);
            refused = edited.err().map(|(_, stop)| refusal(stop)).map(|_| decode(&out).len());
        }
        assert_eq!(refused, expected, "{max_rows} of {batches} batches");
    }
}

#[test]
fn bad_values_of_a_policy_refuse_the_result_after_the_last_whole_row() {
    fn overwrite(batch: &mut Batch) -> Result<(), Denial> {
        let column = batch.chunks[0].column;
        let bad = Edit::Patch { rows: vec![1], nulls: vec![], ends: vec![2], data: b"\xff*".to_vec() };
        batch.apply(&[column], vec![bad], &[]).unwrap();
        Ok(())
    }
    for (oid, is_binary, value) in [
        (INT4, false, b"5".to_vec()),
        (INT4, true, binary(INT4, "5")),
        (TEXT, false, b"x".to_vec()),
        (TEXT, true, b"x".to_vec()),
        (JSONB, true, binary(JSONB, "{}")),
        (DATE, false, b"2024-01-01".to_vec()),
        (POINT, false, b"(1,2)".to_vec()),
    ] {
        let shape = [field(TEXT, false), field(oid, is_binary)];
        let mut editor = editor(vec![masked(Mask::Redact), inspected()], None, &shape).map_err(|f| f.message).unwrap();
        let row: Row<'_> = &[Some(b"secret"), Some(&value)];
        let first: Row<'_> = &[Some(b"[redacted]"), Some(&value)];
        let mut out = vec![];
        let Err((edited, stop)) = editor.edit(&mut Inspector(overwrite), &encode(&[row, row, row]), &mut out) else {
            panic!("type {oid} takes it")
        };
        assert_eq!((edited.kept, &out), (1, &encode(&[first])), "type {oid}");
        assert!(refusal(stop).contains("not valid for the column's type"));
    }
}

#[test]
fn a_batch_that_a_policy_refuses_leaves_nothing() {
    fn refuse(_: &mut Batch) -> Result<(), Denial> {
        Err(Denial { policy: "i".into(), message: "no".into() })
    }
    fn unasked(_: &mut Batch) -> Result<(), Denial> {
        panic!("the policy sees a value that cannot be read")
    }
    let good = binary(DATE, "2024-01-01");
    for (filter, second, expected) in [
        (refuse as Filter, &good[..], "denied by policy \"i\": no"),
        (
            unasked,
            b"bad",
            "denied by portcullis: a value is not valid for its type, so that policies cannot inspect it",
        ),
    ] {
        let mut editor = editor(vec![inspected()], None, &[field(DATE, true)]).map_err(|f| f.message).unwrap();
        let mut out = b"before".to_vec();
        let rows = encode(&[&[Some(&good)], &[Some(second)]]);
        let Err((edited, stop)) = editor.edit(&mut Inspector(filter), &rows, &mut out) else { panic!("not refused") };
        assert_eq!((edited.kept, &out[..]), (0, &b"before"[..]));
        assert_eq!(refusal(stop), expected);
    }
}

#[test]
fn a_row_that_is_not_as_described_ends_the_session() {
    let row: Row<'_> = &[Some(b"a")];
    let other: Row<'_> = &[Some(b"a"), Some(b"b")];
    for plan in [masked(Mask::Null), inspected()] {
        let whole = usize::from(plan != inspected());
        let mut editor = editor(vec![plan], None, &[field(TEXT, false)]).map_err(|f| f.message).unwrap();
        let mut out = vec![];
        let edited = editor.edit(&mut Inspector(untouched), &encode(&[row, other]), &mut out);
        assert!(matches!(edited, Err((Edited { kept, .. }, Stop::Broken(_))) if kept == whole));
        assert_eq!(decode(&out).len(), whole);
    }
}
