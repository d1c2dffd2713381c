//! Allows every command. It exports no `rows` and imports nothing.

wit_bindgen::generate!({ world: "command-policy", path: "../../../wit" });

use exports::portcullis::policy::commands::{Command, Error, Guest as Commands, Session, Verdict};
use exports::portcullis::policy::lifecycle::{Guest as Lifecycle, Registration, SettingError};
use portcullis::policy::types::Decision;

struct Policy;

impl Lifecycle for Policy {
    fn validate_settings(_: String) -> Result<(), Vec<SettingError>> {
        Ok(())
    }

    fn configure(_: String) -> Result<Registration, Error> {
        Ok(Registration { commands: vec!["sql".into()] })
    }
}

fn allow() -> Result<Verdict, Error> {
    Ok(Verdict { decision: Decision::Allow, message: None, rewrite: None, approval: None, findings: vec![] })
}

impl Commands for Policy {
    fn open(_: &Session) -> Result<Verdict, Error> {
        allow()
    }

    fn check(_: &Session, _: &Command) -> Result<Verdict, Error> {
        allow()
    }

    fn approved(_: &Session, _: &Command, _: Vec<String>) -> Result<Verdict, Error> {
        allow()
    }
}

export!(Policy);
