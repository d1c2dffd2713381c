//! Logs go to standard error.

use tracing_subscriber::EnvFilter;

use crate::config::{File, LogFormat};

/// Starts logging as the configuration says.
pub(crate) fn start(file: &File) {
    // The level was read once already when the file was checked.
    let filter = file.log.level.parse().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match file.log.format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
    }
}

/// Shows what policies log while they are tried on the command line.
pub(crate) fn start_for_policies() {
    let builder = tracing_subscriber::fmt().with_env_filter("portcullis::policy=debug").with_writer(std::io::stderr);
    builder.without_time().with_target(false).with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init();
}
