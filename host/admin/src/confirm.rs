//! The pages of one-time links. Everything on them but the frame came from elsewhere, and is escaped.

use std::fmt::Write;

use axum::http::StatusCode;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use portcullis_verdict::text::is_hidden;
use portcullis_verdict::{ApprovalState, ApprovalView, Link};

use crate::problem::Problem;

/// No script, nothing from elsewhere, no frame around it; the form goes to where the page came from.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'";

/// Letters of scripts from right to left stand in the order in which they run.
const STYLE: &str = "body{font:1em/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}\
    pre{white-space:pre-wrap;overflow-wrap:anywhere;border:1px solid;padding:.5em;unicode-bidi:bidi-override;direction:ltr}\
    dt{font-weight:bold}dd{unicode-bidi:isolate}mark{font-family:monospace}\
    input,button{font:inherit;padding:.3em .6em}input{width:100%;box-sizing:border-box}button{margin-top:1em}";

/// Asks whether to decide as the link says.
pub(crate) fn question(link: &Link, view: &ApprovalView) -> Response {
    let verb = if link.approve { "Approve" } else { "Deny" };
    let mut body = format!("<h1>{verb} this command?</h1>");
    facts(&mut body, link, view);
    let _ = write!(
        body,
        "<form method=\"post\"><label>Your reason, for the record (may be empty)\
         <input name=\"reason\" maxlength=\"1000\" autocomplete=\"off\"></label>\
         <button>{verb} as {}</button></form>",
        safe(&link.reviewer)
    );
    page(StatusCode::OK, verb, &body)
}

/// Tells what the link has done.
pub(crate) fn done(link: &Link, view: &ApprovalView) -> Response {
    let done = if link.approve { "Approved" } else { "Denied" };
    let left = match view.state {
        ApprovalState::Open => "More people must approve before it runs.",
        _ => "There is nothing left to do.",
    };
    let body = format!("<h1>{done} as {}</h1><p>{left}</p>", safe(&link.reviewer));
    page(StatusCode::OK, done, &body)
}

/// Says why a link does not count.
pub(crate) fn refusal(problem: &Problem) -> Response {
    let body = format!("<h1>Nothing was decided</h1><p>{}</p>", safe(&problem.detail));
    page(problem.status(), "Nothing was decided", &body)
}

/// A state in a word.
pub(crate) fn state(view: &ApprovalView) -> &'static str {
    match view.state {
        ApprovalState::Approved => "approved",
        ApprovalState::Denied => "denied",
        ApprovalState::Expired => "expired",
        ApprovalState::Open => "open",
        ApprovalState::Withdrawn => "withdrawn",
    }
}

fn facts(body: &mut String, link: &Link, view: &ApprovalView) {
    let mut fact = |name: &str, value: &str| {
        let _ = write!(body, "<dt>{name}</dt><dd>{}</dd>", safe(value));
    };
    fact("Who asks", &view.principal);
    fact("Target", &view.target);
    fact("Their reason", view.reason.as_deref().unwrap_or("none was given"));
    for demand in &view.demands {
        let groups = demand.terms.any_of.join(", ");
        let demanded = format!("{}: {} ({} of {groups})", demand.policy, demand.terms.reason, demand.terms.quorum);
        fact("Demanded by", &demanded);
    }
    if !view.approvers.is_empty() {
        fact("Approved so far by", &view.approvers.join(", "));
    }
    fact("Request", &view.id);
    fact("Expires", &time(view.expires_ms.min(link.expires_ms)));
    let _ = write!(body, "<h2>What would run</h2><pre>{}</pre>", safe(&view.text));
    for (index, parameter) in view.parameters.iter().enumerate() {
        let _ = write!(body, "<h3>Parameter ${}</h3><pre>{}</pre>", index + 1, safe(parameter));
    }
}

fn time(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| "never".into(), |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}: Portcullis</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><meta name=\"robots\" content=\"noindex\">\
         <style>{STYLE}</style></head><body>{body}</body></html>"
    );
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
    ];
    (status, headers, html).into_response()
}

/// Text for a page: no markup, and what cannot be seen, looks like a space or reorders is shown as its code point.
fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' => out.push(c),
            c if is_hidden(c) => {
                let _ = write!(out, "<mark>{}</mark>", c.escape_default());
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_markup_and_nothing_is_hidden() {
        assert_eq!(safe("<b a='\"'>&\n"), "&lt;b a=&#39;&quot;&#39;&gt;&amp;\n");
        for c in ['\r', '\t', '\0', '\u{a0}', '\u{202e}'] {
            assert_eq!(safe(&c.to_string()), format!("<mark>{}</mark>", c.escape_default()));
        }
        assert_eq!(safe("naïve 東京"), "naïve 東京");
    }

    #[test]
    fn times_are_for_people() {
        assert_eq!(time(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(time(u64::MAX), "never");
    }
}
