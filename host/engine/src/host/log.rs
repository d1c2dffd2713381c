use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use super::{Host, wit};

/// The most bytes of one line.
pub(super) const MAX_LINE: usize = 1024;

/// Bounds how many lines a policy writes in any second.
#[derive(Default)]
pub(super) struct LogGate(Mutex<Window>);

#[derive(Default)]
struct Window {
    second: u64,
    written: u32,
    dropped: u64,
}

impl LogGate {
    /// Whether one more line may be written now, and how many were dropped in the last second with lines.
    fn admit(&self, now_ms: u64, limit: u32) -> (bool, u64) {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut dropped = 0;
        if window.second != now_ms / 1000 {
            dropped = window.dropped;
            *window = Window { second: now_ms / 1000, ..Window::default() };
        }
        let admitted = window.written < limit;
        if admitted {
            window.written += 1;
        } else {
            window.dropped += 1;
        }
        (admitted, dropped)
    }
}

impl wit::log::Host for Host {
    fn write(&mut self, level: wit::log::Level, message: String) -> wasmtime::Result<()> {
        self.apart = true;
        let services = &self.services;
        let policy = &*services.policy;
        let (admitted, dropped) = services.log.admit((services.shared.now)(), services.limits.log_lines_per_second);
        if dropped > 0 {
            tracing::warn!(target: "portcullis::policy", policy, dropped, "log lines beyond `log_lines_per_second`");
        }
        if !admitted {
            return Ok(());
        }
        let line = if self.question.values && !services.shared.log_values {
            format!("{} bytes are withheld: they may hold values of a result", message.len())
        } else {
            printable(&message)
        };
        use wit::log::Level;
        match level {
            Level::Trace => tracing::trace!(target: "portcullis::policy", policy, "{line}"),
            Level::Debug => tracing::debug!(target: "portcullis::policy", policy, "{line}"),
            Level::Info => tracing::info!(target: "portcullis::policy", policy, "{line}"),
            Level::Warn => tracing::warn!(target: "portcullis::policy", policy, "{line}"),
            Level::Error => tracing::error!(target: "portcullis::policy", policy, "{line}"),
        }
        Ok(())
    }
}

/// One line that a terminal cannot take for a command.
pub(super) fn printable(message: &str) -> String {
    let mut line = String::with_capacity(message.len().min(MAX_LINE));
    for c in message.chars() {
        if line.len() + c.len_utf8() > MAX_LINE {
            break;
        }
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            // Writing to a string does not fail.
            let _ = write!(line, "{}", c.escape_unicode());
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_short_and_without_control_characters() {
        assert_eq!(printable("a\nb\u{1b}[31m"), "a\\u{a}b\\u{1b}[31m");
        assert_eq!(printable(&"é".repeat(5000)).len(), MAX_LINE);
        assert!(printable(&"\n".repeat(5000)).len() < MAX_LINE + 10);
    }

    #[test]
    fn what_exceeds_the_bound_is_counted() {
        let gate = LogGate::default();
        let admitted = (0..10).filter(|_| gate.admit(5_500, 3).0).count();
        assert_eq!(admitted, 3);
        assert_eq!(gate.admit(6_000, 3), (true, 7));
        assert_eq!(gate.admit(6_001, 3), (true, 0));
    }
}
