//! The machine between a scripted client and a server that follows the protocol, in every split of the bytes.

mod server;

use bytes::BytesMut;
use proptest::prelude::*;

use self::server::Server;
use super::*;
use crate::pg::frame::next;
use crate::pg::message::{put_query, sqlstate};
use crate::pg::rows;

const LIMITS: Limits = Limits {
    client_message: 4096,
    server_message: 4096,
    pipeline: 100,
    prepared: 10,
    prepared_bytes: 1000,
    batch_rows: 2,
};

/// What the driver does in a test.
#[derive(Clone, Copy)]
struct Policy {
    /// Commands with one of these texts are denied.
    denied: &'static [&'static str],
    /// What becomes of results.
    rows: Rows,
    /// What becomes of the server's words, when results are seen.
    words: Words,
}

#[derive(Clone, Copy, PartialEq)]
enum Rows {
    Unseen,
    Pass,
    Edit,
    RefuseAtPlan,
    /// After this many rows.
    RefuseAfter(usize),
}

const OPEN: Policy = Policy { denied: &[], rows: Rows::Unseen, words: Words::Withhold };

struct Rig {
    relay: Relay,
    policy: Policy,
    server: Server,
    from_client: BytesMut,
    from_server: BytesMut,
    /// Bytes that each side has been given.
    client: Vec<u8>,
    sent: Vec<u8>,
    asked: Vec<(Phase, String)>,
    finished: Vec<Finish>,
    seen: usize,
}

impl Rig {
    fn new(policy: Policy) -> Self {
        Self {
            relay: Relay::new(LIMITS),
            policy,
            server: Server::new(),
            from_client: BytesMut::new(),
            from_server: BytesMut::new(),
            client: vec![],
            sent: vec![],
            asked: vec![],
            finished: vec![],
            seen: 0,
        }
    }

    /// Gives the client's bytes in pieces of this size, and the server's replies too.
    fn play(mut self, bytes: &[u8], piece: usize) -> Self {
        for part in bytes.chunks(piece) {
            self.from_client.extend_from_slice(part);
            self.settle(piece);
        }
        self
    }

    fn settle(&mut self, piece: usize) {
        loop {
            self.advance();
            self.client.append(self.relay.to_client());
            let sent = std::mem::take(self.relay.to_server());
            self.sent.extend_from_slice(&sent);
            self.server.handle(&sent);
            let count = piece.min(self.server.out.len());
            if count == 0 {
                return;
            }
            self.from_server.extend(self.server.out.drain(..count));
        }
    }

    fn advance(&mut self) {
        while let Some(event) = self.relay.advance(&mut self.from_client, &mut self.from_server).unwrap() {
            match event {
                Event::Ask(question) => self.ask(&question),
                Event::Plan(_) => match self.policy.rows {
                    Rows::RefuseAtPlan => self.relay.refuse(&Fault::error("42501", "no rows")),
                    Rows::Pass => self.relay.plan(RowMode::Pass),
                    _ => self.relay.plan(RowMode::Edit),
                },
                Event::Rows { bytes, count, .. } => self.edit(bytes, count),
                Event::Finish(finish) => self.finished.push(finish),
                Event::Oversized { .. } => self.relay.refuse(&Fault::error("54000", "too large")),
                Event::Words { .. } => self.relay.words(self.policy.words),
                Event::Parameter { .. } | Event::Terminate => {}
            }
        }
    }

    fn ask(&mut self, question: &Question) {
        self.asked.push((question.phase, question.text.to_string()));
        let plan_rows = self.policy.rows != Rows::Unseen;
        self.relay.answer(if self.policy.denied.contains(&&*question.text) {
            Answer::Deny(Fault::error("42501", "no"))
        } else {
            Answer::Forward(Passage { plan_rows, guard_words: plan_rows, copy_out: !plan_rows, readable: true })
        });
    }

    fn edit(&mut self, bytes: usize, count: usize) {
        let frames = self.from_server.get(..bytes).unwrap_or_default().to_vec();
        assert_eq!(rows::frames(&frames).count(), count);
        if let Rows::RefuseAfter(most) = self.policy.rows
            && self.seen + count > most
        {
            self.relay.rows_done(&mut self.from_server, bytes, 0, 0);
            return self.relay.refuse(&Fault::error("42501", "too many rows"));
        }
        self.seen += count;
        for frame in rows::frames(&frames) {
            rows::rewrite(frame, 1, &[0], self.relay.to_client(), |_, _, out| {
                out.extend(b"masked");
                Ok::<_, WireError>(rows::Cell::Written)
            })
            .unwrap();
        }
        self.relay.rows_done(&mut self.from_server, bytes, count, count as u64);
    }

    /// The client's messages by type, an error by its SQLSTATE, a ReadyForQuery with its status.
    fn story(&self) -> String {
        let (mut rest, mut story) = (&self.client[..], String::new());
        while let Some(frame) = next(rest, 1 << 20).unwrap() {
            match frame.tag {
                b'E' => story += &format!("E{} ", sqlstate(frame.body).unwrap()),
                b'Z' => story += &format!("Z{} ", frame.body[0] as char),
                tag => story += &format!("{} ", tag as char),
            }
            rest = &rest[frame.raw.len()..];
        }
        assert!(rest.is_empty(), "the client got part of a message");
        story.trim_end().to_owned()
    }
}

fn query(text: &str) -> Vec<u8> {
    let mut out = vec![];
    put_query(&mut out, text);
    out
}

fn parse(name: &str, text: &str) -> Vec<u8> {
    let mut out = vec![];
    put(&mut out, b'P', |b| {
        put_cstr(b, name.as_bytes());
        put_cstr(b, text.as_bytes());
        b.extend([0, 0]);
    });
    out
}

fn bind(portal: &str, statement: &str) -> Vec<u8> {
    let mut out = vec![];
    put(&mut out, b'B', |b| {
        put_cstr(b, portal.as_bytes());
        put_cstr(b, statement.as_bytes());
        b.extend([0; 6]);
    });
    out
}

fn execute(portal: &str, rows: i32) -> Vec<u8> {
    let mut out = vec![];
    put(&mut out, b'E', |b| {
        put_cstr(b, portal.as_bytes());
        b.extend(rows.to_be_bytes());
    });
    out
}

fn named(tag: u8, kind: u8, name: &str) -> Vec<u8> {
    let mut out = vec![];
    put(&mut out, tag, |b| {
        b.push(kind);
        put_cstr(b, name.as_bytes());
    });
    out
}

fn bare(tag: u8) -> Vec<u8> {
    let mut out = vec![];
    put(&mut out, tag, |_| {});
    out
}

fn copy_data(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    put(&mut out, b'd', |b| b.extend_from_slice(bytes));
    out
}

/// Parse, bind, describe, execute and sync in one piece, as drivers send it.
fn extended(text: &str) -> Vec<u8> {
    [parse("", text), bind("", ""), named(b'D', b'P', ""), execute("", 0), bare(b'S')].concat()
}

/// Plays a script in pieces of every size; the story must always be this one.
fn always(policy: Policy, script: &[Vec<u8>], story: &str) -> Rig {
    let bytes = script.concat();
    for piece in 1..bytes.len() {
        assert_eq!(Rig::new(policy).play(&bytes, piece).story(), story, "in pieces of {piece}");
    }
    let rig = Rig::new(policy).play(&bytes, bytes.len());
    assert_eq!(rig.story(), story);
    assert!(rig.relay.is_idle(), "something is under way at the end");
    rig
}

fn ran(rig: &Rig, text: &str) -> bool {
    rig.server.ran.iter().any(|t| t.contains(text))
}

#[test]
fn what_is_said_beside_replies_can_be_withheld() {
    let aside = |tag: u8, parts: &[&[u8]]| {
        let mut frame = vec![];
        put(&mut frame, tag, |b| parts.iter().for_each(|part| b.extend_from_slice(part)));
        frame
    };
    let said = [
        aside(b'A', &[&7u32.to_be_bytes(), b"news\0", b"123-45-6789\0"]),
        aside(b'S', &[b"application_name\0", b"123-45-6789\0"]),
        aside(b'S', &[b"TimeZone\0", b"UTC\0"]),
    ]
    .concat();
    for withheld in [false, true] {
        let mut rig = Rig::new(OPEN);
        if withheld {
            rig.relay.withhold_asides();
        }
        rig.from_server.extend_from_slice(&said);
        rig.advance();
        let expected = [
            aside(b'A', &[&7u32.to_be_bytes(), b"news\0\0"]),
            aside(b'S', &[b"application_name\0\0"]),
            aside(b'S', &[b"TimeZone\0", b"UTC\0"]),
        ]
        .concat();
        assert_eq!(*rig.relay.to_client(), if withheld { expected } else { said.clone() });
    }
}

#[test]
fn a_denied_query_gets_its_error_and_the_session_goes_on() {
    let policy = Policy { denied: &["select 2"], ..OPEN };
    let rig = always(policy, &[query("select 2"), query("select 1")], "E42501 ZI T D C ZI");
    assert!(!ran(&rig, "select 2"));
    assert_eq!(rig.finished.len(), 1);
}

#[test]
fn a_denial_fails_the_transaction_as_an_error_would() {
    let policy = Policy { denied: &["select 2"], ..OPEN };
    let script = [query("begin"), query("select 2"), query("select 1"), query("commit")];
    always(policy, &script, "C ZT E42501 ZE E25P02 ZE C ZI");
    let script = [extended("begin"), extended("select 2"), extended("select 1"), query("commit")];
    always(policy, &script, "1 2 n C ZT E42501 ZE E25P02 ZE C ZI");
}

#[test]
fn pipelined_batches_keep_their_places() {
    let policy = Policy { denied: &["select 2"], ..OPEN };
    let script = [extended("select 1"), extended("select 2"), extended("select 3")];
    let rig = always(policy, &script, "1 2 T D C ZI E42501 ZI 1 2 T D D D C ZI");
    assert!(!ran(&rig, "select 2"));
}

#[test]
fn what_follows_a_denial_in_its_batch_is_skipped() {
    let policy = Policy { denied: &["select 2"], ..OPEN };
    let one = |text: &str| [parse("", text), bind("", ""), execute("", 0)].concat();
    let script = [one("select 1"), one("select 2"), one("select 3"), bare(b'S'), query("select 0")];
    let rig = always(policy, &script, "1 2 D C E42501 ZI T C ZI");
    assert!(!ran(&rig, "select 2") && !ran(&rig, "select 3"));
}

#[test]
fn an_error_of_the_server_skips_like_the_server() {
    let one = |text: &str| [parse("", text), bind("", ""), execute("", 0)].concat();
    let script = [one("fail"), one("select 3"), bare(b'S'), query("select 0")];
    let rig = always(OPEN, &script, "1 2 E42601 ZI T C ZI");
    assert!(!ran(&rig, "select 3"));
    assert_eq!(rig.finished.iter().filter(|f| f.error.is_some()).count(), 2);
}

#[test]
fn prepared_statements_are_asked_about_each_time_they_run() {
    let script = [
        parse("s", "select 1"),
        named(b'D', b'S', "s"),
        bare(b'S'),
        [bind("", "s"), execute("", 0), bare(b'S')].concat(),
        [bind("", "s"), execute("", 0), bare(b'S')].concat(),
    ];
    let rig = always(OPEN, &script, "1 t T ZI 2 D C ZI 2 D C ZI");
    let phases: Vec<_> = rig.asked.iter().map(|(p, t)| (*p, t.as_str())).collect();
    let run = (Phase::Execute, "select 1");
    assert_eq!(phases, [(Phase::Prepare, "select 1"), run, run]);
}

#[test]
fn portals_are_asked_about_each_time_they_go_on() {
    let script = [
        query("begin"),
        [parse("", "select 3"), bind("p", ""), execute("p", 2), bare(b'H'), execute("p", 2), bare(b'S')].concat(),
        query("commit"),
    ];
    let rig = always(OPEN, &script, "C ZT 1 2 D D s D C ZT C ZI");
    assert_eq!(rig.asked.iter().filter(|(_, t)| t == "select 3").count(), 2);
}

#[test]
fn a_name_that_the_server_does_not_have_runs_nothing() {
    let script = [[bind("", "gone"), execute("", 0), bare(b'S')].concat(), query("select 0")];
    always(OPEN, &script, "E26000 ZI T C ZI");
    let script = [
        [parse("s", "select 1"), bare(b'S')].concat(),
        query("deallocate s"),
        [bind("", "s"), execute("", 0), bare(b'S')].concat(),
    ];
    always(OPEN, &script, "1 ZI C ZI E26000 ZI");
}

#[test]
fn names_that_the_server_would_cut_are_refused() {
    let long = |end: char| "x".repeat(63) + &end.to_string();
    let script = [
        [parse(&long('1'), "select 1"), bare(b'S')].concat(),
        [bind("", &long('1')), execute("", 0), bare(b'S')].concat(),
        [named(b'C', b'S', &long('2')), bare(b'S')].concat(),
        [named(b'D', b'S', &long('3')), bare(b'S')].concat(),
    ];
    let rig = always(OPEN, &script, "E42622 ZI E42622 ZI E42622 ZI E42622 ZI");
    assert!(!ran(&rig, "select"));
}

#[test]
fn names_are_bounded_in_number_and_bytes() {
    let big = format!("select {:0>500}", 1);
    let script = [parse("a", &big), bare(b'S'), parse("b", &big), bare(b'S'), query("select 0")];
    let rig = always(OPEN, &script, "1 ZI E53400 ZI T C ZI");
    assert_eq!(rig.server.ran.iter().filter(|t| **t == big).count(), 1);
    let mut script = vec![query("begin"), parse("", "select 1")];
    script.extend((0..11).map(|n| [bind(&format!("p{n}"), ""), bare(b'H')].concat()));
    script.push(bare(b'S'));
    let bytes = script.concat();
    let rig = Rig::new(OPEN).play(&bytes, 16);
    assert!(rig.story().ends_with("2 2 2 2 2 2 2 2 2 2 E53400 ZE"), "{}", rig.story());
}

#[test]
fn a_failed_parse_leaves_the_old_statement() {
    let policy = Policy { denied: &["select 2"], ..OPEN };
    let script = [
        [parse("", "select 1"), bare(b'S')].concat(),
        [parse("", "select 2"), bind("", ""), execute("", 0), bare(b'S')].concat(),
        [bind("", ""), execute("", 0), bare(b'S')].concat(),
    ];
    let rig = always(policy, &script, "1 ZI E42501 ZI 2 D C ZI");
    assert_eq!(rig.asked.last().unwrap().1, "select 1");
}

#[test]
fn copy_passes_both_ways() {
    let script = [query("copyin"), copy_data(b"1\n"), copy_data(b"2\n"), bare(b'c'), query("select 0")];
    let rig = always(OPEN, &script, "G C ZI T C ZI");
    assert!(rig.sent.ends_with(&query("select 0")));
    always(OPEN, &[query("copyout 2")], "H d d c C ZI");
    let script =
        [parse("", "copyin"), bind("", ""), execute("", 0), bare(b'H'), copy_data(b"x"), bare(b'c'), bare(b'S')];
    always(OPEN, &script, "1 2 G C ZI");
}

#[test]
fn nothing_is_sent_behind_a_copy_from_the_client_before_it_has_begun() {
    // The server would lose the Parse, and the Bind would find the statement of before.
    let before = [parse("", "select 1"), bare(b'S')];
    let after = [parse("", "select 2"), bind("", ""), execute("", 0), bare(b'S')];
    let script = [&before[..], &[query("copyin")], &after, &[query("select 0")]].concat();
    let rig = always(OPEN, &script, "1 ZI G E57014 ZI 2 D C ZI T C ZI");
    assert!(!ran(&rig, "select 2") && rig.asked.iter().all(|(_, text)| text != "select 2"));
    let copy = [parse("", "copyin"), bind("", ""), execute("", 0)];
    let script = [&copy[..], &after, &[query("select 0")]].concat();
    let rig = always(OPEN, &script, "1 2 G E57014 ZI T C ZI");
    assert!(!ran(&rig, "select 2"));
    // A COPY that fails at once leaves what is behind it as it is.
    let script = [query("begin"), query("fail"), query("copyin"), query("select 0"), query("commit")];
    always(OPEN, &script, "C ZT E42601 ZE E25P02 ZE E25P02 ZE C ZI");
}

#[test]
fn copy_data_after_a_denial_goes_nowhere() {
    let policy = Policy { denied: &["copyin"], ..OPEN };
    let script = [query("copyin"), copy_data(b"secret"), bare(b'c'), query("select 0")];
    let rig = always(policy, &script, "E42501 ZI T C ZI");
    assert!(!rig.sent.windows(6).any(|w| w == b"secret"));
}

#[test]
fn a_copy_that_nobody_foresaw_ends_the_session() {
    let policy = Policy { rows: Rows::Pass, ..OPEN };
    let mut rig = Rig::new(policy);
    rig.from_client.extend_from_slice(&query("copyout 1"));
    rig.advance();
    let sent = std::mem::take(rig.relay.to_server());
    rig.server.handle(&sent);
    rig.from_server.extend_from_slice(&rig.server.out);
    assert!(matches!(rig.relay.advance(&mut rig.from_client, &mut rig.from_server), Err(RelayError::Server(_))));
    assert!(!rig.relay.to_client().windows(6).any(|w| w == b"secret"));
}

#[test]
fn a_row_that_is_too_large_to_be_looked_at_refuses_its_result() {
    let mut rig = Rig::new(Policy { rows: Rows::Edit, ..OPEN });
    rig.from_client.extend_from_slice(&query("select 0"));
    rig.advance();
    let sent = std::mem::take(rig.relay.to_server());
    rig.server.handle(&sent);
    let mut row = vec![];
    put(&mut row, b'D', |b| b.extend([&b"\0\x01\0\0\x20\0"[..], &[b's'; 8192]].concat()));
    let replies = std::mem::take(&mut rig.server.out);
    let (_, description) = crate::pg::frame::peek(&replies).unwrap().unwrap();
    let (before, after) = replies.split_at(description);
    // Its beginning is enough: it need not be held to be refused.
    let (beginning, rest) = row.split_at(100);
    for piece in [before, beginning, rest, after] {
        rig.from_server.extend_from_slice(piece);
        rig.advance();
    }
    rig.client = std::mem::take(rig.relay.to_client());
    assert_eq!(rig.story(), "T E54000 ZI");
    assert!(rig.relay.is_idle() && !rig.client.windows(3).any(|w| w == b"sss"));
}

#[test]
fn edited_rows_replace_the_servers() {
    let policy = Policy { rows: Rows::Edit, ..OPEN };
    let rig = always(
        policy,
        &[query("select 3"), extended("select 5"), query("select 1; select 2")],
        "T D D D C ZI 1 2 T D D D D D C ZI T D C T D D C ZI",
    );
    assert!(!rig.client.windows(6).any(|w| w == b"secret"));
    assert_eq!(rig.finished.iter().map(|f| (f.rows, f.masked)).collect::<Vec<_>>(), [(3, 3), (5, 5), (3, 3)]);
}

#[test]
fn rows_that_nobody_described_are_described_for_the_gateway() {
    let policy = Policy { rows: Rows::Edit, ..OPEN };
    let script = [parse("", "select 1"), bind("", ""), execute("", 0), bare(b'S')];
    let rig = always(policy, &script, "1 2 D C ZI");
    assert!(!rig.client.windows(6).any(|w| w == b"secret"));
}

#[test]
fn a_refused_result_ends_in_an_error_and_the_session_goes_on() {
    for (rows, before) in [(Rows::RefuseAtPlan, "T"), (Rows::RefuseAfter(2), "T D D")] {
        let policy = Policy { rows, ..OPEN };
        let bytes = [query("select 4"), query("begin")].concat();
        let rig = Rig::new(policy).play(&bytes, bytes.len());
        assert_eq!(rig.story(), format!("{before} E42501 ZI C ZT"));
        assert!(!rig.client.windows(6).any(|w| w == b"secret"));
    }
}

#[test]
fn nothing_of_a_batch_follows_a_refused_result_in_it() {
    let one = |text: &str| [parse("", text), bind("", ""), named(b'D', b'P', ""), execute("", 0)].concat();
    for (rows, story) in [(Rows::RefuseAtPlan, "1 2 T E42501 ZI"), (Rows::RefuseAfter(2), "1 2 T D D E42501 ZI")] {
        let policy = Policy { rows, ..OPEN };
        let bytes = [one("select 4"), one("select 2"), one("select 1"), bare(b'S')].concat();
        let rig = Rig::new(policy).play(&bytes, bytes.len());
        assert_eq!(rig.story(), story);
        assert!(rig.relay.is_idle() && !rig.client.windows(6).any(|w| w == b"secret"));
    }
}

#[test]
fn a_refused_result_fails_its_transaction() {
    let policy = Policy { rows: Rows::RefuseAtPlan, ..OPEN };
    let script = [query("begin"), query("select 4")].concat();
    let rig = Rig::new(policy).play(&script, script.len());
    assert_eq!(rig.story(), "C ZT T E42501 ZE");
    let rig = rig.play(&[query("select 0"), query("commit")].concat(), 1000);
    assert_eq!(rig.story(), "C ZT T E42501 ZE E25P02 ZE C ZI");
    let script = [query("begin"), extended("select 4"), query("commit")].concat();
    let rig = Rig::new(policy).play(&script, 7);
    assert_eq!(rig.story(), "C ZT 1 2 T E42501 ZE C ZI");
}

#[test]
fn the_servers_words_are_withheld_where_they_may_hold_values() {
    let script = [query("select 1; fail"), extended("fail"), query("select 0")];
    let story = "T D C E42601 ZI 1 2 n E42601 ZI T C ZI";
    let says = |rig: &Rig, words: &[u8]| rig.client.windows(words.len()).any(|w| w == words);
    for (rows, words, withheld) in [
        (Rows::Unseen, Words::Withhold, false),
        (Rows::Pass, Words::Pass, false),
        // Where an error does not point into the statement, its words may come from anywhere.
        (Rows::Pass, Words::WithholdValues, true),
        (Rows::Pass, Words::Withhold, true),
    ] {
        let rig = always(Policy { rows, words, ..OPEN }, &script, story);
        assert_eq!((says(&rig, b"own words"), says(&rig, b"is withheld")), (!withheld, withheld));
    }
}

#[test]
fn unknown_messages_and_excessive_lengths_are_refused() {
    for bytes in
        [b"!\0\0\0\x04".to_vec(), b"!\0\0\x08\0".to_vec(), b"Q\0\0\x10\0".to_vec(), b"Q\0\0\0\x03".to_vec(), bare(b'R')]
    {
        let mut relay = Relay::new(LIMITS);
        let error = relay.advance(&mut BytesMut::from(&bytes[..]), &mut BytesMut::new());
        assert!(matches!(error, Err(RelayError::Client(_))), "{bytes:?}");
    }
    for bytes in [bare(b'C'), bare(b'1'), bare(b'Z'), bare(b'W'), b"D\0\0\0\x06\0\0".to_vec()] {
        let mut relay = Relay::new(LIMITS);
        let error = relay.advance(&mut BytesMut::new(), &mut BytesMut::from(&bytes[..]));
        assert!(matches!(error, Err(RelayError::Server(_))), "{bytes:?}");
    }
}

#[test]
fn a_goodbye_waits_for_what_was_asked_before_it() {
    let mut relay = Relay::new(LIMITS);
    let mut client = BytesMut::from(&[query("select 0"), bare(b'X')].concat()[..]);
    let mut server = BytesMut::new();
    assert!(matches!(relay.advance(&mut client, &mut server), Ok(Some(Event::Ask(_)))));
    relay.answer(Answer::Forward(Passage::default()));
    assert!(relay.advance(&mut client, &mut server).unwrap().is_none());
    let mut model = Server::new();
    model.handle(relay.to_server());
    server.extend_from_slice(&model.out);
    assert!(matches!(relay.advance(&mut client, &mut server), Ok(Some(Event::Finish(_)))));
    assert!(matches!(relay.advance(&mut client, &mut server), Ok(Some(Event::Terminate))));
    assert_eq!(*relay.to_client(), model.out);
    // What no Sync has followed gets no reply before one, and who leaves does not wait for it.
    let mut client = BytesMut::from(&[parse("", "select 0"), bare(b'H'), bare(b'X')].concat()[..]);
    let mut relay = Relay::new(LIMITS);
    assert!(matches!(relay.advance(&mut client, &mut server), Ok(Some(Event::Ask(_)))));
    relay.answer(Answer::Forward(Passage::default()));
    assert!(matches!(relay.advance(&mut client, &mut BytesMut::new()), Ok(Some(Event::Terminate))));
}

#[test]
fn function_calls_by_number_are_refused_in_their_place() {
    let mut call = vec![];
    put(&mut call, b'F', |b| b.extend([0; 8]));
    always(OPEN, &[query("select 0"), call, query("select 0")], "T C ZI E0A000 ZI T C ZI");
}

/// One thing that a client does, whole.
fn action() -> impl Strategy<Value = Vec<u8>> {
    let text = prop::sample::select(vec![
        "select 0",
        "select 3",
        "begin",
        "commit",
        "fail",
        "select 1; select 2",
        "",
        "copyout 2",
    ]);
    prop_oneof![
        text.clone().prop_map(query),
        text.clone().prop_filter("one statement", |t| !t.contains(';') && !t.is_empty()).prop_map(extended),
        Just([query("copyin"), copy_data(b"abc"), bare(b'c')].concat()),
        Just([parse("s", "select 2"), named(b'D', b'S', "s"), bare(b'S')].concat()),
        Just([bind("", "s"), execute("", 0), bare(b'S')].concat()),
        Just([named(b'C', b'S', "s"), bare(b'S')].concat()),
        Just([bare(b'H'), bare(b'S')].concat()),
    ]
}

proptest! {
    #[test]
    fn without_a_policy_what_comes_out_is_what_went_in(
        mut script in prop::collection::vec(action(), 1..8), piece in 1usize..200,
    ) {
        // The gateway answers for names that the server does not have; everything else must be untouched.
        let known = [parse("s", "select 2"), bare(b'S')].concat();
        script.retain(|action| !action.starts_with(&named(b'C', b'S', "s")));
        let bytes = [known, script.concat()].concat();
        let rig = Rig::new(OPEN).play(&bytes, piece);
        let mut direct = Server::new();
        direct.handle(&bytes);
        prop_assert_eq!(rig.sent, direct.taken);
        prop_assert_eq!(rig.client, direct.out);
    }

    #[test]
    fn denials_keep_both_sides_in_step(
        mut script in prop::collection::vec(action(), 1..8), piece in 1usize..200,
    ) {
        // A COPY to the client is refused by other means under a row policy.
        script.retain(|action| !action.windows(7).any(|w| w == b"copyout"));
        let policy = Policy { denied: &["select 3", "begin", "copyin", "select 1; select 2"], rows: Rows::Edit, ..OPEN };
        let bytes = script.concat();
        let rig = Rig::new(policy).play(&bytes, piece);
        for text in ["select 3", "begin", "copyin"] {
            prop_assert!(!ran(&rig, text), "{} ran", text);
        }
        prop_assert!(rig.relay.is_idle());
        prop_assert!(!rig.client.windows(6).any(|w| w == b"secret"));
        // As many batches end at the client as without a policy.
        let mut direct = Server::new();
        direct.handle(&bytes);
        let ends = |story: &str| story.split(' ').filter(|m| m.starts_with('Z')).count();
        let expected = Rig { client: direct.out, ..Rig::new(OPEN) }.story();
        prop_assert_eq!(ends(&rig.story()), ends(&expected));
    }

    #[test]
    fn junk_from_either_side_is_an_error_and_no_panic(
        client in prop::collection::vec(any::<u8>(), 0..60), server in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut relay = Relay::new(LIMITS);
        let (mut client, mut server) = (BytesMut::from(&client[..]), BytesMut::from(&server[..]));
        for _ in 0..100 {
            match relay.advance(&mut client, &mut server) {
                Ok(Some(Event::Ask(_))) => {
                    relay.answer(Answer::Forward(Passage::default()));
                },
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
    }
}
