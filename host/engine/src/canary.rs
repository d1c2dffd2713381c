//! Policies that act for a part of the sessions only, and those that give way to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_verdict::Mode;

use crate::error::{LoadError, Problem};
use crate::policy::Policy;
use crate::spec::{PolicySpec, Rollout};

/// A policy in its place in a chain.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) policy: Arc<Policy>,
    share: Share,
}

/// For which sessions it acts as its mode says. For the others it is in monitor mode.
#[derive(Clone)]
enum Share {
    All,
    /// As a canary, for its own share.
    Own(Rollout),
    /// For all but those that the canary of this name takes over.
    Rest(String, Rollout),
}

impl Member {
    /// Whether its answers act in a session. That is the same whenever it is asked.
    pub(crate) fn mode(&self, session: &str) -> Mode {
        let acts = match &self.share {
            Share::All => true,
            Share::Own(rollout) => rollout.acts(&self.policy.name, session),
            Share::Rest(canary, rollout) => !rollout.acts(canary, session),
        };
        if acts { self.policy.mode } else { Mode::Monitor }
    }

    /// Whether it is asked about a session's results. In monitor mode it is not: values would enter it for nothing.
    pub(crate) fn edits(&self, session: &str) -> bool {
        self.policy.hooks.rows.is_some() && self.mode(session) == Mode::Enforce
    }
}

/// The canaries of a set.
#[derive(Default)]
pub(crate) struct Canaries(BTreeMap<String, Rollout>);

impl Canaries {
    pub(crate) fn of(specs: &[PolicySpec]) -> Self {
        Self(specs.iter().filter_map(|spec| Some((spec.name.clone(), spec.canary.clone()?))).collect())
    }

    /// What is wrong with the canaries among these policies.
    pub(crate) fn problems(&self, specs: &[PolicySpec]) -> Vec<LoadError> {
        let mut errors = Vec::new();
        for (name, Rollout { percent, replaces }) in &self.0 {
            let mut wrong =
                |why: String| errors.push(LoadError { policy: name.clone(), problem: Problem::Canary(why) });
            if !(1..=100).contains(percent) {
                wrong(format!("is for {percent} of 100 sessions: it must be 1 to 100"));
            }
            if specs.iter().any(|spec| spec.name == *name && spec.mode == Mode::Monitor) {
                wrong("is in monitor mode, so it would act for no session: enforce it, or do without `canary`".into());
            }
            let Some(replaced) = replaces else { continue };
            if replaced == name {
                wrong("replaces itself: name the policy that is in its place so far".into());
            } else if !specs.iter().any(|spec| spec.name == *replaced) {
                wrong(format!("replaces `{replaced}`, but there is no such policy"));
            } else if specs.iter().any(|spec| spec.name == *replaced && spec.mode == Mode::Monitor) {
                wrong(format!(
                    "replaces `{replaced}`, which is in monitor mode: where the canary does not act, nobody would"
                ));
            } else if self.0.contains_key(replaced) {
                wrong(format!("replaces `{replaced}`, which is a canary itself: one of them at a time"));
            }
            if let Some((other, _)) = self.replacing(replaced).find(|(other, _)| *other < name) {
                wrong(format!("replaces `{replaced}`, as the canary `{other}` does: one of them at a time"));
            }
        }
        errors
    }

    /// The canaries that are not asked what the policy that they replace is asked: where they act, nobody would guard that.
    pub(crate) fn narrower(&self, loaded: &[Arc<Policy>]) -> Vec<LoadError> {
        let named = |name: &str| loaded.iter().find(|policy| *policy.name == *name);
        let narrower = self.0.iter().filter_map(|(name, rollout)| {
            let (canary, replaced) = (named(name)?, named(rollout.replaces.as_ref()?)?);
            let kinds = replaced.registered.iter().all(|kind| canary.registered.contains(kind));
            let rows = canary.hooks.rows.is_some() || replaced.hooks.rows.is_none();
            let sessions = canary.hooks.commands.is_some() || replaced.hooks.commands.is_none();
            let why = format!(
                "is not asked everything that `{}` is, which it replaces: commands or rows would be unguarded",
                replaced.name
            );
            let problem = Problem::Canary(why);
            (!(kinds && rows && sessions)).then(|| LoadError { policy: name.clone(), problem })
        });
        narrower.collect()
    }

    /// The canaries in this chain that replace a policy which is not in it, each with that policy.
    pub(crate) fn alone<'a>(&'a self, chain: &'a [String]) -> impl Iterator<Item = (&'a String, &'a String)> {
        let replaced = |name: &'a String| Some((name, self.0.get(name)?.replaces.as_ref()?));
        chain.iter().filter_map(replaced).filter(|(_, replaced)| !chain.contains(replaced))
    }

    /// A policy as a member of this chain.
    pub(crate) fn member(&self, policy: Arc<Policy>, chain: &[String]) -> Member {
        let own = self.0.get(&*policy.name).map(|rollout| Share::Own(rollout.clone()));
        let rest = || {
            let (canary, rollout) = self.replacing(&policy.name).find(|(canary, _)| chain.contains(canary))?;
            Some(Share::Rest(canary.clone(), rollout.clone()))
        };
        let share = own.or_else(rest).unwrap_or(Share::All);
        Member { policy, share }
    }

    /// Of how many sessions in a hundred a policy decides, if it is a canary.
    pub(crate) fn percent(&self, policy: &str) -> Option<u8> {
        self.0.get(policy).map(|rollout| rollout.percent)
    }

    fn replacing(&self, policy: &str) -> impl Iterator<Item = (&String, &Rollout)> {
        self.0.iter().filter(move |(_, rollout)| rollout.replaces.as_deref() == Some(policy))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The sessions, of ten thousand, in which a canary acts.
    fn share(name: &str, percent: u8) -> BTreeSet<u32> {
        let rollout = Rollout { percent, replaces: None };
        (0..10_000).filter(|n| rollout.acts(name, &format!("0198c0de-0000-7000-8000-{n:012x}"))).collect()
    }

    #[test]
    fn a_share_is_near_its_percentage_and_a_greater_one_only_adds() {
        let mut before = BTreeSet::new();
        for percent in [1, 5, 20, 50, 99, 100] {
            let sessions = share("p", percent);
            let expected = usize::from(percent) * 100;
            // Four standard deviations of ten thousand draws are at most 200.
            assert!(sessions.len().abs_diff(expected) <= 200, "{percent} %: {}", sessions.len());
            assert!(before.is_subset(&sessions), "{percent} %");
            before = sessions;
        }
        assert_eq!(before.len(), 10_000);
    }

    #[test]
    fn canaries_choose_their_sessions_independently() {
        let both = share("p", 50).intersection(&share("q", 50)).count();
        assert!(both.abs_diff(2500) <= 200, "{both}");
    }

    #[test]
    fn the_sides_are_as_documented() {
        let acting: Vec<u32> = share("p", 3).into_iter().take(5).collect();
        assert_eq!(acting, [1, 19, 31, 46, 68]);
    }
}
