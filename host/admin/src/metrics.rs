//! The metrics, in the OpenMetrics text format that Prometheus reads.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_verdict::{PolicyState, Stats};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::Services;

pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Labels are few and fixed: the version, and the names of the configured policies.
type Labels = Vec<(&'static str, String)>;

/// Reads everything that is counted elsewhere into a page.
pub(crate) fn page(services: &Services) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("portcullis");
    let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The version that runs", version);
    count(&mut registry, &services.stats);
    count_policies(&mut registry, services);
    let mut page = String::new();
    encode(&mut page, &registry)?;
    Ok(page)
}

fn count(registry: &mut Registry, stats: &Stats) {
    let mut gauge = |name: &str, help: &str, value: &AtomicU64| {
        registry.register(name, help, ConstGauge::new(value.load(Ordering::Relaxed)));
    };
    gauge("sessions_active", "Sessions open now", &stats.sessions_active);
    gauge("holds_active", "Commands held for approval now", &stats.holds_active);
    let mut counter = |name: &str, help: &str, value: &AtomicU64| {
        registry.register(name, help, ConstCounter::new(value.load(Ordering::Relaxed)));
    };
    counter("sessions_opened", "Sessions opened", &stats.sessions_opened);
    counter("logins_refused", "Connections that did not become a session", &stats.logins_refused);
    counter("commands_allowed", "Commands allowed", &stats.commands_allowed);
    counter("commands_denied", "Commands denied", &stats.commands_denied);
    counter("commands_held", "Commands held for approval", &stats.commands_held);
    counter("rows", "Rows sent to clients", &stats.rows);
    counter("cells_masked", "Cells that a policy changed", &stats.cells_masked);
    counter("results_refused", "Results refused or ended by a policy or a limit", &stats.results_refused);
    counter("upstream_failures", "Upstream connections that could not be opened", &stats.upstream_failures);
    counter("protocol_errors", "Sessions ended because a peer broke the protocol", &stats.protocol_errors);
    counter("audit_failures", "Events that the audit could not take", &stats.audit_failures);
    counter("glass_broken", "Approvals given alone in an emergency", &stats.glass_broken);
    counter("recordings_stopped", "Recordings that are not whole", &stats.recordings_stopped);
    counter("delivery_failures", "Deliveries to webhooks and sinks that failed", &stats.delivery_failures);
}

fn count_policies(registry: &mut Registry, services: &Services) {
    let generation = ConstGauge::new(services.policies.generation());
    registry.register("policy_generation", "How often the set of policies was swapped", generation);
    let refused = ConstGauge::new(u64::from(services.rollout.refusal().is_some()));
    registry.register("policy_refused", "1 while the newest configuration is refused", refused);
    let counts = services.rollout.counts();
    let mut counter = |name: &str, help: &str, value| registry.register(name, help, ConstCounter::new(value));
    counter("policy_changes_applied", "Changes of configuration or packages that were put in force", counts.applied);
    counter("policy_changes_refused", "Changes of configuration or packages that were refused", counts.refused);
    counter("policy_rollbacks", "Policies that were taken back to what was in force before", counts.rolled_back);
    let info = Family::<Labels, Gauge>::default();
    for origin in services.rollout.origins() {
        info.get_or_create(&vec![("policy", origin.policy), ("package_version", origin.version)]).set(1);
    }
    registry.register("policy_package", "The version of the package that is in force", info);
    let (calls, faults) = (Family::<Labels, Counter>::default(), Family::<Labels, Counter>::default());
    let serving = Family::<Labels, Gauge>::default();
    for policy in services.policies.status() {
        let labels = vec![("policy", policy.name)];
        calls.get_or_create(&labels).inc_by(policy.calls);
        faults.get_or_create(&labels).inc_by(policy.faults);
        serving.get_or_create(&labels).set((policy.state == PolicyState::Serving).into());
    }
    registry.register("policy_calls", "Questions that a policy was asked", calls);
    registry.register("policy_faults", "Questions that a policy failed to answer", faults);
    registry.register("policy_serving", "1 while a policy answers, 0 while it is held closed", serving);
}
