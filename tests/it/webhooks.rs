//! Who is told of held commands, and decides by a link.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use portcullis_tests::gateway::{Gateway, Options};
use portcullis_tests::place::{Scratch, free_port};
use portcullis_tests::postgres::Postgres;
use portcullis_tests::process::until;
use portcullis_tests::receiver::{Received, Receiver, Reply};
use serde_json::Value;

use crate::held::{SOON, await_state, finish, hold, hold_as, refused, show};
use crate::support::{shop, write_private};

const SECRET: &str = "webhook-secret-Tg7-0123456789";

/// A gateway that holds changes of the schema on these terms, and tells these webhooks.
fn telling(postgres: &Postgres, terms: &str, webhooks: &str) -> Options {
    let rule = "[[policy.settings.rules]]\nname = \"schema-change\"\neffects = [\"ddl\"]\nany_of = [\"reviewers\"]";
    let mut options =
        Options::before(postgres).with("review", "policies/review-schema-changes", &format!("{rule}\n{terms}"));
    options.admin = "public_url = \"http://localhost:9/gate/\"\n".into();
    options.more = webhooks.into();
    options
}

fn webhook(name: &str, url: &str, more: &str) -> String {
    format!("[[approvals.webhook]]\nname = \"{name}\"\nurl = \"{url}\"\n{more}\n")
}

fn body(received: &Received) -> Value {
    serde_json::from_str(&received.body).unwrap()
}

/// Waits until a webhook has taken what happened to a request.
fn told(receiver: &Receiver, what: &str, id: &str) -> (Received, Value) {
    let fits = |one: &Received| {
        let body = body(one);
        one.is_accepted() && body["event"] == what && body["approval"]["id"] == id
    };
    let received = receiver.wait(&format!("{what} is told of {id}"), fits).unwrap();
    let body = body(&received);
    (received, body)
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

#[test]
fn a_notification_is_signed_and_repeated_until_it_is_taken() {
    let postgres = shop();
    let receiver = Receiver::start(0, [Reply::Fail, Reply::Fail, Reply::Cut]).unwrap();
    let scratch = Scratch::new("webhook").unwrap();
    write_private(&scratch, "secret", SECRET);
    write_private(&scratch, "url", &receiver.url("/hook?a=b"));
    let hook = webhook("audit-bot", "file:url", "secret = \"file:secret\"");
    let gateway = Gateway::start_in(scratch, telling(&postgres, "reason = \"ask first\"\n", &hook)).unwrap();
    let text = "create table held_\u{202e}a (id integer)";
    let held = hold_as(&gateway, "alice", &["set portcullis.reason = 'ticket 42'", text]);
    let (_, told_of) = told(&receiver, "requested", &held.id);
    let view = show(&gateway, &held.id).unwrap();
    let approval = &told_of["approval"];
    for key in ["id", "principal", "target", "digest", "reason", "approvers", "opened_ms", "expires_ms", "state"] {
        assert!(approval[key] == view[key] && !view[key].is_null(), "{key}: {told_of}\n{view}");
    }
    assert_eq!(approval["text"], "create table held_\\u{202e}a (id integer)", "people see what would be invisible");
    let demand = &approval["demands"][0];
    assert_eq!((&demand["policy"], &demand["reason"]), (&"review".into(), &"ask first".into()));
    assert_eq!((&demand["any_of"][0], &demand["quorum"]), (&"reviewers".into(), &1.into()));
    assert!(told_of.get("links").is_none(), "nobody knows who reads it");
    finish(&gateway, held, "deny");
    let id = approval["id"].as_str().unwrap();
    let (_, denied) = told(&receiver, "denied", id);
    assert_eq!((&denied["by"], &denied["approval"]["state"]), (&"bob".into(), &"denied".into()));

    let received = receiver.received();
    assert_eq!(received.len(), 5, "four attempts of the first, one of the second: {received:#?}");
    let deliveries: Vec<_> = received.iter().map(|one| one.header("x-portcullis-delivery").unwrap()).collect();
    assert!(deliveries[..4].iter().all(|delivery| *delivery == deliveries[0]) && deliveries[4] != deliveries[0]);
    for one in &received {
        assert_eq!((one.method.as_str(), one.path.as_str()), ("POST", "/hook?a=b"));
        assert_eq!(one.header("content-type").unwrap(), "application/json");
        assert_eq!(body(one)["delivery"], one.header("x-portcullis-delivery").unwrap());
        verify(one);
    }
    assert!(!gateway.log().unwrap().contains("a=b"), "the URL may be a secret");
    let metrics = gateway.http("/metrics", Some("rita")).unwrap();
    assert!(metrics.contains("portcullis_delivery_failures_total 3"), "{metrics}");
}

/// As the documentation tells receivers to: HMAC-SHA-256 over `v1:timestamp:body`, and a timestamp that is of now.
fn verify(one: &Received) {
    let timestamp = one.header("x-portcullis-timestamp").unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(timestamp.parse::<u64>().unwrap().abs_diff(now) < 300, "{timestamp}");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = ring::hmac::sign(&key, format!("v1:{timestamp}:{}", one.body).as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(one.header("x-portcullis-signature").unwrap(), format!("v1={hex}"));
}

#[test]
fn what_happens_while_a_receiver_is_down_is_told_when_both_are_back() {
    let postgres = shop();
    let port = free_port().unwrap();
    let url = format!("http://127.0.0.1:{port}/");
    let mut options = telling(&postgres, "", &webhook("chat", &url, ""));
    options.more.push_str("[limits]\ndrain_s = 1\n");
    let mut gateway = Gateway::start(options).unwrap();
    // One that was told, so that there is something to repeat wrongly.
    let receiver = Receiver::start(port, []).unwrap();
    let held = hold(&gateway, "create table held_1 (id integer)");
    let first = held.id.clone();
    finish(&gateway, held, "deny");
    told(&receiver, "denied", &first);
    drop(receiver);

    let held = hold(&gateway, "create table held_2 (id integer)");
    let second = held.id.clone();
    finish(&gateway, held, "approve");
    until("it is tried in vain", SOON, || {
        ensure!(gateway.log()?.contains("webhook chat failed"), "{}", gateway.log()?);
        Ok(())
    })
    .unwrap();
    gateway.restart().unwrap();
    let held = hold(&gateway, "create table held_3 (id integer)");
    let third = held.id.clone();
    // It waits for the disk, so that the crash takes nothing.
    gateway.ask("bob", &["approvals", "list", "--all"]).unwrap();
    gateway.kill().unwrap();
    held.end();
    let receiver = Receiver::start(port, []).unwrap();
    gateway.restart().unwrap();
    told(&receiver, "withdrawn", &third);

    // Each once or more, under its own number, and in order.
    let mut seen: Vec<(String, String, String)> = Vec::new();
    for one in receiver.received() {
        let body = body(&one);
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        let event = (word(&body["delivery"]), word(&body["event"]), word(&body["approval"]["id"]));
        if !seen.contains(&event) {
            seen.push(event);
        }
    }
    let all: Vec<_> = seen.iter().map(|(_, what, id)| (what.as_str(), id.as_str())).collect();
    // The last of before may come again, since how far a webhook had come is kept now and then.
    let all: Vec<_> = all.into_iter().filter(|(_, id)| *id != first).collect();
    let expected = [("requested", &second), ("approved", &second), ("requested", &third), ("withdrawn", &third)];
    assert_eq!(all, expected.map(|(what, id)| (what, id.as_str())));
    let deliveries: std::collections::BTreeSet<_> = seen.iter().map(|(delivery, ..)| delivery).collect();
    assert_eq!(deliveries.len(), seen.len(), "each event has a delivery of its own: {seen:?}");
}

#[test]
fn a_receiver_that_says_nothing_holds_up_nobody() {
    let postgres = shop();
    let (silent, other) = (Receiver::start(0, vec![Reply::Stall; 99]).unwrap(), Receiver::start(0, []).unwrap());
    let hooks = webhook("silent", &silent.url("/"), "") + &webhook("other", &other.url("/"), "");
    let mut gateway = Gateway::start(telling(&postgres, "", &hooks)).unwrap();
    let held = hold(&gateway, "create table held_s (id integer)");
    silent.wait("the silent one is told", |_| true).unwrap();
    let id = held.id.clone();
    finish(&gateway, held, "approve");
    told(&other, "approved", &id);
    assert_eq!(postgres.sql("shop", "select count(*) from held_s").unwrap(), "0");
    gateway.stop().unwrap();
    assert!(silent.received().iter().all(|one| body(one)["event"] == "requested"), "one by one");
}

#[test]
fn nothing_goes_where_a_receiver_sends_it() {
    let postgres = shop();
    let elsewhere = Receiver::start(0, []).unwrap();
    let receiver = Receiver::start(0, vec![Reply::Redirect(elsewhere.url("/taken")); 99]).unwrap();
    let mut options = telling(&postgres, "", &webhook("bobs", &receiver.url("/hook"), "reviewer = \"bob\""));
    options.more.push_str("[limits]\ndrain_s = 1\n");
    let mut gateway = Gateway::start(options).unwrap();
    let held = hold(&gateway, "create table held_x (id integer)");
    receiver.wait("it redirects", |_| true).unwrap();
    until("that is an error", SOON, || {
        let log = gateway.log()?;
        ensure!(log.contains("answered 307"), "{log}");
        Ok(())
    })
    .unwrap();
    finish(&gateway, held, "deny");
    gateway.stop().unwrap();
    assert!(elsewhere.received().is_empty(), "{:?}", elsewhere.received());
    let log = gateway.log().unwrap();
    assert!(!log.contains("/v1/links/") && !log.contains("/taken"), "{log}");
}

#[test]
fn slack_and_its_kind_get_their_form() {
    let postgres = shop();
    let receiver = Receiver::start(0, []).unwrap();
    let hooks = webhook("team", &receiver.url("/team"), "format = \"slack\"")
        + &webhook("bobs", &receiver.url("/bob"), "format = \"slack\"\nreviewer = \"bob\"");
    let gateway = Gateway::start(telling(&postgres, "", &hooks)).unwrap();
    let text = "create table held_s (id integer) /* <!channel> ``` \u{202e} <https://evil.example|fine> */";
    let held = hold(&gateway, text);
    let id = held.id.clone();
    let wait = |path: &str, words: &str| {
        let received = receiver.wait(words, |one| one.path == path && one.body.contains(words)).unwrap();
        (received.body.clone(), body(&received))
    };
    for (path, has_buttons) in [("/team", false), ("/bob", true)] {
        let (raw, message) = wait(path, "Approval requested");
        // The fallback for notifications, and what is shown.
        assert!(message["text"].as_str().is_some_and(|text| text.contains(&id) && text.contains("alice")), "{raw}");
        let blocks = message["blocks"].as_array().unwrap();
        let kinds: Vec<_> = blocks.iter().map(|block| block["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, if has_buttons { vec!["section", "section", "actions"] } else { vec!["section", "section"] });
        for section in &blocks[..2] {
            let text = &section["text"];
            assert_eq!((&text["type"], &text["verbatim"]), (&"mrkdwn".into(), &true.into()));
            assert!(text["text"].as_str().unwrap().chars().count() <= 3000);
        }
        let facts = blocks[0]["text"]["text"].as_str().unwrap();
        for part in ["`alice`", "`shop`", "`review`", "`reviewers`", "<!date^"] {
            assert!(facts.contains(part), "{part} is missing in {facts}");
        }
        let code = blocks[1]["text"]["text"].as_str().unwrap();
        let inner = code.strip_prefix("```\n").and_then(|code| code.strip_suffix("\n```")).unwrap();
        assert!(inner.contains("create table held_s") && inner.contains("\\u{202e}"), "{inner}");
        assert!(!inner.contains(['<', '>', '`', '\u{202e}']), "{inner}");
        assert_eq!(raw.contains("/v1/links/"), has_buttons);
    }
    let (_, message) = wait("/bob", "Approval requested");
    for (index, word, style) in [(0, "Approve", "primary"), (1, "Deny", "danger")] {
        let button = &message["blocks"][2]["elements"][index];
        assert_eq!((&button["type"], &button["style"]), (&"button".into(), &style.into()));
        assert!(button["text"]["text"].as_str().unwrap().starts_with(word), "{button}");
        assert!(button["url"].as_str().unwrap().starts_with("http://localhost:9/gate/v1/links/"), "{button}");
    }
    // The buttons are those of the request, so bob's works.
    let url = message["blocks"][2]["elements"][1]["url"].as_str().unwrap();
    assert_eq!(status(&gateway.post(path(url), "", "").unwrap()), "200");
    assert!(held.end().2.contains("bob denied"));
    let (raw, _) = wait("/bob", "Denied");
    assert!(raw.contains("`bob`") && !raw.contains("/v1/links/"), "{raw}");
}

/// The path of a link, as the interface itself has it: what stands before it is somebody else's.
fn path(url: &str) -> &str {
    url.strip_prefix("http://localhost:9/gate").unwrap()
}

/// What a webhook of bob's says of a request: the paths of its links.
fn links(receiver: &Receiver, id: &str) -> (String, String) {
    let (_, message) = told(receiver, "requested", id);
    let link = |verb: &str| path(message["links"][verb].as_str().unwrap()).to_owned();
    (link("approve"), link("deny"))
}

fn links_of_bob(postgres: &Postgres, terms: &str) -> (Gateway, Receiver) {
    let receiver = Receiver::start(0, []).unwrap();
    let hook = webhook("bobs", &receiver.url("/"), "reviewer = \"bob\"");
    (Gateway::start(telling(postgres, terms, &hook)).unwrap(), receiver)
}

#[test]
fn a_link_decides_when_it_is_confirmed_and_once() {
    let postgres = shop();
    let (gateway, receiver) = links_of_bob(&postgres, "");
    let text = "create table held_l (id integer) /* <script>alert(1)</script> \u{202e} */";
    let held = hold(&gateway, text);
    let (approve, deny) = links(&receiver, &held.id);
    for (link, verb) in [(&approve, "Approve"), (&deny, "Deny")] {
        let page = gateway.http(link, None).unwrap();
        assert_eq!(status(&page), "200", "{page}");
        let (head, html) = page.split_once("\r\n\r\n").unwrap();
        let head = head.to_lowercase();
        for header in
            ["content-type: text/html", "content-security-policy: default-src 'none'", "cache-control: no-store"]
        {
            assert!(head.contains(header), "{header} is missing in {head}");
        }
        assert!(html.contains("<form method=\"post\">") && html.contains(&format!("{verb} as bob")), "{html}");
        assert!(html.contains("&lt;script&gt;") && !html.contains("<script"), "{html}");
        assert!(html.contains("<mark>\\u{202e}</mark>") && !html.contains('\u{202e}'), "{html}");
    }
    assert_eq!(show(&gateway, &held.id).unwrap()["state"], "open", "to look decides nothing");
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let answer = gateway.post(&approve, form, "reason=ticket+12").unwrap();
    assert!(status(&answer) == "200" && answer.contains("Approved as bob"), "{answer}");
    let id = held.id.clone();
    let (ended, _, words) = held.end();
    assert!(ended.success(), "{words}");
    assert_eq!(postgres.sql("shop", "select count(*) from held_l").unwrap(), "0");
    for link in [&approve, &deny] {
        for answer in [gateway.post(link, form, "").unwrap(), gateway.http(link, None).unwrap()] {
            assert!(status(&answer) == "409" && answer.contains("approval") && !answer.contains("<form"), "{answer}");
        }
    }
    let found = gateway.ask("rita", &["audit", "search", "--verdict", "approved"]).unwrap();
    assert!(found.contains(&format!("{id} approved by bob via link bobs: ticket 12")), "{found}");
    let (_, approved) = told(&receiver, "approved", &id);
    assert!(approved.get("links").is_none(), "{approved}");
}

#[test]
fn the_links_of_a_request_are_used_up_by_the_first() {
    let postgres = shop();
    let (mut gateway, receiver) = links_of_bob(&postgres, "quorum = 2\n");
    let held = hold_as(&gateway, "dora", &["create table held_q (id integer)"]);
    let (approve, deny) = links(&receiver, &held.id);
    let json = "Accept: application/json\r\nContent-Type: application/json\r\n";
    let answer = gateway.post(&approve, json, "{\"reason\": \"fine\"}").unwrap();
    let view: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!((&view["state"], &view["approvers"][0]), (&"open".into(), &"bob".into()), "{answer}");
    // The other one would end the request, which is open still.
    let (_, first) = told(&receiver, "approved", &held.id);
    let approval = &first["approval"];
    assert_eq!((&approval["state"], &approval["approvers"][0]), (&"open".into(), &"bob".into()), "{first}");
    assert!(first.get("links").is_none(), "bob has spoken: {first}");
    let second = gateway.post(&approve, json, "{}").unwrap();
    assert!(status(&second) == "409" && second.contains("application/problem+json"), "{second}");
    let other = gateway.post(&deny, json, "{}").unwrap();
    assert!(status(&other) == "410" && other.contains("this link has been used already"), "{other}");
    let quorum = |gateway: &Gateway| {
        let view = show(gateway, &held.id).unwrap();
        assert_eq!((&view["state"], view["approvers"].as_array().unwrap().len()), (&"open".into(), 1), "{view}");
    };
    quorum(&gateway);
    // Nor does the person approve a second time by another way, or after a change of the configuration.
    assert!(
        refused(&gateway.cli("bob", &["approvals", "approve", &held.id]).unwrap()).contains("approved this already")
    );
    gateway.configure(|options| options.more.push_str("[log]\nlevel = \"info\"\n")).unwrap();
    assert!(gateway.reload().unwrap().status.success());
    assert_eq!(status(&gateway.post(&deny, json, "{}").unwrap()), "410");
    quorum(&gateway);
    gateway.ask("alice", &["approvals", "approve", &held.id]).unwrap();
    let (ended, _, words) = held.end();
    assert!(ended.success(), "{words}");
}

#[test]
fn a_link_that_was_changed_or_is_too_late_decides_nothing() {
    let postgres = shop();
    let (mut gateway, receiver) = links_of_bob(&postgres, "ttl_seconds = 10\n");
    let held = hold(&gateway, "create table held_f (id integer)");
    let (approve, deny) = links(&receiver, &held.id);
    let (body, tag) = approve.rsplit_once('.').unwrap();
    let swapped = format!("{}.{tag}", deny.rsplit_once('.').unwrap().0);
    let (first, middle) = (body.len() - 4, body.len() / 2);
    let changed = |link: &str, at: usize| {
        let other = if link.as_bytes()[at] == b'A' { "B" } else { "A" };
        format!("{}{other}{}", &link[..at], &link[at + 1..])
    };
    let forged = [
        changed(&approve, first),
        changed(&approve, middle),
        changed(&approve, body.len() + 5),
        swapped,
        body.to_owned(),
    ];
    for link in &forged {
        for answer in [gateway.post(link, "", "").unwrap(), gateway.http(link, None).unwrap()] {
            assert!(status(&answer) == "404" && answer.contains("not genuine"), "{link}: {answer}");
        }
    }
    assert_eq!(show(&gateway, &held.id).unwrap()["state"], "open");
    let id = held.id.clone();
    let (_, _, words) = held.end();
    assert!(words.contains("expired before anybody decided"), "{words}");
    await_state(&gateway, &id, "expired");
    for link in [&approve, &deny] {
        let answer = gateway.post(link, "", "").unwrap();
        assert!(status(&answer) == "410" && answer.contains("has expired"), "{answer}");
    }
    // A link decides only as long as its reviewer may.
    gateway
        .configure(|options| options.policies = options.policies.replace("ttl_seconds = 10", "ttl_seconds = 600"))
        .unwrap();
    assert!(gateway.reload().unwrap().status.success());
    let held = hold(&gateway, "create table held_f (id integer)");
    let (approve, _) = links(&receiver, &held.id);
    let config = gateway.directory().join("portcullis.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let bob = "name = \"bob\"\ngroups = [\"reviewers\"]\nrole = \"approver\"\n";
    assert!(text.contains(bob));
    std::fs::write(&config, text.replace(bob, &bob.replace("reviewers", "others"))).unwrap();
    assert!(gateway.reload().unwrap().status.success());
    let answer = gateway.post(&approve, "", "").unwrap();
    assert!(status(&answer) == "403" && answer.contains("it takes a member of reviewers"), "{answer}");
    assert_eq!(show(&gateway, &held.id).unwrap()["state"], "open");
    std::fs::write(&config, text).unwrap();
    assert!(gateway.reload().unwrap().status.success());
    finish(&gateway, held, "deny");
    assert_eq!(postgres.sql("shop", "select count(*) from pg_class where relname = 'held_f'").unwrap(), "0");
}

#[test]
fn a_link_outlives_client_and_gateway_with_its_request() {
    let postgres = shop();
    let (mut gateway, receiver) = links_of_bob(&postgres, "reuse = \"same-command\"\n");
    let text = "create table held_r (id integer)";
    let held = hold(&gateway, text);
    let (approve, deny) = links(&receiver, &held.id);
    held.signal("KILL");
    let id = held.id.clone();
    held.end();
    let (_, left) = told(&receiver, "left", &id);
    assert_eq!(left["approval"]["state"], "open");
    gateway.restart().unwrap();
    assert_eq!(status(&gateway.http(&approve, None).unwrap()), "200");
    let answer = gateway.post(&approve, "", "").unwrap();
    assert!(status(&answer) == "200" && answer.contains("Approved as bob"), "{answer}");
    told(&receiver, "approved", &id);
    gateway.restart().unwrap();
    for link in [&approve, &deny] {
        assert_eq!(status(&gateway.post(link, "", "").unwrap()), "409", "it serves once, whatever happens");
    }
    assert_eq!(gateway.query("alice", text).unwrap(), (String::new(), String::new()));
}

#[test]
fn nobody_gets_links_to_their_own_request() {
    let postgres = shop();
    let receiver = Receiver::start(0, []).unwrap();
    let hook = webhook("alices", &receiver.url("/"), "reviewer = \"alice\"");
    let gateway = Gateway::start(telling(&postgres, "", &hook)).unwrap();
    let held = hold(&gateway, "create table held_o (id integer)");
    let (raw, message) = told(&receiver, "requested", &held.id);
    assert!(message.get("links").is_none() && !raw.body.contains("/v1/links/"), "{}", raw.body);
    finish(&gateway, held, "deny");
    let held = hold_as(&gateway, "dora", &["create table held_o (id integer)"]);
    let (approve, _) = links(&receiver, &held.id);
    assert_eq!(status(&gateway.post(&approve, "", "").unwrap()), "200");
    assert!(held.end().0.success());
}
