use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use crate::{BatchResult, Chunk, Command, Error, Plan, ResultSet, Session, SettingError, Verdict};

/// A policy: what every instance is made from. Each session has an instance of its own.
pub trait Policy: Sized + 'static {
    /// What the configuration may set. Use `#[serde(deny_unknown_fields)]`: a misspelt rule must not pass for none.
    type Settings: DeserializeOwned;

    /// Makes an instance, or says everything that is wrong in the settings.
    fn new(settings: Self::Settings) -> Result<Self, Vec<SettingError>>;
}

/// A policy that decides on sessions and commands.
pub trait Commands: Policy {
    /// The kinds of command that the policy wants to check. One whose settings leave it nothing to check names none.
    fn kinds(&self) -> &'static [&'static str] {
        &["sql"]
    }

    /// May the session open? Unless overridden, it may.
    fn open(&mut self, _session: &Session) -> Result<Verdict, Error> {
        Ok(Verdict::allow())
    }

    /// May the command run?
    fn check(&mut self, session: &Session, command: &Command) -> Result<Verdict, Error>;

    /// May the command run now that these people approved it? A policy that demands reviews must answer this: unless
    /// overridden it checks again, and demanding another review is a denial.
    fn approved(&mut self, session: &Session, command: &Command, _approvers: &[String]) -> Result<Verdict, Error> {
        self.check(session, command)
    }
}

/// A policy that decides on results.
pub trait Rows: Policy {
    /// What happens to the columns of a result, before its first row.
    fn plan(&mut self, session: &Session, command: &Command, result: &ResultSet) -> Result<Plan, Error>;

    /// What changes in the inspected columns of a batch. A policy that inspects must override this.
    fn filter(
        &mut self,
        _session: &Session,
        _command: &Command,
        _result: &ResultSet,
        _rows: u32,
        _chunks: &[Chunk],
    ) -> Result<BatchResult, Error> {
        Err(Error::new("no-filter", "the policy inspects columns, but does not filter them"))
    }
}

/// Makes a policy from its settings, a JSON text. What is wrong is told by JSON pointer.
pub fn load<P: Policy>(settings: &str) -> Result<P, Vec<SettingError>> {
    let mut json = serde_json::Deserializer::from_str(settings);
    let read = serde_path_to_error::deserialize(&mut json);
    let settings: P::Settings = read.map_err(|e| vec![SettingError::new(pointer(e.path()), e.inner().to_string())])?;
    json.end().map_err(|e| vec![SettingError::new("", e.to_string())])?;
    P::new(settings)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => pointer.push_str(&format!("/{}", key.replace('~', "~0").replace('/', "~1"))),
            // A variant's name is not a level of the JSON text.
            Segment::Enum { .. } => {}
            Segment::Unknown => break,
        }
    }
    pointer
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Numbers(Vec<u8>);

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        #[serde(rename = "a/b")]
        numbers: Vec<u8>,
    }

    impl Policy for Numbers {
        type Settings = Settings;

        fn new(settings: Settings) -> Result<Self, Vec<SettingError>> {
            Ok(Self(settings.numbers))
        }
    }

    #[test]
    fn settings_are_read_and_errors_point_at_their_place() {
        assert_eq!(load::<Numbers>(r#"{"a/b": [1, 2]}"#), Ok(Numbers(vec![1, 2])));
        for (text, path) in [
            (r#"{"a/b": [1, -2]}"#, "/a~1b/1"),
            (r#"{"a/b": [1], "c": 1}"#, "/c"),
            (r#"{"a/b": 7}"#, "/a~1b"),
            (r#"{"a/b": []} x"#, ""),
            ("{}", ""),
        ] {
            let errors = load::<Numbers>(text).unwrap_err();
            assert_eq!(errors[0].path, path, "{text}: {}", errors[0].message);
        }
    }
}
