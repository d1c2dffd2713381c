//! What a client is told while its command waits for people.

use jiff::Timestamp;
use portcullis_verdict::{Demand, Hold};
use portcullis_wire::pg::message::Fault;

/// Tells that a command is held at this time, what it waits for, until when, and what leaving means. Nothing if it need not wait.
pub(super) fn notice(hold: &Hold, now_ms: u64) -> Option<Fault> {
    if hold.demands.is_empty() {
        return None;
    }
    let demands: Vec<String> = hold.demands.iter().map(demand).collect();
    let left = hold.expires_ms.saturating_sub(now_ms).div_ceil(1000);
    let leaving = if hold.stays_open {
        "Cancelling or disconnecting withdraws this command; the request stays open, and once it is approved the same command passes."
    } else {
        "Cancelling or disconnecting withdraws it."
    };
    let detail = format!("{} Until {} ({left} s). {leaving}", demands.join(" "), time(hold.expires_ms));
    Some(Fault::notice("01000", format!("portcullis: held for approval {}", hold.id)).with_detail(detail))
}

/// What becomes of the request when its client cancels the command.
pub(super) fn after_cancel(hold: &Hold) -> &'static str {
    if hold.stays_open { "The request stays open." } else { "The approval request is withdrawn." }
}

fn demand(demand: &Demand) -> String {
    let Demand { policy, terms } = demand;
    let reason = terms.reason.trim_end_matches('.');
    let reason = if reason.is_empty() { String::new() } else { format!(" {reason}.") };
    format!("policy \"{policy}\":{reason} {} of {} must approve.", terms.quorum, terms.any_of.join(", "))
}

fn time(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX);
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use portcullis_verdict::{Reuse, Terms};

    use super::*;

    fn hold(demands: Vec<Demand>, stays_open: bool) -> Hold {
        let outcome = Box::pin(std::future::pending());
        Hold { id: "k7fq".into(), demands, expires_ms: 1_795_553_592_000, stays_open, outcome }
    }

    fn two_of(reason: &str) -> Demand {
        let any_of = vec!["dba".into(), "lead".into()];
        let terms = Terms { any_of, quorum: 2, ttl_seconds: 300, reuse: Reuse::Once, reason: reason.into() };
        Demand { policy: "review-schema-changes".into(), terms }
    }

    #[test]
    fn a_held_client_learns_what_it_waits_for_and_until_when() {
        let demands = vec![two_of("schema changes need a second pair of eyes")];
        let notice = notice(&hold(demands, false), 1_795_553_292_500).unwrap();
        assert_eq!(notice.message, "portcullis: held for approval k7fq");
        assert_eq!(
            notice.detail.unwrap(),
            "policy \"review-schema-changes\": schema changes need a second pair of eyes. 2 of dba, lead must approve. \
             Until 2026-11-24 20:53:12Z (300 s). Cancelling or disconnecting withdraws it."
        );
    }

    #[test]
    fn every_demand_is_told_and_what_stays_open_is_said_to() {
        let detail = notice(&hold(vec![two_of("why."), two_of("")], true), 0).unwrap().detail.unwrap();
        let expected = "policy \"review-schema-changes\": why. 2 of dba, lead must approve. \
             policy \"review-schema-changes\": 2 of dba, lead must approve. Until ";
        assert!(detail.starts_with(expected), "{detail}");
        assert!(
            detail.ends_with("the request stays open, and once it is approved the same command passes."),
            "{detail}"
        );
    }

    #[test]
    fn whoever_need_not_wait_is_told_nothing() {
        assert_eq!(notice(&hold(vec![], true), 0), None);
    }

    #[test]
    fn a_time_that_no_calendar_has_is_no_panic() {
        assert!(time(u64::MAX).starts_with("9999-"));
    }
}
