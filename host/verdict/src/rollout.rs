use std::fmt;

use serde::Serialize;

/// Where the policies in force came from, why a change was refused, and the way back: for operators.
pub trait Rollout: Send + Sync {
    /// Where each policy of the set in force came from.
    fn origins(&self) -> Vec<Origin>;
    /// Why the newest change was refused, if it was; what was in force before it is in force.
    fn refusal(&self) -> Option<Refusal>;
    /// How often changes were put in force, refused and taken back.
    fn counts(&self) -> RolloutCounts;
    /// Puts what was in force for a policy before its newest change in force again, and says what that is. It may block.
    fn rollback(&self, policy: &str) -> Result<String, String>;
}

/// Where a policy came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The policy's name.
    pub policy: String,
    /// The package's name.
    pub package: String,
    /// Its version.
    pub version: String,
    /// Its directory or its place in a registry, as the configuration names it.
    pub source: String,
    /// The digest of its artifact, where it came as one or is pinned.
    pub artifact: Option<String>,
    /// Who signed it, of those who had to.
    pub signers: Vec<String>,
    /// Since when it is in force, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Whether it was put in force again in place of what the configuration names.
    pub rolled_back: bool,
    /// The version that a rollback would put in force.
    pub previous: Option<String>,
}

/// Why a change is not in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The step that failed.
    pub step: RolloutStep,
    /// Every reason, in a line.
    pub reason: String,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// The steps of a change of policies, in their order. Nothing is in force before all have passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RolloutStep {
    /// The configuration is read.
    Configuration,
    /// Packages are looked up in the lock and fetched.
    Resolve,
    /// Digests and signatures are checked.
    Verify,
    /// Components are compiled.
    Compile,
    /// What they import and export is checked.
    Interface,
    /// Settings are checked, by schema and by the policy itself.
    Settings,
    /// Policies are started for a trial.
    Start,
    /// The packages' own cases are run.
    Cases,
}

impl fmt::Display for RolloutStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configuration => "configuration",
            Self::Resolve => "resolve",
            Self::Verify => "verify",
            Self::Compile => "compile",
            Self::Interface => "interface",
            Self::Settings => "settings",
            Self::Start => "start",
            Self::Cases => "cases",
        })
    }
}

/// How often changes were put in force, refused and taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RolloutCounts {
    /// Put in force.
    pub applied: u64,
    /// Refused.
    pub refused: u64,
    /// Taken back.
    pub rolled_back: u64,
}
