//! Refuses a DELETE, or an UPDATE, without a WHERE clause.

use portcullis_sdk::{Command, Commands, Error, Policy, Session, SettingError, Verdict};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// What the client is told.
    #[serde(default = "usual_message")]
    message: String,
}

fn usual_message() -> String {
    "this would change every row; add a WHERE clause".to_owned()
}

struct NoMassDelete(Settings);

impl Policy for NoMassDelete {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Vec<SettingError>> {
        Ok(Self(settings))
    }
}

impl Commands for NoMassDelete {
    /// Looks at every statement, since a client may send several at once. A command that the gateway could not read has none, and
    /// asking for them denies it.
    fn check(&mut self, _: &Session, command: &Command) -> Result<Verdict, Error> {
        let statements = command.sql();
        let Some(statement) = statements.iter().find(|s| !s.has_where()) else { return Ok(Verdict::allow()) };
        let what = format!("{} without a WHERE clause", statement.verb());
        Ok(Verdict::deny(&self.0.message).finding("no-where", what))
    }
}

portcullis_sdk::export!(NoMassDelete: commands);

#[cfg(test)]
mod tests {
    use portcullis_sdk::testing::{session, sql, statement};
    use portcullis_sdk::{Decision, load};

    use super::*;

    fn check<const N: usize>(settings: &str, statements: [portcullis_sdk::SqlStatement; N]) -> Verdict {
        let mut policy: NoMassDelete = load(settings).unwrap();
        policy.check(&session("alice"), &sql("", statements)).unwrap()
    }

    #[test]
    fn every_statement_needs_a_where_clause() {
        let (all, some) = (|| statement("DELETE").without_where(), || statement("DELETE"));
        assert_eq!(check("{}", [all()]).decision, Decision::Deny);
        assert_eq!(check("{}", [some()]).decision, Decision::Allow);
        let verdict = check("{}", [some(), all()]);
        assert_eq!(verdict.decision, Decision::Deny);
        assert_eq!(verdict.findings[0].message, "DELETE without a WHERE clause");
    }

    #[test]
    fn the_client_is_told_what_the_settings_say() {
        let verdict = check(r#"{"message": "not all of them"}"#, [statement("UPDATE").without_where()]);
        assert_eq!(verdict.message.as_deref(), Some("not all of them"));
    }

    #[test]
    fn a_misspelt_setting_is_an_error() {
        assert!(load::<NoMassDelete>(r#"{"massage": "not all of them"}"#).is_err());
    }
}
