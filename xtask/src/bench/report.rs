//! The page of figures.

use std::fmt::Write as _;
use std::process::Command;

use portcullis_tests::process::run;

use super::peers::Peer;
use super::{Rounds, Run, Workload};

/// The aims, by workload and peer: what is compared, with whom, and the bound.
const AIMS: &[(&str, Peer, Peer, f64, f64)] = &[
    ("select-only, 1 client, simple", Peer::Open, Peer::PgBouncer, 1.0, 1.1),
    ("select-only, 1 client, prepared", Peer::Open, Peer::PgBouncer, 1.0, 1.1),
    ("select-only, 8 clients, simple", Peer::Open, Peer::PgBouncer, 1.0, 1.1),
    ("select-only, 8 clients, prepared", Peer::Open, Peer::PgBouncer, 1.0, 1.1),
    ("select-only, 1 client, simple", Peer::Guarded, Peer::PgBouncer, 0.9, 1.5),
    ("select-only, 1 client, prepared", Peer::Guarded, Peer::PgBouncer, 0.9, 1.5),
    ("select-only, 8 clients, simple", Peer::Guarded, Peer::PgBouncer, 0.9, 1.5),
    ("select-only, 8 clients, prepared", Peer::Guarded, Peer::PgBouncer, 0.9, 1.5),
    ("100 k rows × 5 columns", Peer::Open, Peer::Direct, 1.0, f64::INFINITY),
    ("100 k rows × 5 columns", Peer::Masked, Peer::Direct, 0.95, f64::INFINITY),
    ("100 k rows × 5 columns", Peer::Scanned, Peer::Direct, 0.65, f64::INFINITY),
    ("new connections, SCRAM on both sides", Peer::Open, Peer::PgBouncer, 1.0, f64::INFINITY),
    ("new connections, 8 clients, SCRAM on both sides", Peer::Open, Peer::PgBouncer, 1.0, f64::INFINITY),
];

pub(super) fn name(peer: Peer) -> &'static str {
    match peer {
        Peer::Direct => "direct",
        Peer::PgBouncer => "PgBouncer, session mode",
        Peer::Open => "Portcullis, no policy",
        Peer::Audited => "Portcullis, no policy, audit (interval)",
        Peer::Strict => "Portcullis, no policy, audit (strict)",
        Peer::Recorded => "Portcullis, no policy, audit, results recorded",
        Peer::Guarded => "Portcullis, block + approve + mask, audit",
        Peer::Masked => "Portcullis, one column masked",
        Peer::Scanned => "Portcullis, every text column scanned",
    }
}

/// The middle one.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The median over the rounds of what one round gives.
pub(super) fn over(rounds: &Rounds, value: impl Fn(&[Run]) -> f64) -> f64 {
    median(rounds.iter().map(|runs| value(runs)).collect())
}

/// The page with this section in the place of the one under the same heading, or else before the aims.
pub(super) fn with_section(page: &str, heading: &str, section: &str) -> String {
    let (before, after) = match self::section(page, heading) {
        "" => page.split_at(page.find("## Aims").unwrap_or(page.len())),
        old => page.split_once(old).unwrap_or((page, "")),
    };
    format!("{before}{section}{after}")
}

/// The section of a page under this heading, or nothing.
pub(super) fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let found = page.find(heading).map_or("", |start| &page[start..]);
    found.find("\n## ").map_or(found, |end| &found[..=end])
}

/// Writes the page. `sections` are those that were measured elsewhere.
pub(super) fn write(
    results: &[(&Workload, Rounds)],
    calls: &[(String, String)],
    parked: f64,
    sections: &str,
    (rounds, seconds): (usize, &str),
) -> String {
    let mut out = format!(
        "# Benchmarks\n\n`cargo xtask bench` wrote this page. Where a section says nothing else, every figure is a median over {rounds} rounds of {seconds} s; in each round all \
         peers ran by turns against the same server, and ratios were formed within a round. Processor time is the proxy's own, user \
         and system. Absolute figures hold for this machine only:\n\n{}\n{}\n\n",
        machine(),
        servers()
    );
    for (workload, all) in results {
        let _ = write!(
            out,
            "## {}\n\n| | TPS | / direct | / PgBouncer | CPU per transaction |\n|---|---|---|---|---|\n",
            workload.name
        );
        for (place, peer) in workload.peers.iter().enumerate() {
            let ratio = |other: Peer| {
                let other = workload.peers.iter().position(|p| *p == other).unwrap_or(0);
                over(all, |runs| runs[place].tps / runs[other].tps)
            };
            let tps = over(all, |runs| runs[place].tps);
            let cpu = over(all, |runs| runs[place].cpu_micros);
            let cpu = if *peer == Peer::Direct { "–".to_owned() } else { format!("{cpu:.1} µs") };
            let (direct, bouncer) = (ratio(Peer::Direct), ratio(Peer::PgBouncer));
            let _ = writeln!(out, "| {} | {tps:.1} | {direct:.2} | {bouncer:.2} | {cpu} |", name(*peer));
        }
        out.push('\n');
    }
    out += "## Policy calls\n\n| | |\n|---|---|\n";
    for (what, figure) in calls {
        let _ = writeln!(out, "| {what} | {figure} |");
    }
    let _ = write!(out, "\nA session that does nothing, with three policies: {parked:.0} KiB (aim: at most 64).\n\n");
    out + sections + &aims(results)
}

fn aims(results: &[(&Workload, Rounds)]) -> String {
    let mut out = "## Aims\n\n| workload | who | throughput | processor time |\n|---|---|---|---|\n".to_owned();
    for (workload, peer, other, tps_aim, cpu_aim) in AIMS {
        let Some((found, all)) = results.iter().find(|(w, _)| w.name == *workload) else { continue };
        let place = |p: &Peer| found.peers.iter().position(|q| q == p).unwrap_or(0);
        let (place, other_place) = (place(peer), place(other));
        let tps = over(all, |runs| runs[place].tps / runs[other_place].tps);
        let verdict = |met: bool| if met { "met" } else { "**missed**" };
        let cpu = if cpu_aim.is_finite() {
            let ratio = over(all, |runs| runs[place].cpu_micros / runs[other_place].cpu_micros);
            format!("{ratio:.2}× (aim ≤ {cpu_aim}): {}", verdict(ratio <= *cpu_aim))
        } else {
            "–".into()
        };
        let (who, than) = (name(*peer), name(*other));
        let _ = writeln!(
            out,
            "| {workload} | {who}, against {than} | {tps:.2}× (aim ≥ {tps_aim}): {} | {cpu} |",
            verdict(tps >= *tps_aim)
        );
    }
    out
}

/// Processor, memory and kernel.
pub(super) fn machine() -> String {
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = file("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|l| l.strip_prefix("model name"))
        .map_or("unknown", |l| l.trim_start_matches([' ', '\t', ':']));
    let cores = cpuinfo.lines().filter(|l| l.starts_with("processor")).count();
    let memory =
        file("/proc/meminfo").split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) >> 20;
    format!("- {cores} cores of {model}, {memory} GiB, Linux {}", file("/proc/sys/kernel/osrelease").trim())
}

/// The versions of the servers that took part.
fn servers() -> String {
    let version = |program: &str| {
        let path =
            portcullis_tests::postgres::program(program).unwrap_or_else(|_| format!("/usr/sbin/{program}").into());
        let text = run(Command::new(path).arg("--version")).unwrap_or_default();
        text.lines().next().unwrap_or("unknown").to_owned()
    };
    format!("- {}, {}", version("postgres"), version("pgbouncer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_takes_the_place_of_the_one_before_it() {
        let page = "# Page\n\n## One\n\nold\n\n### Of one\n\n## Aims\n";
        let (one, two) = ("## One\n\nnew\n\n", "## Two\n\n");
        assert_eq!(with_section(page, "## One", one), "# Page\n\n## One\n\nnew\n\n## Aims\n");
        assert_eq!(with_section(page, "## Two", two), page.replace("## Aims", "## Two\n\n## Aims"));
        assert_eq!(with_section("## One\n\nold\n", "## One", one), one);
    }

    #[test]
    fn a_section_is_kept_as_it_is() {
        let page = "# Page\n\n## One\n\nold\n\n### Of one\n\n## Aims\n";
        assert_eq!(section(page, "## One"), "## One\n\nold\n\n### Of one\n\n");
        assert_eq!(section(page, "## Aims"), "## Aims\n");
        assert_eq!(section(page, "## Two"), "");
        assert_eq!(with_section(page, "## One", section(page, "## One")), page);
    }
}
