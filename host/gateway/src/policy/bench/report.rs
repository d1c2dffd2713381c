//! What a package costs, against its budget.

use std::collections::BTreeMap;
use std::fmt;

use portcullis_engine::Hook;
use portcullis_package::{Budget, Package};
use serde_json::{Value, json};

use crate::policy::cost::{Cost, quantile, time};
use crate::show::table;

/// What the calls of one hook cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) calls: usize,
    pub(super) failed: usize,
    pub(super) median_ns: u64,
    pub(super) p99_ns: u64,
    /// The most that a call consumed.
    pub(super) fuel: Option<u64>,
    /// The most that an instance held.
    pub(super) memory_kib: u64,
    /// For a hook that is handed values: the time over their number.
    pub(super) ns_per_value: Option<u64>,
}

impl Figures {
    pub(super) fn new(costs: &[Cost], fuel: Option<u64>, values: u64) -> Self {
        let mut nanos: Vec<u64> = costs.iter().map(|cost| cost.nanos).collect();
        let total: u64 = nanos.iter().sum();
        Self {
            calls: costs.len(),
            failed: costs.iter().filter(|cost| cost.failed).count(),
            median_ns: quantile(&mut nanos, 50),
            p99_ns: quantile(&mut nanos, 99),
            fuel,
            memory_kib: costs.iter().map(|cost| cost.memory_bytes.div_ceil(1024)).max().unwrap_or(0),
            ns_per_value: total.checked_div(values),
        }
    }
}

/// What one package costs.
pub(super) struct Report {
    package: String,
    version: String,
    hooks: BTreeMap<Hook, Figures>,
    /// What is over its budget, or cannot be held against it: hook, budget, figure.
    pub(super) over: Vec<String>,
}

impl Report {
    pub(super) fn new(package: &Package, hooks: BTreeMap<Hook, Figures>) -> Self {
        let about = &package.manifest.package;
        let budgets = &package.manifest.budget;
        let mut over: Vec<String> = hooks
            .iter()
            .filter(|(_, figures)| figures.failed > 0)
            .map(|(hook, figures)| format!("{hook} failed in {} of {} calls", figures.failed, figures.calls))
            .collect();
        for (budgeted, budget) in budgets {
            let name = budgeted.as_str();
            match hooks.iter().find(|(hook, _)| hook.as_str() == name) {
                Some((_, figures)) => over.extend(excess(name, budget, figures)),
                None => over.push(format!("{name} has a budget, but no case asks it")),
            }
        }
        Self { package: about.name.clone(), version: about.version.clone(), hooks, over }
    }
}

/// Where figures exceed a budget.
fn excess(hook: &str, budget: &Budget, figures: &Figures) -> Vec<String> {
    let Budget { micros, fuel, memory_kib } = *budget;
    let mut over = Vec::new();
    if let Some(most) = micros.filter(|most| figures.median_ns > most.saturating_mul(1000)) {
        over.push(format!("{hook} takes {} in the median, its budget is micros = {most}", time(figures.median_ns)));
    }
    if let (Some(most), Some(fuel)) = (fuel, figures.fuel)
        && fuel > most
    {
        over.push(format!("{hook} consumes {fuel} units of fuel, its budget is fuel = {most}"));
    }
    if let Some(most) = memory_kib.filter(|most| figures.memory_kib > *most) {
        over.push(format!("{hook} leaves {} KiB of memory, its budget is memory-kib = {most}", figures.memory_kib));
    }
    over
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.package, self.version)?;
        let row = |(hook, figures): (&Hook, &Figures)| {
            [
                format!("  {hook}"),
                figures.calls.to_string(),
                time(figures.median_ns),
                time(figures.p99_ns),
                figures.fuel.map(|fuel| fuel.to_string()).unwrap_or_default(),
                format!("{} KiB", figures.memory_kib),
                figures.ns_per_value.map(|ns| format!("{ns} ns")).unwrap_or_default(),
            ]
        };
        let rows: Vec<_> = self.hooks.iter().map(row).collect();
        write!(f, "{}", table(["  hook", "calls", "median", "p99", "fuel", "memory", "a value"], &rows))?;
        self.over.iter().try_for_each(|over| writeln!(f, "  OVER  {over}"))
    }
}

/// Reports for machines.
pub(super) fn show(reports: &[Report]) -> Value {
    let hook = |(hook, figures): (&Hook, &Figures)| {
        let Figures { calls, failed, median_ns, p99_ns, fuel, memory_kib, ns_per_value } = figures;
        let shown = json!({
            "calls": calls, "failed": failed, "median_ns": median_ns, "p99_ns": p99_ns,
            "fuel": fuel, "memory_kib": memory_kib, "ns_per_value": ns_per_value,
        });
        (hook.as_str().to_owned(), shown)
    };
    let report = |Report { package, version, hooks, over }: &Report| {
        let hooks: serde_json::Map<_, _> = hooks.iter().map(hook).collect();
        json!({"package": package, "version": version, "hooks": hooks, "over": over})
    };
    reports.iter().map(report).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        let cost = |nanos| Cost { hook: Hook::Check, nanos, fuel: None, memory_bytes: 65_536, failed: nanos > 8000 };
        Figures::new(&[cost(9000), cost(1000), cost(5000)], Some(700), 0)
    }

    #[test]
    fn figures_are_of_all_calls() {
        let figures = figures();
        assert_eq!((figures.calls, figures.failed, figures.median_ns, figures.memory_kib), (3, 1, 5000, 64));
        assert_eq!(figures.ns_per_value, None);
        let filter = Cost { hook: Hook::Filter, nanos: 1024, fuel: None, memory_bytes: 0, failed: false };
        assert_eq!(Figures::new(&[filter; 2], None, 512).ns_per_value, Some(4));
    }

    #[test]
    fn a_budget_names_hook_figure_and_bound() {
        let over = |micros, fuel, memory_kib| excess("check", &Budget { micros, fuel, memory_kib }, &figures());
        assert_eq!(over(Some(5), Some(700), Some(64)), Vec::<String>::new());
        assert_eq!(over(Some(4), None, None), ["check takes 5.0 µs in the median, its budget is micros = 4"]);
        assert_eq!(over(None, Some(699), None), ["check consumes 700 units of fuel, its budget is fuel = 699"]);
        assert_eq!(over(None, None, Some(63)), ["check leaves 64 KiB of memory, its budget is memory-kib = 63"]);
    }
}
