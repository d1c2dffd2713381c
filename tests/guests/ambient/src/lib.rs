//! Reads the arguments of a process: an import that no policy gets, so it must not load.

wit_bindgen::generate!({ world: "test:ambient/curious", path: ["../../../wit", "wit"], generate_all });

use exports::portcullis::policy::commands::{Command, Error, Guest as Commands, Session, Verdict};
use exports::portcullis::policy::lifecycle::{Guest as Lifecycle, Registration, SettingError};
use portcullis::policy::types::Decision;

struct Policy;

impl Lifecycle for Policy {
    fn validate_settings(_: String) -> Result<(), Vec<SettingError>> {
        Ok(())
    }

    fn configure(_: String) -> Result<Registration, Error> {
        Ok(Registration { commands: wasi::cli::environment::get_arguments() })
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
