//! `portcullis`: the command line, the configuration, and the wiring of the gateway.

mod address;
mod admin;
mod cli;
mod client;
mod commands;
mod config;
mod follow;
mod keys;
mod log;
mod packages;
mod password;
mod policy;
mod rollout;
mod serve;
mod show;
mod summary;
mod time;
mod watch;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::cli::{Cli, Command, UsersCommand};

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        // The reader of a pipe may leave when it has seen enough, as in `portcullis sessions list | head -1`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let shown = match error.downcast_ref::<config::Refused>() {
                Some(refused) => refused.to_string(),
                None => format!("error: {}", show::safe_lines(&show::reasons(&error))),
            };
            eprintln!("{shown}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => serve::serve(&args.config)?,
        Command::Check(args) => serve::check(&args.config)?,
        Command::Policy(command) => return policy::run(command),
        Command::Sessions(command) => return commands::sessions(command),
        Command::Approvals(command) => commands::approvals(command)?,
        Command::Audit(command) => return commands::audit(command),
        Command::Users(UsersCommand::HashPassword { stdin, iterations }) => password::hash(stdin, iterations)?,
        Command::Reload(remote) => commands::reload(&remote)?,
        Command::Schema => say(config::schema().as_bytes())?,
        Command::Openapi => say(portcullis_admin::openapi().as_bytes())?,
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "portcullis", &mut text);
            say(&text)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes to standard output; unlike `print!`, it does not panic when nobody reads on.
fn say(text: &[u8]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text)?;
    Ok(out.flush()?)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
