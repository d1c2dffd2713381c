//! Bounds the rows of a result and the commands per minute.

use portcullis_sdk::{
    Command, Commands, Error, Phase, Plan, Policy, ResultSet, Rows, Session, SettingError, SettingErrors, Verdict,
    state,
};
use serde::Deserialize;

const WINDOW_SECONDS: u32 = 60;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    max_rows: Option<u64>,
    commands_per_minute: Option<u32>,
    #[serde(default)]
    exempt_groups: Vec<String>,
}

#[derive(Debug)]
struct Limit(Settings);

impl Policy for Limit {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Vec<SettingError>> {
        let mut errors = SettingErrors::default();
        let any = settings.max_rows.is_some() || settings.commands_per_minute.is_some();
        errors.check(any, "", "there is nothing to limit; give `max_rows` or `commands_per_minute`");
        let rate = settings.commands_per_minute != Some(0);
        errors.check(rate, "/commands_per_minute", "no command could ever run; leave it out or give at least 1");
        errors.or(Self(settings))
    }
}

impl Limit {
    fn exempts(&self, session: &Session) -> bool {
        !self.0.exempt_groups.is_empty() && session.groups().iter().any(|g| self.0.exempt_groups.contains(g))
    }
}

impl Commands for Limit {
    /// Counts commands that are to run, over all sessions of the principal. The window begins with the first of them.
    fn check(&mut self, session: &Session, command: &Command) -> Result<Verdict, Error> {
        let Some(limit) = self.0.commands_per_minute else { return Ok(Verdict::allow()) };
        if command.phase() == Phase::Prepare || self.exempts(session) {
            return Ok(Verdict::allow());
        }
        let key = format!("commands/{}", session.principal());
        let count = state::increment(&key, 1, WINDOW_SECONDS)
            .map_err(|why| Error::new("no-count", format!("the command cannot be counted: {why}")))?;
        if count <= i64::from(limit) {
            return Ok(Verdict::allow());
        }
        let message = format!("more than {limit} commands in a minute; wait a minute and try again");
        Ok(Verdict::deny(message).finding("commands_per_minute", format!("command {count} of the minute")))
    }

    /// It was counted when it was checked.
    fn approved(&mut self, _: &Session, _: &Command, _: &[String]) -> Result<Verdict, Error> {
        Ok(Verdict::allow())
    }
}

impl Rows for Limit {
    fn plan(&mut self, session: &Session, _: &Command, _: &ResultSet) -> Result<Plan, Error> {
        let max_rows = self.0.max_rows.filter(|_| !self.exempts(session));
        Ok(Plan { max_rows, ..Plan::keep() })
    }
}

portcullis_sdk::export!(Limit: commands, rows);

#[cfg(test)]
mod tests {
    use portcullis_sdk::testing::{result, session, set_now_ms, set_state_failing, sql};
    use portcullis_sdk::{Decision, load};

    use super::*;

    fn limit(settings: &str) -> Limit {
        load(settings).unwrap()
    }

    fn decide(policy: &mut Limit, who: &Session) -> Decision {
        policy.check(who, &sql("SELECT 1", [])).unwrap().decision
    }

    #[test]
    fn commands_are_counted_per_principal_and_minute() {
        let settings = r#"{"commands_per_minute": 2, "exempt_groups": ["batch"]}"#;
        let (mut first, mut second) = (limit(settings), limit(settings));
        let (alice, bob) = (session("alice"), session("bob"));
        assert_eq!(decide(&mut first, &alice), Decision::Allow);
        set_now_ms(59_999);
        assert_eq!(decide(&mut second, &alice), Decision::Allow, "sessions share the count");
        let over = first.check(&alice, &sql("SELECT 1", [])).unwrap();
        assert_eq!(over.decision, Decision::Deny);
        assert!(over.message.unwrap().contains("more than 2 commands"));
        assert_eq!(decide(&mut first, &bob), Decision::Allow);
        assert_eq!(decide(&mut first, &session("alice").with_groups(["batch"])), Decision::Allow);
        set_now_ms(60_000);
        assert_eq!(decide(&mut first, &alice), Decision::Allow, "a new window");
    }

    #[test]
    fn preparing_does_not_count() {
        let mut policy = limit(r#"{"commands_per_minute": 1}"#);
        for _ in 0..3 {
            let prepared = policy.check(&session("alice"), &sql("SELECT 1", []).prepared());
            assert_eq!(prepared.unwrap().decision, Decision::Allow);
        }
        assert_eq!(decide(&mut policy, &session("alice")), Decision::Allow);
        assert_eq!(decide(&mut policy, &session("alice")), Decision::Deny);
    }

    #[test]
    fn what_cannot_be_counted_does_not_run() {
        let mut policy = limit(r#"{"commands_per_minute": 1}"#);
        set_state_failing(true);
        let error = policy.check(&session("alice"), &sql("SELECT 1", [])).unwrap_err();
        assert_eq!(error.code, "no-count");
    }

    #[test]
    fn results_are_bounded_but_for_exempt_groups() {
        let mut policy = limit(r#"{"max_rows": 10, "exempt_groups": ["batch"]}"#);
        let mut rows = |who| policy.plan(&who, &sql("SELECT 1", []), &result([])).unwrap().max_rows;
        assert_eq!(rows(session("alice")), Some(10));
        assert_eq!(rows(session("carol").with_groups(["batch"])), None);
        assert_eq!(decide(&mut policy, &session("alice")), Decision::Allow, "nothing to count");
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (settings, path) in [
            ("{}", ""),
            (r#"{"commands_per_minute": 0}"#, "/commands_per_minute"),
            (r#"{"max_rows": -1}"#, "/max_rows"),
            (r#"{"max_row": 1}"#, "/max_row"),
        ] {
            assert_eq!(load::<Limit>(settings).unwrap_err()[0].path, path, "{settings}");
        }
    }
}
