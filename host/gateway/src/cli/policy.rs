use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{ConfigArg, Remote};
use crate::time;

/// Policy packages are directories with a `policy.toml`.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Start a package of one's own
    #[command(after_help = "Example:\n  portcullis policy new no-weekend-deploys --language python")]
    New(New),
    /// Build the component of each package from its source
    #[command(after_help = "Example:\n  portcullis policy build plugins/block")]
    Build {
        /// Package directories, or directories of packages
        #[arg(required = true)]
        packages: Vec<PathBuf>,
    },
    /// Load a package as the gateway would, with its default settings
    #[command(after_help = "Example:\n  portcullis policy check policies/no-destructive-sql")]
    Check {
        /// Package directories, or directories of packages
        #[arg(required = true)]
        packages: Vec<PathBuf>,
    },
    /// Run the test cases of packages; builds nothing
    #[command(after_help = "\
Examples:
  portcullis policy test policies/
  portcullis policy test my-policy --watch
  portcullis policy test policies/ --coverage --junit results.xml")]
    Test(Test),
    /// Ask a package about one command: what it says, why, and how long it took
    #[command(after_help = "\
Examples:
  portcullis policy run policies/no-destructive-sql 'delete from orders' --principal alice --group dev
  portcullis policy run my-policy 'select 1' --settings draft.toml --json")]
    Run(Run),
    /// Measure what each hook of a package costs, and hold it against the package's budget
    #[command(after_help = "Example:\n  portcullis policy bench policies/no-destructive-sql")]
    Bench(Bench),
    /// Run audited commands against a draft, and show which verdicts would have been others
    ///
    /// Exits with 1 if any would have changed. Takes the running gateway's audit, an export, or the store of a gateway that does not run.
    #[command(after_help = "\
Examples:
  portcullis policy replay my-policy --from 7d --target shop
  portcullis policy replay policies/no-destructive-sql --settings stricter.toml --export audit.jsonl
  portcullis policy replay my-policy --store data/store.redb --recordings data/recordings")]
    Replay(PolicyReplay),
    /// Show what a package, a component or an artifact imports, exports, needs, and who claims to have signed it
    #[command(after_help = "\
Examples:
  portcullis policy inspect policies/no-destructive-sql
  portcullis policy inspect oci://registry.example/policies/block:1.2.0")]
    Inspect {
        /// A package directory, a component file, an OCI layout (directory or tar), or a reference such as oci://host/name:tag
        path: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        registry: RegistryArgs,
    },
    /// Send a package to a registry
    #[command(
        after_help = "Example:\n  portcullis policy push my-policy oci://registry.example/policies/my-policy:0.1.0 --key team.key"
    )]
    Push {
        /// The package's directory
        package: PathBuf,
        /// Where to; the tag is the package's version unless it is given
        reference: String,
        /// Sign it, with a secret key that `policy keygen` or minisign made
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        #[command(flatten)]
        registry: RegistryArgs,
    },
    /// Fetch a package from a registry into a directory
    #[command(
        after_help = "Example:\n  portcullis policy pull oci://registry.example/policies/block:1.2.0 --output block"
    )]
    Pull {
        /// From where
        reference: String,
        /// The directory to make; otherwise one with the package's name
        #[arg(short, long, value_name = "DIR")]
        output: Option<PathBuf>,
        #[command(flatten)]
        registry: RegistryArgs,
    },
    /// Make a pair of keys to sign packages with, in minisign's format
    Keygen {
        /// The secret key's file; the public key goes beside it, as FILE.pub
        file: PathBuf,
        /// Do not protect it with a password: for machines
        #[arg(long)]
        without_password: bool,
    },
    /// Add a signature to a package in a registry
    #[command(
        after_help = "Example:\n  portcullis policy sign oci://registry.example/policies/block:1.2.0@sha256:4c1e… --key team.key"
    )]
    Sign {
        /// The package with its digest: a tag can change between looking and signing
        reference: String,
        /// A secret key that `policy keygen` or minisign made
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        #[command(flatten)]
        registry: RegistryArgs,
    },
    /// Check who signed a package, against the configuration or against keys
    #[command(after_help = "\
Examples:
  portcullis policy verify oci://registry.example/policies/block:1.2.0 --config portcullis.toml
  portcullis policy verify oci://registry.example/policies/block:1.2.0 --key team.key.pub")]
    Verify {
        /// A reference, or an OCI layout (directory or tar)
        reference: String,
        /// A public key, minisign's or a PEM of cosign; may be repeated, and all of them must have signed
        #[arg(long = "key", value_name = "FILE")]
        keys: Vec<PathBuf>,
        #[command(flatten)]
        registry: RegistryArgs,
    },
    /// Write packages with their signatures to an OCI image layout, for a machine without a registry
    #[command(
        after_help = "Example:\n  portcullis policy save oci://registry.example/policies/block:1.2.0 --output block.tar"
    )]
    Save {
        /// References or package directories
        #[arg(required = true)]
        packages: Vec<String>,
        /// A directory, or a file that ends in .tar
        #[arg(short, long, value_name = "PATH")]
        output: PathBuf,
        #[command(flatten)]
        registry: RegistryArgs,
    },
    /// Put the packages of an OCI image layout where the gateway looks before it asks a registry
    #[command(after_help = "Example:\n  portcullis policy load block.tar --config portcullis.toml")]
    Load {
        /// A layout: a directory or a tar
        layout: PathBuf,
        #[command(flatten)]
        config: ConfigArg,
    },
    /// Add notes to a package in a registry, such as why it should no longer be used
    ///
    /// They refer to the package and change nothing of it: its digest and its signatures stay. They are not signed themselves; tools that show what
    /// refers to an artifact show them.
    #[command(
        after_help = "Example:\n  portcullis policy annotate oci://registry.example/policies/block:1.2.0 deprecated='use 1.3.0'"
    )]
    Annotate {
        /// The package
        reference: String,
        /// KEY=VALUE
        #[arg(required = true)]
        annotations: Vec<String>,
        #[command(flatten)]
        registry: RegistryArgs,
    },
    /// Pin the digest of each package that the configuration takes from a registry, in portcullis.lock
    ///
    /// Directories are pinned too, where `trust.lock_directories` is set or `--update` names their policies.
    #[command(after_help = "\
Examples:
  portcullis policy lock                          what is new
  portcullis policy lock --update no-payroll-writes")]
    Lock {
        /// Ask the registry anew for these policies, too
        #[arg(long, value_name = "POLICY")]
        update: Vec<String>,
        /// Change nothing; exit with 1 if the lock is not complete
        #[arg(long)]
        check: bool,
        #[command(flatten)]
        config: ConfigArg,
    },
    /// Show the policies of a running gateway: versions, signers, how they fare, what was refused and why
    Status {
        #[command(flatten)]
        remote: Remote,
    },
    /// Put the version of a policy that was in force before in force again
    ///
    /// It stays until the policy's package or settings change, or the gateway starts anew: then the configuration and portcullis.lock
    /// count again.
    #[command(after_help = "Example:\n  portcullis policy rollback no-destructive-sql")]
    Rollback {
        /// The policy's name in the configuration
        policy: String,
        #[command(flatten)]
        remote: Remote,
    },
}

/// A package to start with.
#[derive(Debug, Args)]
pub(crate) struct New {
    /// Its name, and that of its directory: lower-case letters, digits and hyphens
    pub(crate) name: String,
    /// What to write it in
    #[arg(long, value_enum)]
    pub(crate) language: LanguageArg,
    /// What it decides on
    #[arg(long, value_enum, default_value_t = Template::Command)]
    pub(crate) template: Template,
    /// Where its directory is made
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) parent: PathBuf,
}

/// The languages with a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LanguageArg {
    /// Rust, with cargo
    Rust,
    /// Go
    Go,
    /// JavaScript, with types for TypeScript
    #[value(name = "javascript", alias = "js", alias = "typescript")]
    JavaScript,
    /// Python
    Python,
    /// C
    C,
}

/// What a new package does until it is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Template {
    /// Decides on commands: refuses a DELETE without WHERE
    Command,
    /// Decides on rows: masks e-mail addresses
    Rows,
}

/// How packages are tested.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Package directories, or directories of packages
    #[arg(required = true)]
    pub(crate) packages: Vec<PathBuf>,
    /// Run again whenever a file of a package changes, until interrupted; builds first what has a section `build`
    #[arg(long)]
    pub(crate) watch: bool,
    /// Show which hooks the cases asked
    #[arg(long)]
    pub(crate) coverage: bool,
    /// Write a report in JUnit's format
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
}

/// Who asks what.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The package's directory
    pub(crate) package: PathBuf,
    /// The command's text
    pub(crate) command: String,
    /// Who asks
    #[arg(long, default_value = "alice")]
    pub(crate) principal: String,
    /// A group of the principal; may be repeated
    #[arg(long = "group", value_name = "GROUP")]
    pub(crate) groups: Vec<String>,
    /// The target's name
    #[arg(long, default_value = "app")]
    pub(crate) target: String,
    /// A label of the target, KEY=VALUE; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<String>,
    /// A bound parameter, in text form; may be repeated
    #[arg(long = "parameter", value_name = "TEXT")]
    pub(crate) parameters: Vec<String>,
    /// Settings in TOML or JSON, merged over the package's own
    #[arg(long, value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is measured.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Package directories, or directories of packages
    #[arg(required = true)]
    pub(crate) packages: Vec<PathBuf>,
    /// How often each case is asked
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rounds: u32,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is run again, and against what.
#[derive(Debug, Args)]
pub(crate) struct PolicyReplay {
    /// The draft: a package's directory
    pub(crate) package: PathBuf,
    /// Settings in TOML or JSON, merged over the package's own
    #[arg(long, value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,
    /// Compare with what this policy said; otherwise with the one of the package's name, or with the whole outcome where there is none
    #[arg(long, value_name = "NAME")]
    pub(crate) policy: Option<String>,
    /// Not before this time: 2026-11-24, 2026-11-24 21:50:25Z, any other of RFC 3339, or how long ago, such as 2h or 3d
    #[arg(long, value_name = "TIME", value_parser = time::instant)]
    pub(crate) from: Option<u64>,
    /// Before this time, written the same ways
    #[arg(long, value_name = "TIME", value_parser = time::instant)]
    pub(crate) to: Option<u64>,
    /// Only commands on this target
    #[arg(long)]
    pub(crate) target: Option<String>,
    /// Only commands of this principal
    #[arg(long)]
    pub(crate) principal: Option<String>,
    /// Take an export of `portcullis audit export` instead of the running gateway's audit
    #[arg(long, value_name = "FILE", conflicts_with = "store")]
    pub(crate) export: Option<PathBuf>,
    /// Take the store of a gateway that does not run
    #[arg(long, value_name = "FILE")]
    pub(crate) store: Option<PathBuf>,
    /// Run the recorded results, too, as the running gateway has them: each recording is fetched
    #[arg(long, conflicts_with_all = ["export", "store", "recordings"])]
    pub(crate) results: bool,
    /// Run the recorded results, too, from this directory of recordings
    #[arg(long, value_name = "DIR")]
    pub(crate) recordings: Option<PathBuf>,
    /// A configuration, for the labels of targets, which the audit does not keep
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The most changed commands to show; all are counted
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// How registries are reached.
#[derive(Debug, Args)]
pub(crate) struct RegistryArgs {
    /// A configuration, for its registries and `trust`; without it there are `docker login`'s credentials only
    #[arg(long, value_name = "FILE", help_heading = "Registry")]
    pub(crate) config: Option<PathBuf>,
}
