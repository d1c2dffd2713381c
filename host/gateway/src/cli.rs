//! The command line.

mod policy;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(crate) use self::policy::*;
use crate::time;

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
  portcullis approvals watch                     what waits for a decision, as it comes
  portcullis sessions show 01928c1e-…            who ran what, and why
  portcullis sessions replay 01928c1e-…          what its client saw
  portcullis audit search --text 'drop table'    who ever did that

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
    /// Write, build, test, share and roll out policy packages
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Show, follow, replay and end sessions
    #[command(subcommand)]
    Sessions(SessionsCommand),
    /// Show and decide commands that are held for approval
    #[command(subcommand)]
    Approvals(ApprovalsCommand),
    /// Search, export and verify the audit
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Make credentials for the configuration file
    #[command(subcommand)]
    Users(UsersCommand),
    /// Let a running gateway read its configuration again
    Reload(Remote),
    /// Print the JSON schema of the configuration file
    Schema,
    /// Print the OpenAPI document of the HTTP interface
    Openapi,
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

/// The heading of the options that say how to reach a gateway, below those of the command itself.
const GATEWAY: &str = "Gateway";

/// How to reach a running gateway.
#[derive(Debug, Args)]
pub(crate) struct Access {
    /// The gateway's HTTP interface; `http://` may be left out for this machine
    #[arg(
        long,
        env = "PORTCULLIS_ADMIN",
        default_value = "http://127.0.0.1:9432",
        value_name = "URL",
        help_heading = GATEWAY
    )]
    pub(crate) admin: String,
    /// A file with your token; otherwise it is taken from the environment variable PORTCULLIS_TOKEN
    #[arg(long, value_name = "FILE", help_heading = GATEWAY)]
    pub(crate) token_file: Option<PathBuf>,
    /// The authorities that may vouch for an https:// gateway, PEM; otherwise those of the operating system
    #[arg(long, env = "PORTCULLIS_CA", value_name = "FILE", help_heading = GATEWAY)]
    pub(crate) ca: Option<PathBuf>,
}

/// A running gateway, and how its answer is shown.
#[derive(Debug, Args)]
pub(crate) struct Remote {
    #[command(flatten)]
    pub(crate) access: Access,
    /// Print JSON
    #[arg(long, help_heading = GATEWAY)]
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
    /// Follow what the client of an open session sees, as it happens
    ///
    /// Commands are shown in any case; results as far as the target's `record` allows. Nothing of it is kept.
    #[command(after_help = "Example:\n  portcullis sessions watch 01928c1e-6f0e-7cc1-8a59-5e3cf1f0a1f2")]
    Watch {
        /// The session's identifier
        id: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show a recorded session as its client saw it
    ///
    /// Exits with 1 if the recording is not whole, having shown what there is. One of a session that is still open is shown as far as it
    /// is written.
    #[command(after_help = "\
Examples:
  portcullis sessions replay 01928c1e-6f0e-7cc1-8a59-5e3cf1f0a1f2 --speed 4 --max-idle 1s
  portcullis sessions replay 01928c1e-6f0e-7cc1-8a59-5e3cf1f0a1f2 --search 'from customers'
  portcullis sessions replay session.recording")]
    Replay(Replay),
    /// Convert a recording for other programs
    ///
    /// asciicast is version 3 of the format of asciinema, asciicast-v2 the one that older players know; jsonl has an entry on each
    /// line. Exits with 1 if the recording is not whole, having written what there is. One of a session that is still open is written as
    /// far as it goes.
    #[command(after_help = "\
Example:
  portcullis sessions export 01928c1e-6f0e-7cc1-8a59-5e3cf1f0a1f2 --format asciicast --output session.cast")]
    Export {
        /// The session's identifier, or the file of a recording
        #[arg(value_name = "ID_OR_FILE")]
        recording: String,
        /// The form
        #[arg(long, value_enum)]
        format: RecordingFormat,
        /// A file to write; otherwise standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        #[command(flatten)]
        access: Access,
    },
}

/// How a recording is shown.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// The session's identifier, or the file of a recording
    #[arg(value_name = "ID_OR_FILE")]
    pub(crate) recording: String,
    /// How many times faster than it happened; 0 shows everything at once
    #[arg(long, default_value_t = 1.0, value_parser = speed)]
    pub(crate) speed: f64,
    /// The longest pause between two entries, such as 2s or 500ms
    #[arg(long, value_name = "TIME", value_parser = time::duration)]
    pub(crate) max_idle: Option<Duration>,
    /// Begin with this entry; entries count from 1
    #[arg(long, value_name = "ENTRY", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) from: u64,
    /// Begin with the first entry that holds this text, whatever the case of its letters
    #[arg(long, value_name = "TEXT")]
    pub(crate) search: Option<String>,
    #[command(flatten)]
    pub(crate) access: Access,
}

/// The forms of exported recordings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RecordingFormat {
    /// Version 3
    Asciicast,
    /// Version 2
    AsciicastV2,
    /// An entry on each line
    Jsonl,
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
    #[command(after_help = "\
Examples:
  portcullis approvals approve k7wz --reason 'ticket 4711'
  portcullis approvals approve k7wz --break-glass --reason 'orders are stuck, nobody else is awake'")]
    Approve {
        #[command(flatten)]
        decision: Decision,
        /// Approve alone in an emergency, past groups and quorum and even your own request
        ///
        /// The configuration must allow it to a group of yours (`approvals.break_glass`). It takes a reason of at least 10
        /// characters, and everybody will see that it was done.
        #[arg(long, requires = "reason")]
        break_glass: bool,
    },
    /// Refuse the command, or revoke a grant that could serve again
    Deny(Decision),
    /// Print a line for each open request, and for every change, until interrupted
    Watch {
        #[command(flatten)]
        remote: Remote,
    },
}

/// A reviewer's decision.
#[derive(Debug, Args)]
pub(crate) struct Decision {
    /// The request's identifier
    pub(crate) id: String,
    /// Your words, for the record; a denied client reads them too
    #[arg(long)]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// The audit of a gateway.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Find events, the newest first
    #[command(after_help = "\
Examples:
  portcullis audit search --principal alice --target shop --from 3d --verdict deny
  portcullis audit search --text 'drop table' --from 2026-01-01T00:00:00Z --to 2026-02-01T00:00:00Z
  portcullis audit search --kind approval --verdict broken-glass")]
    Search(Search),
    /// Write all events in order, with the signatures over them
    ///
    /// In the form jsonl, each line holds an event or a checkpoint, and `portcullis audit verify` can check it anywhere. In the form
    /// ocsf, each line holds an event of the Open Cybersecurity Schema Framework, without signatures.
    #[command(after_help = "Example:\n  portcullis audit export --output audit.jsonl")]
    Export {
        /// The form
        #[arg(long, value_enum, default_value_t = ExportFormat::Jsonl)]
        format: ExportFormat,
        /// Only the events after the one with this number
        ///
        /// Such a part can be verified by itself where a checkpoint is for that event, else behind the parts before it.
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        after: u64,
        /// A file to write; otherwise standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        #[command(flatten)]
        access: Access,
    },
    /// Check that nothing was changed, removed or cut off
    ///
    /// Checks the chain from event to event and the signatures over it: of an export, of the store of a gateway that does not run, or
    /// else of a running gateway. Exits with 1 if anything is wrong.
    #[command(after_help = "\
Examples:
  portcullis audit verify --key audit.pub                      the running gateway's audit
  portcullis audit verify audit.jsonl --key audit.pub          an export, on any machine
  portcullis audit verify --store data/store.redb --key audit.pub --checkpoints kept-elsewhere.jsonl")]
    Verify(Verify),
    /// Show how far the log has come
    Head {
        #[command(flatten)]
        remote: Remote,
    },
    /// Print the public key of the log's signatures
    Key {
        #[command(flatten)]
        access: Access,
    },
}

/// The outcomes of commands, and what happens to approvals.
const VERDICTS: [&str; 12] = [
    "allow",
    "review",
    "deny",
    "requested",
    "approved",
    "denied",
    "revoked",
    "expired",
    "withdrawn",
    "left",
    "joined",
    "broken-glass",
];

/// What to look for. Everything that is given must hold.
#[derive(Debug, Args)]
pub(crate) struct Search {
    /// Who
    #[arg(long)]
    pub(crate) principal: Option<String>,
    /// To which target
    #[arg(long)]
    pub(crate) target: Option<String>,
    /// In which session
    #[arg(long, value_name = "ID")]
    pub(crate) session: Option<String>,
    /// Not before this time: 2026-11-24, 2026-11-24 21:50:25Z, any other of RFC 3339, or how long ago, such as 2h or 3d
    ///
    /// Times without a zone are in UTC, like all that are shown.
    #[arg(long, value_name = "TIME", value_parser = time::instant)]
    pub(crate) from: Option<u64>,
    /// Before this time, written the same ways
    #[arg(long, value_name = "TIME", value_parser = time::instant)]
    pub(crate) to: Option<u64>,
    /// A part of a command, a message or a reason, whatever the case of its letters
    #[arg(long)]
    pub(crate) text: Option<String>,
    /// What became of a command (the first three), or what happened to an approval
    #[arg(long, value_parser = VERDICTS)]
    pub(crate) verdict: Option<String>,
    /// A policy that answered or masked
    #[arg(long)]
    pub(crate) policy: Option<String>,
    /// The kind of event
    #[arg(long, value_parser = ["open", "command", "finish", "close", "approval", "recording", "system", "inputs"])]
    pub(crate) kind: Option<String>,
    /// The most events to show
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// The forms of an exported audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// Events and checkpoints, as `audit verify` reads them
    Jsonl,
    /// The Open Cybersecurity Schema Framework
    Ocsf,
}

/// What to check, and by whose word.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// An export in the form jsonl; without it, the running gateway's audit
    pub(crate) file: Option<PathBuf>,
    /// The public key to trust: 64 hexadecimal digits, or a file with one or more on lines of their own such as the gateway's audit.pub
    ///
    /// May be repeated: after a change of the key, the log is signed with both.
    #[arg(long = "key", value_name = "HEX|FILE")]
    pub(crate) keys: Vec<String>,
    /// More checkpoints, from where a sink with `send = "checkpoints"` sent them: a file with one on each line
    #[arg(long, value_name = "FILE")]
    pub(crate) checkpoints: Option<PathBuf>,
    /// The store of a gateway that does not run
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    pub(crate) store: Option<PathBuf>,
    /// The file begins behind this event on purpose, as `audit export --after` makes it
    #[arg(long, value_name = "NUMBER", requires = "file")]
    pub(crate) after: Option<u64>,
    /// Do not count an end that is not signed as a problem: the store of a gateway that crashed, or what a sink has taken so far
    #[arg(long)]
    pub(crate) allow_unsigned: bool,
    /// Check the recordings in this directory against what the audit says of them
    #[arg(long, value_name = "DIR")]
    pub(crate) recordings: Option<PathBuf>,
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

fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed: &f64| speed.is_finite() && *speed >= 0.0);
    speed.ok_or_else(|| "this is no number, 0 or more".into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_cannot_be_searched_for_is_told_with_what_can() {
        let search = |more: &[&str]| Cli::try_parse_from([&["portcullis", "audit", "search"], more].concat());
        assert!(search(&["--verdict", "broken-glass", "--kind", "approval", "--from", "2026-11-24"]).is_ok());
        for (option, expected) in [("--verdict", "requested"), ("--kind", "recording")] {
            let error = search(&[option, "refused"]).unwrap_err().to_string();
            assert!(error.contains("[possible values:") && error.contains(expected), "{error}");
        }
    }

    #[test]
    fn breaking_glass_takes_a_reason() {
        let approve =
            |more: &[&str]| Cli::try_parse_from([&["portcullis", "approvals", "approve", "k7wz"], more].concat());
        assert!(approve(&["--break-glass"]).unwrap_err().to_string().contains("--reason"));
        assert!(approve(&["--break-glass", "--reason", "orders are stuck"]).is_ok());
    }

    #[test]
    fn a_speed_is_a_number_from_0_on() {
        assert_eq!((speed("0"), speed("2.5")), (Ok(0.0), Ok(2.5)));
        for junk in ["", "-1", "inf", "NaN", "fast"] {
            assert!(speed(junk).is_err(), "{junk}");
        }
    }
}
