use super::*;

fn case<'a>(name: &'a str, outcome: Result<(), &str>) -> CaseResult<'a> {
    let outcome = outcome.map_err(String::from);
    CaseResult { name, file: Path::new("cases/a.toml"), time: Duration::from_millis(1500), outcome }
}

#[test]
fn a_report_counts_and_names_everything() {
    let suites = [
        Suite {
            package: "block",
            time: Duration::from_secs(3),
            cases: vec![case("a", Ok(())), case("b", Err("x\ny"))],
        },
        Suite { package: "mask", time: Duration::ZERO, cases: vec![] },
    ];
    let text = junit(&suites);
    let document = roxmltree::Document::parse(&text).unwrap();
    let root = document.root_element();
    let attributes = |node: roxmltree::Node, names: &[&str]| {
        names.iter().map(|name| node.attribute(*name).unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(attributes(root, &["tests", "failures", "errors", "time"]), ["2", "1", "0", "3.000000"]);
    let found: Vec<_> = root.children().filter(roxmltree::Node::is_element).collect();
    assert_eq!(attributes(found[0], &["name", "tests", "failures"]), ["block", "2", "1"]);
    assert_eq!(attributes(found[1], &["name", "tests", "failures"]), ["mask", "0", "0"]);
    let cases: Vec<_> = found[0].children().filter(roxmltree::Node::is_element).collect();
    let names = ["name", "classname", "file", "time"];
    assert_eq!(attributes(cases[0], &names), ["a", "block", "cases/a.toml", "1.500000"]);
    assert!(cases[0].first_element_child().is_none());
    let failure = cases[1].first_element_child().unwrap();
    assert_eq!((failure.attribute("message"), failure.text()), (Some("x"), Some("x\ny")));
}

#[test]
fn a_report_is_xml_whatever_is_in_it() {
    let every: String = (0..0x300).chain(0x2020..0x2030).chain(0xfff0..=0x10010).filter_map(char::from_u32).collect();
    let name = format!("a\n\t\"]]><!--&amp;{every}");
    let text = junit(&[Suite { package: &name, time: Duration::ZERO, cases: vec![case(&name, Err(&name))] }]);
    let document = roxmltree::Document::parse(&text).unwrap();
    let found = document.descendants().find(|node| node.has_tag_name("testcase")).unwrap();
    let shown = |c: char| match c {
        '\n' | '\t' => c.to_string(),
        c if c.is_control() || "\u{fffe}\u{ffff}".contains(c) => format!("\\u{{{:x}}}", c as u32),
        c => c.to_string(),
    };
    let expected: String = name.chars().map(shown).collect();
    assert_eq!(found.attribute("name"), Some(&*expected));
    assert_eq!(found.attribute("classname"), Some(&*expected));
    assert_eq!(found.first_element_child().unwrap().text(), Some(&*expected));
    assert!(!text.contains('\u{1b}'));
}
