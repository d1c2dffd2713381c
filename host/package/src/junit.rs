//! Results of test cases as JUnit XML, which CI systems show.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// The cases of one package.
#[derive(Clone, Debug)]
pub struct Suite<'a> {
    /// The package's name.
    pub package: &'a str,
    /// How long all of them took.
    pub time: Duration,
    /// The cases, in the order in which they ran.
    pub cases: Vec<CaseResult<'a>>,
}

/// How a case went.
#[derive(Clone, Debug)]
pub struct CaseResult<'a> {
    /// Its name.
    pub name: &'a str,
    /// The file that it is in.
    pub file: &'a Path,
    /// How long it took.
    pub time: Duration,
    /// Every difference, if it failed, as [`run_case`](crate::run_case) shows them.
    pub outcome: Result<(), String>,
}

/// The document.
pub fn junit(suites: &[Suite]) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let tests = suites.iter().map(|suite| suite.cases.len()).sum::<usize>();
    let failures = suites.iter().map(failures).sum::<usize>();
    let time = suites.iter().map(|suite| suite.time).sum();
    let counts = |tests, failures, time| {
        format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"0\" time=\"{}\"", seconds(time))
    };
    line(&mut out, format_args!("<testsuites name=\"portcullis\" {}>", counts(tests, failures, time)));
    for suite in suites {
        let package = attribute(suite.package);
        let counts = counts(suite.cases.len(), self::failures(suite), suite.time);
        line(&mut out, format_args!("  <testsuite name=\"{package}\" {counts}>"));
        for case in &suite.cases {
            put_case(&mut out, &package, case);
        }
        line(&mut out, format_args!("  </testsuite>"));
    }
    line(&mut out, format_args!("</testsuites>"));
    out
}

fn put_case(out: &mut String, package: &str, case: &CaseResult) {
    let name = attribute(case.name);
    let file = attribute(&case.file.to_string_lossy());
    let start = format!(
        "    <testcase name=\"{name}\" classname=\"{package}\" file=\"{file}\" time=\"{}\"",
        seconds(case.time)
    );
    match &case.outcome {
        Ok(()) => line(out, format_args!("{start}/>")),
        Err(differences) => {
            let message = attribute(differences.lines().next().unwrap_or_default());
            let text = escaped(differences);
            line(out, format_args!("{start}>"));
            line(out, format_args!("      <failure message=\"{message}\">{text}</failure>"));
            line(out, format_args!("    </testcase>"));
        }
    }
}

fn failures(suite: &Suite) -> usize {
    suite.cases.iter().filter(|case| case.outcome.is_err()).count()
}

fn seconds(time: Duration) -> String {
    format!("{:.6}", time.as_secs_f64())
}

fn line(out: &mut String, text: std::fmt::Arguments) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{text}");
}

/// Text for an attribute, in which a parser would make white space of a line's end.
fn attribute(text: &str) -> String {
    escaped(text).replace('\n', "&#10;").replace('\t', "&#9;")
}

/// Text that is XML 1.0, whatever is in it: what that cannot hold in any spelling is shown as Rust writes it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            // Other control characters could also drive the terminal on which the report is read.
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests;
