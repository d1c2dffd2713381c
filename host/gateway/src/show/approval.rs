//! Approval requests, in a table, one by one, and as they change.

use portcullis_verdict::{ApprovalState, ApprovalView, Reuse};

use super::{quote, safe, table, time};

/// The most characters of a command in a line.
const SNIPPET: usize = 60;

/// Approval requests in a table.
pub(crate) fn approvals(views: &[ApprovalView]) -> String {
    let row = |view: &ApprovalView| {
        [
            safe(&view.id),
            state(view),
            safe(&view.principal),
            safe(&view.target),
            progress(view),
            waits(view).into(),
            if view.state == ApprovalState::Open { time(view.expires_ms) } else { "-".into() },
            snippet(&view.text),
        ]
    };
    let rows: Vec<_> = views.iter().map(row).collect();
    match rows.as_slice() {
        [] => "nothing waits for approval\n".into(),
        rows => table(["ID", "STATE", "WHO", "TARGET", "APPROVED", "WAITING", "UNTIL", "COMMAND"], rows),
    }
}

/// One request in a line, as it has become at this time.
pub(crate) fn change(view: &ApprovalView, now_ms: u64) -> String {
    let (id, state, principal, target) = (safe(&view.id), state(view), safe(&view.principal), safe(&view.target));
    let mut line = format!("{}  {id}  {state}  {principal} to {target}", time(now_ms));
    match (&view.decided, view.state) {
        (Some(decided), _) => line.push_str(&format!("  {}", safe(decided))),
        (None, ApprovalState::Open) => line.push_str(&format!("  {} approved", progress(view))),
        (None, _) => {}
    }
    format!("{line}  {}\n", snippet(&view.text))
}

/// One approval request, with the exact text that would run.
pub(crate) fn approval(view: &ApprovalView) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| out.push_str(&format!("{name:<10}{}\n", safe(value)));
    line("approval", &view.id);
    line("state", &state(view));
    line("who", &view.principal);
    line("target", &view.target);
    line("session", &format!("{}, command {}", view.session, view.sequence));
    let is_open = view.state == ApprovalState::Open;
    if is_open {
        line("waiting", if view.waiting { "a client waits for it now" } else { "no client waits for it now" });
    }
    line("opened", &time(view.opened_ms));
    if is_open || (view.state == ApprovalState::Approved && is_reusable(view)) {
        line(if is_open { "until" } else { "serves" }, &until(view));
    }
    if let Some(reason) = &view.reason {
        line("reason", reason);
    }
    for demand in &view.demands {
        let (terms, groups) = (&demand.terms, demand.terms.any_of.join(", "));
        line("demanded", &format!("by {}: {}", demand.policy, terms.reason));
        line("", &format!("{} of {groups}", people(terms.quorum)));
    }
    if !view.approvers.is_empty() {
        line("approved", &format!("{} by {}", progress(view), view.approvers.join(", ")));
    }
    if view.broken_glass {
        line("", "BROKEN GLASS: approved alone, past what was demanded");
    }
    if let Some(decided) = &view.decided {
        line("ended", decided);
    }
    line("sha256", &view.digest);
    out.push_str("what would run:\n");
    quote(&mut out, "", &view.text);
    for (index, parameter) in view.parameters.iter().enumerate() {
        quote(&mut out, &format!("${} = ", index + 1), parameter);
    }
    out
}

fn state(view: &ApprovalView) -> String {
    let state = format!("{:?}", view.state).to_lowercase();
    if view.broken_glass { format!("{state}, BROKEN GLASS") } else { state }
}

fn waits(view: &ApprovalView) -> &'static str {
    match (view.state, view.waiting) {
        (ApprovalState::Open, true) => "yes",
        (ApprovalState::Open, false) => "no",
        _ => "-",
    }
}

/// Whether a grant of it serves later commands, too.
fn is_reusable(view: &ApprovalView) -> bool {
    !view.broken_glass && view.demands.iter().all(|demand| demand.terms.reuse == Reuse::SameCommand)
}

/// Until when it is open or serves, and what for.
fn until(view: &ApprovalView) -> String {
    let time = time(view.expires_ms);
    match (view.state, is_reusable(view)) {
        (ApprovalState::Open, true) => {
            format!("{time}; granted, it serves the same command of the same principal until then")
        }
        (ApprovalState::Open, false) => format!("{time}; granted, it serves this command, once"),
        _ => format!("the same command of the same principal until {time}"),
    }
}

fn progress(view: &ApprovalView) -> String {
    let quorum = view.demands.iter().map(|demand| demand.terms.quorum).max().unwrap_or(1);
    format!("{}/{quorum}", view.approvers.len())
}

fn people(count: u32) -> String {
    if count == 1 { "1 person".into() } else { format!("{count} different people") }
}

/// The beginning of a command.
fn snippet(text: &str) -> String {
    let line = safe(text.lines().next().unwrap_or_default());
    let shown: String = line.chars().take(SNIPPET).collect();
    let more = if shown.len() < safe(text).len() { "…" } else { "" };
    shown + more
}

#[cfg(test)]
mod tests {
    use portcullis_verdict::{Demand, Terms};

    use super::*;

    fn view(reuse: Reuse) -> ApprovalView {
        let terms =
            Terms { any_of: vec!["dba".into()], quorum: 2, ttl_seconds: 60, reuse, reason: "it drops a table".into() };
        ApprovalView {
            number: 1,
            id: "k7wz".into(),
            state: ApprovalState::Open,
            session: "s".into(),
            sequence: 7,
            principal: "alice".into(),
            target: "shop".into(),
            text: "DROP TABLE orders;\n-- \x1b[2J".into(),
            digest: "ab".into(),
            parameters: vec!["17".into()],
            demands: vec![Demand { policy: "gate".into(), terms }],
            approvers: vec!["bob".into()],
            broken_glass: false,
            waiting: true,
            opened_ms: 1_700_000_000_000,
            expires_ms: 1_700_000_060_000,
            reason: Some("ticket 4711".into()),
            decided: None,
        }
    }

    #[test]
    fn a_request_shows_who_gave_what_and_what_would_run() {
        let told = approval(&view(Reuse::SameCommand));
        let expected = "\
approval  k7wz
state     open
who       alice
target    shop
session   s, command 7
waiting   a client waits for it now
opened    2023-11-14 22:13:20Z
until     2023-11-14 22:14:20Z; granted, it serves the same command of the same principal until then
reason    ticket 4711
demanded  by gate: it drops a table
          2 different people of dba
approved  1/2 by bob
sha256    ab
what would run:
  | DROP TABLE orders;
  | -- \\u{1b}[2J
  $1 = | 17
";
        assert_eq!(told, expected);
        assert!(approval(&view(Reuse::Once)).contains("granted, it serves this command, once\n"));
    }

    #[test]
    fn nobody_waits_for_what_has_ended() {
        let ended = |state, reuse| approval(&ApprovalView { state, waiting: false, ..view(reuse) });
        for told in [ended(ApprovalState::Denied, Reuse::SameCommand), ended(ApprovalState::Approved, Reuse::Once)] {
            assert!(!told.contains("\nwaiting") && !told.contains("\nuntil") && !told.contains("\nserves"), "{told}");
        }
        let serves = "\nserves    the same command of the same principal until 2023-11-14 22:14:20Z\n";
        let told = ended(ApprovalState::Approved, Reuse::SameCommand);
        assert!(told.contains(serves) && !told.contains("\nuntil"), "{told}");
    }

    #[test]
    fn broken_glass_cannot_be_overlooked() {
        let state = ApprovalState::Approved;
        let decided = Some("approved by eve: orders are stuck".into());
        let broken = ApprovalView { state, broken_glass: true, waiting: false, decided, ..view(Reuse::Once) };
        assert!(approval(&broken).contains("BROKEN GLASS: approved alone"), "{}", approval(&broken));
        assert!(approvals(std::slice::from_ref(&broken)).contains("approved, BROKEN GLASS"));
        let expected = "2023-11-14 22:13:20Z  k7wz  approved, BROKEN GLASS  alice to shop  approved by eve: orders are stuck  \
                        DROP TABLE orders;…\n";
        assert_eq!(change(&broken, 1_700_000_000_000), expected);
    }

    #[test]
    fn the_table_tells_for_whom_a_client_waits() {
        let left = ApprovalView { waiting: false, ..view(Reuse::SameCommand) };
        let ended = ApprovalView { state: ApprovalState::Expired, waiting: false, ..view(Reuse::Once) };
        let told = approvals(&[view(Reuse::Once), left, ended]);
        let expected = "\
ID    STATE    WHO    TARGET  APPROVED  WAITING  UNTIL                 COMMAND
k7wz  open     alice  shop    1/2       yes      2023-11-14 22:14:20Z  DROP TABLE orders;…
k7wz  open     alice  shop    1/2       no       2023-11-14 22:14:20Z  DROP TABLE orders;…
k7wz  expired  alice  shop    1/2       -        -                     DROP TABLE orders;…
";
        assert_eq!(told, expected);
    }
}
