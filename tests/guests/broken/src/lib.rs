//! Misbehaves as its settings say: `{"do": "loop-in-check"}`.
//!
//! `<way>-in-<hook>` goes wrong in that hook; every other name is handled by the hook that it is about.

mod check;
mod results;

wit_bindgen::generate!({ world: "policy", path: "../../../wit" });

use std::cell::RefCell;

use exports::portcullis::policy::lifecycle::{Error, Guest, Registration, SettingError};
use portcullis::policy::state;

pub(crate) struct Policy;

thread_local! {
    static BEHAVIOUR: RefCell<String> = const { RefCell::new(String::new()) };
}

pub(crate) fn behaviour() -> String {
    BEHAVIOUR.with_borrow(String::clone)
}

pub(crate) fn error(message: &str) -> Error {
    Error { code: "broken".into(), message: message.into() }
}

/// Goes wrong in the named hook, if the settings say so.
pub(crate) fn misbehave(hook: &str) -> Result<(), Error> {
    let behaviour = behaviour();
    let Some((way, place)) = behaviour.split_once("-in-") else { return Ok(()) };
    if place != hook {
        return Ok(());
    }
    match way {
        "trap" => std::process::abort(),
        "loop" => loop {
            std::hint::black_box(hook);
        },
        "memory" => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(std::hint::black_box(vec![1u8; 1 << 20]));
            }
        }
        "overflow" => {
            std::hint::black_box(descend(1));
        }
        "error" => return Err(error("as told")),
        _ => {}
    }
    Ok(())
}

#[allow(unconditional_recursion, reason = "to exhaust the stack is the point")]
fn descend(n: u64) -> u64 {
    descend(std::hint::black_box(n) + 1) + 1
}

impl Guest for Policy {
    fn validate_settings(settings: String) -> Result<(), Vec<SettingError>> {
        remember(&settings);
        let wrong = |path: &str, message: &str| SettingError { path: path.into(), message: message.into() };
        if let Err(e) = misbehave("validate") {
            return Err(vec![wrong("/do", &e.message), wrong("/more", "and this")]);
        }
        Ok(())
    }

    fn configure(settings: String) -> Result<Registration, Error> {
        remember(&settings);
        misbehave("configure")?;
        let commands = match behaviour().as_str() {
            "trap-later" => {
                // The trial start is the first; every one after that traps.
                if state::increment("starts", 1, 3600) != Ok(1) {
                    std::process::abort();
                }
                vec!["sql".into()]
            }
            "register-unknown" => vec!["telnet".into()],
            "register-nothing" => vec![],
            "register-otherwise" if state::increment("starts", 1, 3600) != Ok(1) => vec![],
            _ => vec!["sql".into()],
        };
        Ok(Registration { commands })
    }
}

fn remember(settings: &str) {
    let told = settings.split_once(r#""do":"#).map(|(_, rest)| rest.trim_start().trim_start_matches('"'));
    let name = told.and_then(|t| t.split('"').next()).unwrap_or_default();
    BEHAVIOUR.with_borrow_mut(|b| *b = name.into());
}

export!(Policy);
