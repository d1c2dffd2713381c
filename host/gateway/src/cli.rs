//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

/// Portcullis decides on every command and every row between people and their databases.
#[derive(Debug, Parser)]
#[command(
    name = "portcullis",
    version,
    propagate_version = true,
    after_help = "\
Examples:
  portcullis check --config portcullis.toml      what is wrong with a configuration, with line and way out
  portcullis serve --config portcullis.toml      run the gateway
  portcullis approvals list                      what waits for a decision
  portcullis sessions show 01928c1e-…            who ran what, and why

Exit codes: 0 done, 1 failed, 2 the command line was not understood."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the gateway until SIGTERM or SIGINT
    ///
    /// Policies, users, targets, limits, tokens, secrets and certificates are read again when a file changes and on
    /// SIGHUP. A configuration that cannot be used is refused and the one before it stays in force.
    Serve(ConfigArg),
    /// Check a configuration and its policies without starting anything
    ///
    /// Reads everything that the file refers to, compiles the policies and lets them check their settings. Shows every
    /// error with its place and the way out.
    Check(ConfigArg),
    /// Build, check, test and inspect policy packages
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Show and end sessions of a running gateway
    #[command(subcommand)]
    Sessions(SessionsCommand),
    /// Show and decide commands that are held for approval
    #[command(subcommand)]
    Approvals(ApprovalsCommand),
    /// Make credentials for the configuration file
    #[command(subcommand)]
    Users(UsersCommand),
    /// Let a running gateway read its configuration again
    Reload(Remote),
    /// Print the JSON schema of the configuration file
    Schema,
    /// Print completions for a shell
    ///
    /// For bash: portcullis completions bash > /etc/bash_completion.d/portcullis
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub(crate) struct ConfigArg {
    /// The configuration file
    #[arg(short, long, env = "PORTCULLIS_CONFIG", default_value = "portcullis.toml")]
    pub(crate) config: PathBuf,
}

/// Policy packages are directories with a `policy.toml`.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
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
    #[command(after_help = "Example:\n  portcullis policy test policies/")]
    Test {
        /// Package directories, or directories of packages
        #[arg(required = true)]
        packages: Vec<PathBuf>,
    },
    /// Show what a component imports, exports and needs
    #[command(after_help = "Example:\n  portcullis policy inspect policies/no-destructive-sql")]
    Inspect {
        /// A package directory or a component file
        path: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// How to reach a running gateway.
#[derive(Debug, Args)]
pub(crate) struct Remote {
    /// The gateway's HTTP interface; `http://` may be left out for this machine
    #[arg(long, env = "PORTCULLIS_ADMIN", default_value = "http://127.0.0.1:9432", value_name = "URL")]
    pub(crate) admin: String,
    /// A file with your token; otherwise it is taken from the environment variable PORTCULLIS_TOKEN
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Sessions of a running gateway.
#[derive(Debug, Subcommand)]
pub(crate) enum SessionsCommand {
    /// List the sessions that are open now
    List {
        /// The newest recorded sessions instead, open or not
        #[arg(long)]
        recent: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// Tell the story of a session: commands, verdicts, policies, approvals, rows
    #[command(after_help = "Example:\n  portcullis sessions show 01928c1e-6f0e-7cc1-8a59-5e3cf1f0a1f2")]
    Show {
        /// The session's identifier
        id: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// End a session at both sides, now
    Kill {
        /// The session's identifier
        id: String,
        #[command(flatten)]
        remote: Remote,
    },
}

/// Commands that are held for approval.
#[derive(Debug, Subcommand)]
pub(crate) enum ApprovalsCommand {
    /// List the requests that are open
    List {
        /// Those that have ended, too
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show the exact text that would run, who asks, and why approval is needed
    Show {
        /// The request's identifier
        id: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Let the command run
    #[command(after_help = "Example:\n  portcullis approvals approve k7wz --reason 'ticket 4711'")]
    Approve(Decision),
    /// Refuse the command
    Deny(Decision),
}

/// A reviewer's decision.
#[derive(Debug, Args)]
pub(crate) struct Decision {
    /// The request's identifier
    pub(crate) id: String,
    /// Your words, for the record; a denied client reads them too
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// Credentials for the configuration file.
#[derive(Debug, Subcommand)]
pub(crate) enum UsersCommand {
    /// Print the SCRAM-SHA-256 verifier of a password, for a user's `scram`
    ///
    /// Asks for the password without showing it. The verifier proves the password and does not hold it.
    #[command(after_help = "Example:\n  printf %s \"$PASSWORD\" | portcullis users hash-password --stdin")]
    HashPassword {
        /// Read the password from standard input: its first line
        #[arg(long)]
        stdin: bool,
        /// How much work each guess of the password costs
        #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(4096..=10_000_000))]
        iterations: u32,
    },
}
