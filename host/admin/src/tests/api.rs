use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::described::{operations, template};
use super::fake::{EVENTS, Sinking, view};
use super::{Role, Setup, start, start_with, token};
use crate::Admin;

/// Every endpoint that wants a token, and whom it serves: approver, reader, operator. Streams are asked for elsewhere.
const ENDPOINTS: [(&str, &str, &str, [bool; 3]); 18] = [
    ("GET", "/metrics", "", [true, true, true]),
    ("GET", "/v1/sessions", "", [false, true, true]),
    ("GET", "/v1/sessions/recent", "", [false, true, true]),
    ("GET", "/v1/sessions/s1/events", "", [false, true, true]),
    ("GET", "/v1/sessions/s1/recording", "", [false, true, true]),
    ("DELETE", "/v1/sessions/s1", "", [false, false, true]),
    ("GET", "/v1/approvals", "", [true, true, true]),
    ("GET", "/v1/approvals?all=true", "", [true, true, true]),
    ("GET", "/v1/approvals/a1", "", [true, true, true]),
    ("POST", "/v1/approvals/a1/approve", "{}", [true, false, true]),
    ("POST", "/v1/approvals/a1/deny", "{}", [true, false, true]),
    ("GET", "/v1/audit/head", "", [false, true, true]),
    ("GET", "/v1/audit/events", "", [false, true, true]),
    ("GET", "/v1/audit/export", "", [false, true, true]),
    ("GET", "/v1/audit/checkpoints", "", [false, true, true]),
    ("GET", "/v1/policies", "", [false, true, true]),
    ("POST", "/v1/policies/block/rollback", "", [false, false, true]),
    ("POST", "/v1/reload", "", [false, false, true]),
];

#[tokio::test]
async fn each_role_opens_what_it_should_and_no_more() {
    let running = start().await;
    for (method, path, body, allowed) in ENDPOINTS {
        for (who, allowed) in ["rita", "aude", "olaf"].iter().zip(allowed) {
            running.fake.calls();
            let status = running.ask(who, method, path, body).await.status;
            assert_eq!(status, if allowed { 200 } else { 403 }, "{who}: {method} {path}");
            assert!(allowed || running.fake.calls().is_empty(), "{who}: {method} {path} did something");
        }
        running.fake.calls();
        for stranger in ["", "eve"] {
            let status = running.ask(stranger, method, path, body).await.status;
            assert_eq!(status, 401, "{stranger}: {method} {path}");
            assert!(running.fake.calls().is_empty(), "{stranger}: {method} {path} did something");
        }
    }
}

#[test]
fn no_endpoint_with_a_token_is_left_out_above() {
    let tested = ENDPOINTS.map(|(method, path, ..)| (method.to_owned(), template(path).unwrap()));
    let mut tested = BTreeSet::from(tested);
    tested.extend(super::streams::STREAMS.map(|path| ("GET".to_owned(), template(path).unwrap())));
    let described = operations().into_iter().filter(|(.., token)| *token).map(|(method, path, _)| (method, path));
    assert_eq!(tested, described.collect());
}

#[tokio::test]
async fn a_path_has_the_methods_of_the_document_and_no_others() {
    let running = start().await;
    for (_, path, _) in operations() {
        let has = |method: &str| operations().iter().any(|(m, p, _)| m == method && *p == path);
        let concrete = path.replace("{id}", "nobody").replace("{token}", "x");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let refused = running.ask("", method, &concrete, "").await.status == 405;
            assert_eq!(refused, !has(method), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn only_a_bearer_token_counts() {
    let running = start().await;
    let get = |header: &str| running.raw(format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n"));
    assert_eq!(get("Authorization: bearer olaf-secret").await.status, 200);
    for header in [
        "Authorization: Basic olaf-secret",
        "Authorization: Bearer",
        "Authorization: olaf-secret",
        "Cookie: olaf-secret",
    ] {
        let answer = get(header).await;
        assert!(answer.status == 401 && answer.header("www-authenticate") == Some("Bearer"), "{header}");
    }
}

#[tokio::test]
async fn replaced_tokens_count_at_once() {
    let running = start().await;
    running.tokens.replace(vec![token("nils", Role::Operator)]);
    assert_eq!(running.get("olaf", "/v1/sessions").await.status, 401);
    assert_eq!(running.get("nils", "/v1/sessions").await.status, 200);
    running.tokens.replace(vec![]);
    assert_eq!(running.get("nils", "/v1/sessions").await.status, 401);
}

#[tokio::test]
async fn health_and_readiness_tell_strangers_little() {
    let running = start().await;
    let get = async |who: &str, path: &str| {
        let answer = running.get(who, path).await;
        (answer.status, answer.json())
    };
    assert_eq!(get("", "/healthz").await, (200, json!({ "alive": true })));
    assert_eq!(get("", "/readyz").await, (200, json!({ "ready": true })));
    let expected =
        json!({ "ready": true, "reasons": [], "held_closed": ["pii \"x\""], "last_refusal": "nobody signed it" });
    assert_eq!(get("rita", "/readyz").await, (200, expected));
    running.draining.store(true, Ordering::Relaxed);
    assert_eq!(get("", "/readyz").await, (503, json!({ "ready": false })));
    let (status, body) = get("rita", "/readyz").await;
    assert!(status == 503 && body["reasons"][0].as_str().unwrap().contains("drains"), "{body}");
    assert_eq!(get("eve", "/readyz").await.0, 401);
    assert_eq!(get("", "/healthz").await.0, 200);
}

#[tokio::test]
async fn the_document_is_served_to_everybody() {
    let running = start().await;
    let answer = running.get("", "/v1/openapi.json").await;
    assert_eq!((answer.status, answer.body), (200, crate::openapi()));
}

#[tokio::test]
async fn metrics_are_what_was_counted() {
    let running = start().await;
    let answer = running.get("aude", "/metrics").await;
    assert_eq!(answer.status, 200);
    for line in [
        "# TYPE portcullis_rows counter",
        "portcullis_rows_total 42",
        "portcullis_glass_broken_total 3",
        "portcullis_recordings_stopped_total 0",
        "portcullis_delivery_failures_total 0",
        "portcullis_sessions_active 0",
        "portcullis_policy_generation 4",
        "portcullis_policy_refused 1",
        "portcullis_policy_calls_total{policy=\"pii \\\"x\\\"\"} 9",
        "portcullis_policy_faults_total{policy=\"pii \\\"x\\\"\"} 3",
        "portcullis_policy_serving{policy=\"pii \\\"x\\\"\"} 0",
        concat!("portcullis_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        "# EOF",
    ] {
        assert!(answer.body.lines().any(|l| l == line), "{line} is missing in\n{}", answer.body);
    }
}

#[tokio::test]
async fn sessions_and_their_events_are_shown() {
    let running = start().await;
    let body = running.get("aude", "/v1/sessions").await.json();
    assert_eq!((&body["items"][0]["principal"], &body["next"]), (&json!("ann"), &Value::Null));
    let body = running.get("aude", "/v1/sessions/recent?limit=2").await.json();
    assert_eq!((&body["items"][0]["number"], &body["items"][0]["ended"]), (&json!(1233), &json!("client left")));
    assert_eq!(body["next"], "1225");
    let body = running.get("aude", "/v1/sessions/recent?limit=2&cursor=1225").await.json();
    assert_eq!(body["items"][0]["number"], 1217);
    let body = running.get("aude", "/v1/sessions/s1/events?limit=3").await.json();
    assert_eq!(body["items"][1]["event"]["Command"]["facts"]["sql"]["statements"][0]["verb"], "UPDATE");
    let answer = running.get("aude", "/v1/sessions/nobody/events").await;
    assert!(answer.status == 404 && answer.detail().contains("sessions list"), "{}", answer.body);
    assert_eq!(running.get("aude", "/v1/sessions/nobody/events?cursor=5").await.json()["items"], json!([]));
    let answer = running.get("aude", "/v1/sessions/broken/events").await;
    assert!(answer.status == 503 && answer.detail().contains("disk is full"), "{}", answer.body);
    let answer = running.get("aude", "/v1/sessions/panics/events").await;
    assert!(answer.status == 500 && !answer.body.contains("a panic in the store"), "{}", answer.body);
}

/// Follows `next` to the end: the numbers of all items, and the number of pages.
async fn walk(running: &super::Running, path: &str) -> (Vec<u64>, usize) {
    let (mut numbers, mut pages, mut next) = (vec![], 0, String::new());
    loop {
        let body = running.get("aude", &format!("{path}{next}")).await.json();
        numbers.extend(body["items"].as_array().unwrap().iter().map(|item| item["number"].as_u64().unwrap()));
        pages += 1;
        assert!(pages < 100, "the list of {path} has no end");
        let Some(cursor) = body["next"].as_str() else { return (numbers, pages) };
        next = format!("&cursor={cursor}");
    }
}

#[tokio::test]
async fn lists_come_in_pages_without_gaps_or_repetitions() {
    let running = start().await;
    let up: Vec<u64> = (1..=EVENTS).collect();
    let down: Vec<u64> = (1..=EVENTS).rev().collect();
    assert_eq!(walk(&running, "/v1/sessions/s1/events?limit=1000").await, (up.clone(), 2));
    assert_eq!(walk(&running, "/v1/audit/events?limit=77").await, (down.clone(), 17));
    assert_eq!(walk(&running, "/v1/audit/checkpoints?limit=5").await.0, (1..=12).map(|n| n * 100).collect::<Vec<_>>());
    let openings: Vec<u64> = down.into_iter().filter(|number| number % 8 == 1).collect();
    assert_eq!(walk(&running, "/v1/sessions/recent?limit=10").await.0, openings);
    // Many bytes end a page before its limit does.
    let (numbers, pages) = walk(&running, "/v1/audit/export?limit=1000").await;
    assert!(numbers == up && pages > 20, "{pages} pages");
    assert_eq!(running.fake.calls().iter().filter(|call| call.starts_with("export")).count(), pages, "read at once");
    running.fake.change(|views| views.extend((2..=120).map(|number| view(number, &format!("a{number}")))));
    assert_eq!(walk(&running, "/v1/approvals?limit=50").await, ((1..=120).rev().collect(), 3));
}

#[tokio::test]
async fn a_page_is_bounded_whatever_is_asked_for() {
    let running = start().await;
    let count = async |query: &str| {
        let body = running.get("aude", &format!("/v1/sessions/s1/events{query}")).await.json();
        body["items"].as_array().unwrap().len()
    };
    assert_eq!(count("?limit=99999999").await, 1000);
    assert_eq!(count("?limit=0").await, 1);
    assert_eq!(count("").await, 100);
}

#[tokio::test]
async fn what_is_not_a_cursor_or_a_limit_is_refused() {
    let running = start().await;
    let lists =
        ["sessions/recent", "sessions/s1/events", "approvals", "audit/events", "audit/export", "audit/checkpoints"];
    for list in lists {
        for query in ["cursor=x", "cursor=-1", "cursor=", "cursor=99999999999999999999", "limit=x", "after=1"] {
            let answer = running.get("olaf", &format!("/v1/{list}?{query}")).await;
            assert_eq!(answer.status, 400, "{list}?{query}: {}", answer.body);
        }
    }
}

#[tokio::test]
async fn a_search_passes_every_field_of_the_filter_on() {
    let running = start().await;
    let found =
        async |query: &str| walk(&running, &format!("/v1/audit/events?limit=1000&{query}")).await.0.len() as u64;
    let all = EVENTS / 8;
    for query in [
        "kind=command",
        "verdict=allow",
        "text=UPDATE%20T%20SET",
        "policy=p&kind=finish",
        "session=s1&principal=ann&target=orders&from_ms=8&to_ms=9&kind=command",
    ] {
        assert!([all, all + 1].contains(&found(query).await), "{query}");
    }
    for query in ["principal=bob", "target=x", "session=x", "from_ms=9", "to_ms=8", "policy=x", "verdict=x", "text=xyz"]
    {
        assert_eq!(found(query).await, 0, "{query}");
    }
    assert_eq!(running.get("aude", "/v1/audit/events?princpal=bob").await.status, 400);
    assert_eq!(running.get("aude", "/v1/audit/head").await.json()["last"], EVENTS);
}

#[tokio::test]
async fn an_end_of_a_session_is_recorded_first_and_done_in_any_case() {
    let running = start().await;
    running.fake.calls();
    let killed = ["append kill by olaf: session s1 of ann to orders", "kill s1 by olaf"];
    for sinking in [Sinking::Done, Sinking::Later, Sinking::Failed] {
        *running.fake.sinking.lock().unwrap() = sinking;
        let answer = running.ask("olaf", "DELETE", "/v1/sessions/s1", "").await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "killed": "s1" })));
        assert_eq!(running.fake.calls(), killed);
    }
    assert_eq!(running.ask("olaf", "DELETE", "/v1/sessions/s2", "").await.status, 404);
    assert_eq!(running.fake.calls(), [""; 0]);
}

#[tokio::test]
async fn a_reload_is_recorded_first_and_not_done_where_it_cannot_be() {
    let running = start().await;
    *running.fake.sinking.lock().unwrap() = Sinking::Failed;
    let answer = running.ask("olaf", "POST", "/v1/reload", "").await;
    assert!(answer.status == 503 && answer.detail().contains("disk is full"), "{}", answer.body);
    let asked = "append reload by olaf: asked for over the admin API";
    assert_eq!(running.fake.calls(), [asked]);
    *running.fake.sinking.lock().unwrap() = Sinking::Later;
    let answer = running.ask("olaf", "POST", "/v1/reload", "").await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "reloaded": "generation 5" })));
    let answer = running.ask("olaf", "POST", "/v1/reload", "").await;
    assert_eq!((answer.status, answer.detail()), (409, "line 3: unknown key".into()));
    assert_eq!(running.fake.calls(), [asked, "reload", asked, "reload"]);
    let running = start_with(Setup { audit_on: false, ..Setup::default() }).await;
    assert_eq!(running.ask("olaf", "POST", "/v1/reload", "").await.status, 200);
    assert_eq!(running.fake.calls(), ["reload"]);
}

#[tokio::test(start_paused = true)]
async fn an_audit_that_hangs_delays_the_end_of_a_session_only_and_refuses_a_reload() {
    let running = start().await;
    *running.fake.sinking.lock().unwrap() = Sinking::Never;
    assert_eq!(running.ask("olaf", "DELETE", "/v1/sessions/s1", "").await.status, 200);
    assert_eq!(running.ask("olaf", "POST", "/v1/reload", "").await.status, 503);
    assert!(!running.fake.calls().contains(&"reload".to_owned()));
}

#[tokio::test]
async fn decisions_are_made_as_the_token_s_holder() {
    let running = start().await;
    let answer = running.ask("rita", "POST", "/v1/approvals/a1/approve", r#"{"reason": "fine"}"#).await;
    assert_eq!((answer.status, &answer.json()["id"]), (200, &json!("a1")));
    let broken = r#"{"reason": "the shop is down", "break_glass": true}"#;
    assert_eq!(running.ask("olaf", "POST", "/v1/approvals/a1/approve", broken).await.status, 200);
    assert_eq!(running.ask("olaf", "POST", "/v1/approvals/a1/deny", r#"{"reason": "no"}"#).await.status, 200);
    let calls = [
        r#"approve a1 as rita of dba (false) because "fine" false -"#,
        r#"approve a1 as olaf of dba (true) because "the shop is down" true -"#,
        r#"deny a1 as olaf of dba (true) because "no" false -"#,
    ];
    assert_eq!(running.fake.calls(), calls);
    for (id, expected) in [("none", 404), ("own", 403), ("other", 403), ("ended", 409), ("twice", 409), ("disk", 503)] {
        for verb in ["approve", "deny"] {
            let path = format!("/v1/approvals/{id}/{verb}");
            assert_eq!(running.ask("rita", "POST", &path, "{}").await.status, expected, "{verb} {id}");
        }
    }
    for (id, expected) in [("glass", 403), ("terse", 422)] {
        let path = format!("/v1/approvals/{id}/approve");
        assert_eq!(running.ask("rita", "POST", &path, r#"{"break_glass": true}"#).await.status, expected, "{id}");
    }
}

#[tokio::test]
async fn what_is_not_a_decision_decides_nothing() {
    let running = start().await;
    for body in ["", "no json", r#"{"by": "ann"}"#, r#"{"reason": 1}"#, r#"{"break_glass": "yes"}"#] {
        let status = running.ask("rita", "POST", "/v1/approvals/a1/approve", body).await.status;
        assert!((400..500).contains(&status), "{body}: {status}");
    }
    assert_eq!(running.ask("rita", "POST", "/v1/approvals/a1/deny", r#"{"break_glass": true}"#).await.status, 422);
    let long = "x".repeat((64 << 10) + 1);
    assert_eq!(running.ask("rita", "POST", "/v1/approvals/a1/approve", &long).await.status, 413);
    // What a page of another site can send without being asked for permission: no JSON.
    let plain = "Content-Type: text/plain\r\n";
    assert_eq!(running.ask_with("rita", "POST", "/v1/approvals/a1/approve", plain, "{}").await.status, 415);
    assert_eq!(running.fake.calls(), [""; 0]);
}

#[tokio::test]
async fn approvals_and_policies_are_told() {
    let running = start().await;
    let body = running.get("rita", "/v1/approvals").await.json();
    assert_eq!(body["items"][0]["demands"][0]["terms"]["reuse"], "same-command");
    running.get("rita", "/v1/approvals?all=true&limit=5&cursor=9").await;
    assert_eq!(running.fake.calls(), ["list false None 50", "list true Some(9) 5"]);
    assert_eq!(running.get("rita", "/v1/approvals/none").await.status, 404);
    let body = running.get("olaf", "/v1/policies").await.json();
    assert_eq!(
        (&body["generation"], &body["last_refusal"]),
        (&json!(4), &json!({ "step": "verify", "reason": "nobody signed it", "at_ms": 2 }))
    );
    assert_eq!(body["policies"][0]["state"], "held-closed");
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let running = start().await;
    let answer = running.get("olaf", "/v2").await;
    assert!(answer.status == 404 && answer.detail().contains("openapi.json"), "{}", answer.body);
    assert_eq!(answer.json()["title"], "Not Found");
    let answer = running.ask("olaf", "PUT", "/v1/reload", "").await;
    assert!(answer.status == 405 && answer.detail().contains("no such method"), "{}", answer.body);
    assert_eq!(running.get("olaf", "/v1/approvals?al=true").await.status, 400);
}

#[tokio::test]
async fn it_stops_and_an_address_in_use_is_named() {
    let mut running = start().await;
    let Err(error) = Admin::bind(running.address, None).await else { panic!("bound twice") };
    assert!(error.to_string().contains(&running.address.to_string()), "{error}");
    running.stop().await;
    assert!(TcpStream::connect(running.address).await.is_err());
}
