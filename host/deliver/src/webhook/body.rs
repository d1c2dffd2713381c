//! What a notification says.

use portcullis_verdict::{ApprovalState, ApprovalView};
use serde_json::{Value, json};

use super::{Notice, Urls};
use crate::visible::{Lines, bounded, visible};

/// The longest text of a command that is shown.
const TEXT_CHARS: usize = 2000;

/// The longest name, reason or the like that is shown.
const WORD_CHARS: usize = 500;

/// How many of a list's members are shown.
const MEMBERS: usize = 20;

/// The longest text in a block of Slack's, which takes 3000 characters with all escapes.
const BLOCK_CHARS: usize = 2800;

/// The longest word in a line of Slack's.
const SLACK_CHARS: usize = 200;

/// The gateway's own form.
pub(super) fn json(notice: &Notice<'_>) -> Value {
    let event = notice.event;
    let mut body = json!({
        "event": event.what,
        "approval": approval(notice),
        "by": word(&event.by),
        "reason": word(&event.reason),
        "delivery": notice.delivery,
    });
    if let Some(Urls { approve, deny }) = &notice.urls {
        body["links"] = json!({ "approve": approve, "deny": deny });
    }
    body
}

fn approval(notice: &Notice<'_>) -> Value {
    let event = notice.event;
    let Some(view) = &notice.view else {
        // The store does not have it any more; this is what the event says.
        return json!({
            "id": event.approval,
            "principal": word(&event.subject.principal),
            "target": word(&event.subject.target),
        });
    };
    json!({
        "id": view.id,
        "state": view.state,
        "principal": word(&view.principal),
        "target": word(&view.target),
        "text": visible(&view.text, TEXT_CHARS, Lines::Many),
        "digest": view.digest,
        "demands": view.demands.iter().take(MEMBERS).map(|demand| json!({
            "policy": word(&demand.policy),
            "reason": word(&demand.terms.reason),
            "any_of": words(&demand.terms.any_of),
            "quorum": demand.terms.quorum,
        })).collect::<Vec<_>>(),
        "approvers": words(&view.approvers),
        "reason": view.reason.as_deref().map(word),
        "opened_ms": view.opened_ms,
        "expires_ms": view.expires_ms,
    })
}

fn word(text: &str) -> String {
    visible(text, WORD_CHARS, Lines::One)
}

fn words(texts: &[String]) -> Vec<String> {
    texts.iter().take(MEMBERS).map(|text| word(text)).collect()
}

/// The form of Slack and its kind.
pub(super) fn slack(notice: &Notice<'_>) -> Value {
    let event = notice.event;
    let about =
        format!("{} on {} ({})", code(&event.subject.principal), code(&event.subject.target), code(&event.approval));
    let title = title(&event.what);
    let mut lines = vec![format!("*{title}*: {about}")];
    if !event.by.is_empty() {
        lines.push(format!("By {}", code(&event.by)));
    }
    if !event.reason.is_empty() {
        lines.push(format!("Reason: {}", said(&event.reason)));
    }
    let mut blocks = Vec::new();
    if let Some(view) = &notice.view {
        lines.extend(facts(view));
        blocks.push(section(&fitting(&lines)));
        blocks.push(section(&format!("```\n{}\n```", block(&view.text))));
        if view.text.chars().count() > TEXT_CHARS {
            blocks.push(section(&format!("This is not all of it: `portcullis approvals show {}`", bare(&view.id))));
        }
    } else {
        blocks.push(section(&fitting(&lines)));
    }
    if let Some(Urls { approve, deny }) = &notice.urls {
        blocks.push(json!({
            "type": "actions",
            "elements": [button("Approve …", approve, "primary"), button("Deny …", deny, "danger")],
        }));
    }
    json!({ "text": format!("{title}: {about}"), "blocks": blocks })
}

/// What happened, in people's words.
fn title(what: &str) -> String {
    match what {
        "requested" => "Approval requested".into(),
        "approved" => "Approved".into(),
        "denied" => "Denied".into(),
        "revoked" => "Revoked, it serves no more".into(),
        "expired" => "Expired".into(),
        "withdrawn" => "Withdrawn".into(),
        "left" => "The client left, the request stays open".into(),
        "joined" => "Another command waits for it".into(),
        "broken-glass" => ":rotating_light: Glass broken".into(),
        other => said(other),
    }
}

/// What a reviewer needs to know besides the command.
fn facts(view: &ApprovalView) -> Vec<String> {
    let mut facts = Vec::new();
    if let Some(reason) = &view.reason {
        facts.push(format!("Justification: {}", said(reason)));
    }
    for demand in view.demands.iter().take(5) {
        let terms = &demand.terms;
        let groups: Vec<_> = terms.any_of.iter().take(5).map(|group| code(group)).collect();
        let (policy, groups, reason) = (code(&demand.policy), groups.join(", "), said(&terms.reason));
        facts.push(format!("{policy} wants {} of {groups}: {reason}", terms.quorum));
    }
    if view.state == ApprovalState::Open {
        let approvers: Vec<_> = view.approvers.iter().take(5).map(|name| code(name)).collect();
        if !approvers.is_empty() {
            facts.push(format!("Approved so far by {}; still open", approvers.join(", ")));
        }
        let seconds = view.expires_ms / 1000;
        // Shown in the reader's time zone.
        facts.push(format!("Until <!date^{seconds}^{{date_short_pretty}} {{time}}|{seconds} (Unix time)>"));
    }
    facts
}

/// As many whole lines as a block has room for: cut within, a line could leave code open.
fn fitting(lines: &[String]) -> String {
    let mut text = String::new();
    for line in lines {
        if text.chars().count() + line.chars().count() > BLOCK_CHARS {
            text.push('…');
            break;
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}

fn section(text: &str) -> Value {
    // `verbatim`: nothing in it becomes a link, a channel or a name.
    json!({ "type": "section", "text": { "type": "mrkdwn", "text": text, "verbatim": true } })
}

fn button(text: &str, url: &str, style: &str) -> Value {
    json!({ "type": "button", "text": { "type": "plain_text", "text": text }, "url": url, "style": style })
}

/// A word as code, in which nothing is formatted.
fn code(text: &str) -> String {
    format!("`{}`", bare(text))
}

/// Someone's words, as code as well: they are not the gateway's own.
fn said(text: &str) -> String {
    if text.is_empty() { "–".into() } else { code(text) }
}

fn bare(text: &str) -> String {
    escaped(&visible(text, SLACK_CHARS, Lines::One), SLACK_CHARS)
}

fn block(text: &str) -> String {
    escaped(&visible(text, TEXT_CHARS, Lines::Many), BLOCK_CHARS)
}

/// Nothing in it is a link, a mention or the end of the code that it is in.
fn escaped(text: &str, most: usize) -> String {
    bounded(text, most, |c, shown| match c {
        '&' => shown.push_str("&amp;"),
        '<' => shown.push_str("&lt;"),
        '>' => shown.push_str("&gt;"),
        // Slack has no escape for it within code.
        '`' => shown.push('ˋ'),
        c => shown.push(c),
    })
}

#[cfg(test)]
mod tests;
