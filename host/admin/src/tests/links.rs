use portcullis_verdict::{ApprovalState, Link, LinkKey};
use serde_json::json;

use super::fake::view;
use super::{Answer, Role, Running, Setup, link_key, start, start_with, token};

fn link(approval: &str) -> Link {
    Link {
        approval: approval.into(),
        digest: "d".into(),
        approve: true,
        reviewer: "rita".into(),
        webhook: "rita-mail".into(),
        expires_ms: u64::MAX,
    }
}

fn path(link: &Link) -> String {
    format!("/v1/links/{}", link_key().sign(link))
}

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

impl Running {
    async fn page(&self, link: &Link) -> Answer {
        self.get("", &path(link)).await
    }

    async fn click(&self, link: &Link, said: &str) -> Answer {
        self.ask_with("", "POST", &path(link), FORM, said).await
    }

    /// That a link does not count, neither way, and why.
    async fn refuses(&self, link: &Link, status: u16, why: &str) {
        for answer in [self.page(link).await, self.click(link, "").await] {
            assert!(answer.status == status && answer.body.contains(why), "{}: {}", answer.status, answer.body);
            assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
        }
        let answer = self.ask_with("", "POST", &path(link), "Accept: application/json\r\n", "").await;
        assert!(answer.status == status && answer.detail().contains(why), "{}", answer.body);
        assert_eq!(self.fake.calls(), [""; 0]);
    }
}

#[tokio::test]
async fn to_look_at_a_link_decides_nothing_and_to_confirm_it_does() {
    let running = start().await;
    for approve in [true, false] {
        let link = Link { approve, ..link("a1") };
        let answer = running.page(&link).await;
        assert_eq!(answer.status, 200);
        let head = running.raw(format!("HEAD {} HTTP/1.1\r\nHost: x\r\n\r\n", path(&link))).await;
        assert_eq!(head.status, 200);
        assert_eq!(running.fake.calls(), [""; 0]);
        let answer = running.click(&link, "reason=fine+%3Cb%3E").await;
        let (verb, done) = if approve { ("approve", "Approved as rita") } else { ("deny", "Denied as rita") };
        assert!(answer.status == 200 && answer.body.contains(done), "{}", answer.body);
        let call = format!("{verb} a1 as rita of dba (false) because \"fine <b>\" false rita-mail");
        assert_eq!(running.fake.calls(), [call]);
    }
}

#[tokio::test]
async fn a_page_shows_everything_and_hides_nothing() {
    let running = start().await;
    let answer = running.page(&link("a1")).await;
    let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'";
    assert_eq!(answer.header("content-security-policy"), Some(policy));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    for shown in [
        "Approve this command?",
        "Approve as rita",
        "<dd>ann</dd>",
        "<dd>orders</dd>",
        "none was given",
        "it &lt;drops&gt; a table",
        "<pre>drop table t<mark>\\u{202e}</mark> --&lt;script&gt;</pre>",
        "<pre>a&amp;b</pre>",
        "2033-05-18 03:33:20 UTC",
        "<form method=\"post\">",
    ] {
        assert!(answer.body.contains(shown), "{shown} is missing in {}", answer.body);
    }
    assert!(!answer.body.contains("<script") && !answer.body.contains('\u{202e}'), "{}", answer.body);
}

#[tokio::test]
async fn programs_confirm_with_json() {
    let running = start().await;
    let json = "Content-Type: application/json\r\nAccept: application/json\r\n";
    let answer = running.ask_with("", "POST", &path(&link("a1")), json, r#"{"reason": "fine"}"#).await;
    assert_eq!((answer.status, &answer.json()["id"]), (200, &json!("a1")));
    assert_eq!(running.fake.calls().len(), 1);
    for (headers, body) in
        [(json, r#"{"by": "x"}"#), (json, "reason=x"), (FORM, "by=x"), ("Content-Type: text/plain\r\n", "x")]
    {
        let status = running.ask_with("", "POST", &path(&link("a1")), headers, body).await.status;
        assert!((400..500).contains(&status), "{body}: {status}");
    }
    assert_eq!(running.fake.calls(), [""; 0]);
}

#[tokio::test]
async fn a_forged_link_does_not_count() {
    let running = start().await;
    let genuine = path(&link("a1"));
    let foreign = format!("/v1/links/{}", LinkKey::new(b"another secret").sign(&link("a1")));
    let (cut, _) = genuine.split_at(genuine.len() - 1);
    let long = format!("/v1/links/{}", "A".repeat(5000));
    for path in [foreign.as_str(), cut, "/v1/links/x", "/v1/links/.", &long] {
        for (method, headers) in [("GET", ""), ("POST", FORM)] {
            let answer = running.ask_with("", method, path, headers, "").await;
            assert!(answer.status == 404 && answer.body.contains("not genuine"), "{path}: {}", answer.body);
        }
    }
    assert_eq!(running.fake.calls(), [""; 0]);
}

#[tokio::test]
async fn links_that_do_not_count_any_more_say_why() {
    let running = start().await;
    let expired = Link { expires_ms: 1, ..link("a1") };
    running.refuses(&expired, 410, "has expired").await;
    running.refuses(&Link { digest: "e".into(), ..link("a1") }, 409, "another command").await;
    running.refuses(&link("none"), 404, "there is no approval none").await;
    running.fake.change(|views| {
        views[0].state = ApprovalState::Denied;
        views[0].decided = Some("bob: never".into());
    });
    running.refuses(&link("a1"), 409, "approval a1 is denied (bob: never)").await;
    running.fake.change(|views| {
        views.push(view(2, "a2"));
        views[1].principal = "rita".into();
    });
    running.refuses(&link("a2"), 403, "nobody decides on their own").await;
    running.fake.change(|views| {
        views.push(view(3, "a3"));
        views[2].approvers.push("rita".into());
    });
    running.refuses(&link("a3"), 409, "has approved this already").await;
}

#[tokio::test]
async fn a_used_link_says_so() {
    let running = start().await;
    running.fake.change(|views| views.push(view(2, "used")));
    assert_eq!(running.page(&link("used")).await.status, 200);
    let answer = running.click(&link("used"), "").await;
    assert!(answer.status == 410 && answer.body.contains("used already"), "{}", answer.body);
}

#[tokio::test]
async fn a_link_counts_only_while_its_reviewer_may_decide() {
    let running = start().await;
    for reviewer in ["aude", "ann", "nobody"] {
        let link = Link { reviewer: reviewer.into(), ..link("a1") };
        running.refuses(&link, 403, &format!("{reviewer} may not decide approvals any more")).await;
    }
    running.tokens.replace(vec![token("rita", Role::Reader)]);
    running.refuses(&link("a1"), 403, "rita may not decide").await;
    running.tokens.replace(vec![token("rita", Role::Reader), token("rita", Role::Operator)]);
    assert_eq!(running.click(&link("a1"), "").await.status, 200);
    // Not even an operator's link breaks glass.
    assert_eq!(running.fake.calls(), [r#"approve a1 as rita of dba (false) because "" false rita-mail"#]);
}

#[tokio::test]
async fn without_a_key_no_link_counts() {
    let running = start_with(Setup { links_on: false, ..Setup::default() }).await;
    running.refuses(&link("a1"), 404, "gives out no links").await;
}
