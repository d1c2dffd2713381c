//! A justification that a client gives with its commands: in a leading comment, or with a setting that the gateway keeps to itself.

use pg_query::protobuf::{VariableSetKind, a_const::Val};
use pg_query::{NodeEnum, ParserOptions};

use super::Lexing;
use super::read::bounded;

/// The setting's name.
pub const SETTING: &str = "portcullis.reason";

/// What a text does to the setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// It sets the justification, or takes it back.
    To(Option<String>),
    /// It does so among other statements, only for a transaction, or with something else than one string.
    Unclear,
}

/// What a text does to the setting, if anything.
pub fn setting(text: &str) -> Option<Setting> {
    let named = |at: usize| text.get(at..at + SETTING.len()).is_some_and(|name| name.eq_ignore_ascii_case(SETTING));
    if !memchr::memchr2_iter(b'p', b'P', text.as_bytes()).any(named) {
        return None;
    }
    // A text that cannot be read does not run where anybody would ask for a justification.
    bounded(text, Lexing::default()).ok()?;
    let tree = pg_query::parse(text, ParserOptions::DISABLE_ESCAPE_STRING_WARNING).ok()?;
    let nodes = || tree.protobuf.stmts.iter().filter_map(|raw| raw.stmt.as_ref()?.node.as_ref());
    let sets = |node: &NodeEnum| match node {
        NodeEnum::VariableSetStmt(set) => set.name.eq_ignore_ascii_case(SETTING),
        _ => false,
    };
    if !nodes().any(sets) {
        return None;
    }
    let mut all = nodes();
    let (Some(NodeEnum::VariableSetStmt(set)), None) = (all.next(), all.next()) else { return Some(Setting::Unclear) };
    let value = match set.args.first().and_then(|argument| argument.node.as_ref()) {
        Some(NodeEnum::AConst(constant)) => match &constant.val {
            Some(Val::Sval(text)) => Some(text.sval.clone()),
            _ => None,
        },
        _ => None,
    };
    Some(match (set.kind(), value) {
        _ if set.is_local || set.args.len() > 1 => Setting::Unclear,
        (VariableSetKind::VarReset | VariableSetKind::VarSetDefault, _) => Setting::To(None),
        (VariableSetKind::VarSetValue, Some(value)) => Setting::To(Some(value).filter(|value| !value.is_empty())),
        _ => Setting::Unclear,
    })
}

/// The justification in a leading comment `/* reason: … */`.
pub fn leading(text: &str) -> Option<&str> {
    let comment = text.trim_start().strip_prefix("/*")?.trim_start();
    let (head, rest) = comment.split_at_checked("reason:".len())?;
    let (reason, _) = rest.split_once("*/").filter(|_| head.eq_ignore_ascii_case("reason:"))?;
    // Comments nest: the outer one ends elsewhere.
    Some(reason.trim()).filter(|reason| !reason.is_empty() && !reason.contains("/*"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_is_found_where_it_stands_alone() {
        let to = |text: &str| Some(Setting::To(Some(text.into())));
        assert_eq!(setting("SET portcullis.reason = 'ticket 42'"), to("ticket 42"));
        assert_eq!(setting("/* x */ set session Portcullis.Reason to 'it''s';"), to("it's"));
        assert_eq!(setting("set portcullis.reason = e'a\\'b'"), to("a'b"));
        for text in ["reset portcullis.reason", "set portcullis.reason to default", "set portcullis.reason = ''"] {
            assert_eq!(setting(text), Some(Setting::To(None)), "{text}");
        }
        for text in [
            "set portcullis.reason = 'a'; drop table t",
            "select 1; set portcullis.reason = 'a'",
            "set local portcullis.reason = 'a'",
            "set portcullis.reason = 'a', 'b'",
            "set portcullis.reason = 7",
            "set portcullis.reason from current",
        ] {
            assert_eq!(setting(text), Some(Setting::Unclear), "{text}");
        }
        for text in ["select 1", "select 'portcullis.reason'", "show portcullis.reason", "set portcullis.reason 'x"] {
            assert_eq!(setting(text), None, "{text}");
        }
        assert_eq!(setting(&("set portcullis.reason = 'x' ".to_owned() + &"/**/".repeat(10_000))), None);
    }

    #[test]
    fn a_leading_comment_gives_a_reason() {
        assert_eq!(leading(" /* Reason:  ticket 42 */ drop table t"), Some("ticket 42"));
        assert_eq!(leading("/*reason:x*/select 1"), Some("x"));
        for text in ["/* because */ x", "select /* reason: y */ 1", "/* reason: a /* b */ */ x", "/* reason: */", "/*é"]
        {
            assert_eq!(leading(text), None, "{text}");
        }
    }
}
