//! Notifications of what happens to approval requests.

mod body;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit as _, Mac as _};
use portcullis_verdict::text::hex;
use portcullis_verdict::{
    ApprovalDesk, ApprovalError, ApprovalEvent, ApprovalState, ApprovalView, Event, Link, StoredEvent,
};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;
use ureq::http::HeaderValue;

use crate::follow::{Consumer, Failure};
use crate::item::Item;
use crate::post::Post;
use crate::{Links, Services, Webhook, WebhookFormat};

/// After this time a notification is of no use any more.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// So long after the request has expired, neither is one about it.
const STALE_EXPIRED: Duration = Duration::from_secs(3600);

/// Tells a webhook about every event of approvals, in order.
pub(crate) struct Notifier {
    webhook: Webhook,
    links: Option<Links>,
    services: Services,
    /// The log's identifier, once it has been read.
    log: Option<String>,
    post: Option<Post>,
}

/// What is told.
struct Notice<'a> {
    event: &'a ApprovalEvent,
    /// How the request stands now; none if the store does not have it any more.
    view: Option<ApprovalView>,
    /// The same for every attempt.
    delivery: String,
    urls: Option<Urls>,
}

/// Where a decision is one click and a confirmation away.
struct Urls {
    approve: String,
    deny: String,
}

impl Notifier {
    pub(crate) fn new(webhook: Webhook, links: Option<Links>, services: &Services) -> Self {
        Self { webhook, links, services: services.clone(), log: None, post: None }
    }

    fn notify(&mut self, stored: &StoredEvent, event: &ApprovalEvent) -> Result<(), Failure> {
        let view = view(&*self.services.approvals, &event.approval)?;
        let expires_ms = view.as_ref().map(|view| view.expires_ms);
        let delivery = format!("{}-{}", self.log()?, stored.number);
        let urls = view.as_ref().and_then(|view| self.urls(event, view));
        let notice = Notice { event, view, delivery, urls };
        self.send(&notice)
            .map_err(|failure| if is_stale(stored.at_ms, expires_ms, now_ms()) { failure.give_up() } else { failure })
    }

    fn log(&mut self) -> Result<&str, Failure> {
        let log = match self.log.take() {
            Some(log) => log,
            None => {
                let head = self.services.audit.head();
                head.map_err(|error| Failure::new(error.to_string()))?.log
            }
        };
        Ok(self.log.insert(log))
    }

    /// Links for the webhook's reviewer: only while there is something to decide, and never about their own request.
    fn urls(&self, event: &ApprovalEvent, view: &ApprovalView) -> Option<Urls> {
        let (links, reviewer) = (self.links.as_ref()?, self.webhook.reviewer.as_ref()?);
        let is_open = event.what == "requested" && view.state == ApprovalState::Open && now_ms() < view.expires_ms;
        if !is_open || *reviewer == view.principal {
            return None;
        }
        let url = |approve| {
            let token = links.key.sign(&Link {
                approval: view.id.clone(),
                digest: view.digest.clone(),
                approve,
                reviewer: reviewer.clone(),
                webhook: self.webhook.name.clone(),
                expires_ms: view.expires_ms,
            });
            format!("{}/v1/links/{token}", links.base_url.trim_end_matches('/'))
        };
        Some(Urls { approve: url(true), deny: url(false) })
    }

    fn send(&mut self, notice: &Notice<'_>) -> Result<(), Failure> {
        let Webhook { url, ca, .. } = &self.webhook;
        let post = match &mut self.post {
            Some(post) => post,
            none => none.insert(Post::new(url, ca.as_deref()).map_err(Failure::configuration)?),
        };
        let body = match self.webhook.format {
            WebhookFormat::Json => body::json(notice),
            WebhookFormat::Slack => body::slack(notice),
        }
        .to_string();
        let timestamp = (now_ms() / 1000).to_string();
        let mut headers = vec![("x-portcullis-delivery", notice.delivery.clone())];
        if let Some(secret) = &self.webhook.secret {
            headers.push(("x-portcullis-signature", signature(secret, &timestamp, &body)));
        }
        headers.push(("x-portcullis-timestamp", timestamp));
        let headers: Result<Vec<_>, _> =
            headers.into_iter().map(|(name, value)| HeaderValue::try_from(value).map(|value| (name, value))).collect();
        let headers = headers.map_err(|_| Failure::configuration("its headers are not valid in HTTP"))?;
        post.send("application/json", &headers, &body)
    }
}

impl Consumer for Notifier {
    fn deliver(&mut self, items: &[Item]) -> Result<usize, Failure> {
        let others = items.iter().take_while(|item| approval(item).is_none()).count();
        match items.first().and_then(approval) {
            Some((stored, event)) => self.notify(stored, event).map(|()| 1),
            None => Ok(others),
        }
    }
}

fn approval(item: &Item) -> Option<(&StoredEvent, &ApprovalEvent)> {
    match item {
        Item::Event(chained) => match &chained.stored.event {
            Event::Approval(event) => Some((&chained.stored, event)),
            _ => None,
        },
        Item::Checkpoint(_) => None,
    }
}

fn view(desk: &dyn ApprovalDesk, id: &str) -> Result<Option<ApprovalView>, Failure> {
    match desk.show(id) {
        Ok(view) => Ok(Some(view)),
        Err(ApprovalError::Unknown(_)) => Ok(None),
        Err(error) => Err(Failure::new(error.to_string())),
    }
}

/// Whether a notification that cannot be delivered is not worth another attempt.
fn is_stale(at_ms: u64, expires_ms: Option<u64>, now_ms: u64) -> bool {
    let past = |since: u64, time: Duration| u128::from(now_ms.saturating_sub(since)) > time.as_millis();
    past(at_ms, STALE) || expires_ms.is_some_and(|expires| past(expires, STALE_EXPIRED))
}

/// `v1=` and HMAC-SHA-256 over `v1:timestamp:body` in hexadecimal.
fn signature(secret: &SecretString, timestamp: &str, body: &str) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).expect("HMAC takes keys of any length");
    for part in ["v1:", timestamp, ":", body] {
        mac.update(part.as_bytes());
    }
    format!("v1={}", hex(&mac.finalize().into_bytes()))
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_is_given_up_after_a_day_or_an_hour_after_the_request_expired() {
        const HOUR: u64 = 3_600_000;
        let day = 24 * HOUR;
        assert!(!is_stale(HOUR, Some(2 * day), HOUR + day));
        assert!(is_stale(HOUR, Some(2 * day), HOUR + day + 1));
        assert!(!is_stale(HOUR, Some(2 * HOUR), 3 * HOUR));
        assert!(is_stale(HOUR, Some(2 * HOUR), 3 * HOUR + 1));
        // A clock that was set back, and a request that is not there any more.
        assert!(!is_stale(day, None, 0));
    }

    #[test]
    fn a_signature_is_the_one_that_others_compute() {
        // printf 'v1:1700000000:{}' | openssl dgst -sha256 -hmac secret
        let expected = "v1=14ea7fd0a36d8557c745d82072f653f4e553e593c57ac365fab425da48e1c495";
        assert_eq!(signature(&"secret".into(), "1700000000", "{}"), expected);
    }
}
