//! Has a life cycle and no hook: there is nothing to ask it.

wit_bindgen::generate!({
    path: "../../../wit",
    inline: "package test:lonely; world lonely { export portcullis:policy/lifecycle@0.1.1; }",
    world: "test:lonely/lonely",
    generate_all,
});

use exports::portcullis::policy::lifecycle::{Error, Guest, Registration, SettingError};

struct Policy;

impl Guest for Policy {
    fn validate_settings(_: String) -> Result<(), Vec<SettingError>> {
        Ok(())
    }

    fn configure(_: String) -> Result<Registration, Error> {
        Ok(Registration { commands: vec![] })
    }
}

export!(Policy);
