//! Where a guest was when it failed: for whoever runs the gateway and whoever wrote the policy, never for a client.

use std::fmt::{self, Write};
use std::sync::{Mutex, PoisonError};

use wasmtime::WasmBacktrace;

use super::Host;
use super::log::printable;

/// The most bytes of a backtrace before it is shortened. A guest names its functions and files as it likes.
const MAX_BYTES: usize = 65_536;

/// The most lines: wasmtime gives twenty frames, and names the functions that were inlined into each.
const MAX_LINES: usize = 60;

/// The most characters of a function's name: those of generic functions are long, and tell little at their end.
const MAX_NAME: usize = 120;

/// The latest one of a policy, over all sessions.
#[derive(Default)]
pub(crate) struct Latest(Mutex<Option<String>>);

impl Latest {
    pub(crate) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Host {
    /// Takes note of where the guest failed.
    pub(crate) fn failed_at(&self, backtrace: &WasmBacktrace) {
        let (policy, session) = (&*self.services.policy, self.session.as_ref().map_or("", |session| &session.id));
        let text = text(backtrace);
        // Indented, so that no name of a function begins a line of the log.
        let shown = text.replace('\n', "\n    ");
        tracing::warn!(target: "portcullis::policy", policy, session, "the policy failed at\n    {shown}");
        self.services.backtrace.0.lock().unwrap_or_else(PoisonError::into_inner).replace(text);
    }
}

/// A line for each function, with its file and line where the component says so.
fn text(backtrace: &impl fmt::Display) -> String {
    let mut whole = Bounded(String::new());
    // It fails at the bound, and what fits is there then.
    let _ = write!(whole, "{backtrace}");
    let mut lines: Vec<String> = Vec::new();
    // The first line is a heading. A place is in the line after its function.
    for line in whole.0.lines().skip(1).map(str::trim) {
        let place = line.strip_prefix("at ").map(|place| format!(" ({})", printable(place)));
        let full = lines.len() == MAX_LINES;
        match (place, lines.last_mut()) {
            (Some(place), Some(function)) => function.push_str(&place),
            _ if full => break,
            _ => lines.push(printable(&line.chars().take(MAX_NAME).collect::<String>())),
        }
    }
    lines.join("\n")
}

/// Text of at most [`MAX_BYTES`].
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fits = text.floor_char_boundary(MAX_BYTES - self.0.len());
        self.0.push_str(&text[..fits]);
        if fits == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_cannot_command_a_terminal() {
        let frames = "heading:\n  0: 0x7 - a\u{1b}[31m\n     at src/lib.rs:7:9\n   - b";
        assert_eq!(text(&frames), "0: 0x7 - a\\u{1b}[31m (src/lib.rs:7:9)\n- b");
        assert_eq!(text(&("heading:\n".to_owned() + &"é\n".repeat(MAX_BYTES))).lines().count(), MAX_LINES);
        assert_eq!(text(&("heading:\n".to_owned() + &"é".repeat(MAX_BYTES))).chars().count(), MAX_NAME);
    }
}
