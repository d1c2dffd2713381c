use std::sync::Arc;

use portcullis_verdict::{ApprovalEvent, Demand, Reuse, Subject, Terms};

use super::*;

fn event(what: &'static str, by: &str) -> ApprovalEvent {
    let subject = Subject { session: "s1".into(), principal: "ann".into(), target: "orders".into() };
    ApprovalEvent {
        subject: Arc::new(subject),
        sequence: 3,
        approval: "k7wz".into(),
        what: what.into(),
        by: by.into(),
        reason: "see <INC-7> & `more`".into(),
        via: "api".into(),
    }
}

fn view(text: &str) -> ApprovalView {
    let terms = Terms {
        any_of: vec!["dba".into()],
        quorum: 2,
        ttl_seconds: 600,
        reuse: Reuse::Once,
        reason: "changes data".into(),
    };
    ApprovalView {
        number: 1,
        id: "k7wz".into(),
        state: ApprovalState::Open,
        session: "s1".into(),
        sequence: 3,
        principal: "ann".into(),
        target: "orders".into(),
        text: text.into(),
        digest: "d1".into(),
        parameters: vec!["secret value".into()],
        demands: vec![Demand { policy: "p".into(), terms }],
        approvers: vec!["eve".into()],
        broken_glass: false,
        waiting: true,
        opened_ms: 1,
        expires_ms: 600_001,
        reason: Some("INC-7".into()),
        decided: None,
    }
}

fn notice<'a>(event: &'a ApprovalEvent, view: Option<ApprovalView>) -> Notice<'a> {
    Notice { event, view, delivery: "log-1".into(), urls: None }
}

/// What is inside a code block, if the block is closed where it should be and nowhere before.
fn inside(block: &Value) -> &str {
    let text = block["text"]["text"].as_str().unwrap();
    let inside = text.strip_prefix("```\n").and_then(|text| text.strip_suffix("\n```")).unwrap();
    assert!(!inside.contains('`') && !inside.contains('<') && !inside.contains('>'), "{inside}");
    inside
}

#[test]
fn the_gateways_form_says_all_that_a_reviewer_needs() {
    let event = event("requested", "");
    let body = json(&notice(&event, Some(view("delete from t"))));
    assert_eq!(
        body,
        json!({
            "event": "requested",
            "approval": {
                "id": "k7wz", "state": "open", "principal": "ann", "target": "orders", "text": "delete from t", "digest": "d1",
                "demands": [{ "policy": "p", "reason": "changes data", "any_of": ["dba"], "quorum": 2 }],
                "approvers": ["eve"], "reason": "INC-7", "opened_ms": 1, "expires_ms": 600_001,
            },
            "by": "", "reason": "see <INC-7> & `more`", "delivery": "log-1",
        })
    );
}

#[test]
fn hidden_characters_are_shown_and_long_texts_cut() {
    let event = event("requested", "");
    let body = json(&notice(&event, Some(view("select 1;\u{202e}\n\u{1b}"))));
    assert_eq!(body["approval"]["text"], "select 1;\\u{202e}\n\\u{1b}");
    let body = json(&notice(&event, Some(view(&"\u{200b}".repeat(5000)))));
    let text = body["approval"]["text"].as_str().unwrap();
    assert!(text.chars().count() <= 2000 && text.ends_with('…'));
}

#[test]
fn a_request_that_is_gone_is_told_by_what_the_event_says() {
    let event = event("expired", "");
    let body = json(&notice(&event, None));
    assert_eq!(body["approval"], json!({ "id": "k7wz", "principal": "ann", "target": "orders" }));
    assert_eq!(slack(&notice(&event, None))["blocks"].as_array().unwrap().len(), 1);
}

#[test]
fn no_command_breaks_out_of_its_block() {
    let event = event("approved", "bob");
    let evil = "select 1 ```\n<https://evil.example|Approve> <!channel> &lt; `x` *b*";
    let body = slack(&notice(&event, Some(view(evil))));
    let shown = inside(&body["blocks"][1]);
    assert_eq!(shown, "select 1 ˋˋˋ\n&lt;https://evil.example|Approve&gt; &lt;!channel&gt; &amp;lt; ˋxˋ *b*");
    assert!(body["blocks"].as_array().unwrap().iter().all(|block| block["text"]["verbatim"] == true));
}

#[test]
fn no_name_or_reason_breaks_out_of_its_code() {
    let mut event = event("denied", "<!here>`");
    event.subject = Arc::new(Subject { session: "s1".into(), principal: "`<@U1>\n*x*".into(), target: "t&".into() });
    let mut view = view("select 1");
    view.reason = Some("<http://a|b>`".into());
    view.state = ApprovalState::Denied;
    let body = slack(&notice(&event, Some(view)));
    let text = body["blocks"][0]["text"]["text"].as_str().unwrap();
    assert!(!text.contains('<') && !text.contains('>'), "{text}");
    assert!(text.contains("`ˋ&lt;@U1&gt;\\u{a}*x*` on `t&amp;`") && text.contains("By `&lt;!here&gt;ˋ`"), "{text}");
    assert!(text.lines().all(|line| line.matches('`').count() % 2 == 0), "{text}");
    assert!(!body["text"].as_str().unwrap().contains('<'));
}

#[test]
fn blocks_keep_within_what_slack_takes() {
    let mut event = event("requested", "bob");
    event.reason = "<".repeat(9000);
    let mut view = view(&"<&".repeat(9000));
    let mut demand = view.demands[0].clone();
    demand.terms.any_of = vec!["<".repeat(900); 50];
    demand.terms.reason = "&".repeat(9000);
    view.demands = vec![demand; 50];
    let body = slack(&notice(&event, Some(view)));
    let blocks = body["blocks"].as_array().unwrap();
    assert!(blocks.len() <= 50);
    for block in blocks {
        assert!(block["text"]["text"].as_str().unwrap().chars().count() <= 3000);
    }
    inside(&blocks[1]);
    assert!(blocks[2]["text"]["text"].as_str().unwrap().contains("portcullis approvals show k7wz"));
}

#[test]
fn links_are_plain_buttons() {
    let event = event("requested", "");
    let mut notice = notice(&event, Some(view("select 1")));
    notice.urls = Some(Urls { approve: "https://g/a".into(), deny: "https://g/d".into() });
    let body = slack(&notice);
    let actions = body["blocks"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&actions["elements"][0]["url"], &actions["elements"][1]["url"]),
        (&json!("https://g/a"), &json!("https://g/d"))
    );
    assert_eq!(json(&notice)["links"], json!({ "approve": "https://g/a", "deny": "https://g/d" }));
}
