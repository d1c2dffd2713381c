//! Panics in `check`, as a policy written with the SDK.

use std::collections::BTreeMap;

use portcullis_sdk::{Command, Commands, Error, Policy, Session, SettingError, Verdict};

struct Panics;

impl Policy for Panics {
    type Settings = BTreeMap<String, String>;

    fn new(_: Self::Settings) -> Result<Self, Vec<SettingError>> {
        Ok(Self)
    }
}

impl Commands for Panics {
    fn check(&mut self, _: &Session, command: &Command) -> Result<Verdict, Error> {
        first_word(&command.text(0))
    }
}

#[inline(never)]
fn first_word(text: &str) -> Result<Verdict, Error> {
    Ok(Verdict::deny(text.split_whitespace().next().expect("a command has a word")))
}

portcullis_sdk::export!(Panics: commands);
