use super::*;
#[test]
fn dump() {
    for line in std::fs::read_to_string("/tmp/cases.sql").unwrap().lines().filter(|l| !l.is_empty()) {
        println!("{line}\n    {}", match read(line, Lexing::default()) { Err(e) => format!("ERR {e}"), Ok(f) => f.statements.iter().map(show).collect::<Vec<_>>().join("  ;;  ") });
    }
}
fn letters(effects: Effects) -> String {
    "rwdpstiofx".chars().enumerate().filter(|(bit, _)| effects.bits() >> bit & 1 == 1).map(|(_, c)| c).collect()
}
fn show(s: &Statement) -> String {
    let dot = |parts: &[&str]| parts.iter().filter(|p| !p.is_empty()).copied().collect::<Vec<_>>().join(".");
    let relations: Vec<_> = s.relations.iter().map(|r| format!("{}:{}", dot(&[&r.schema, &r.name]), letters(r.effects))).collect();
    let columns: Vec<_> = s.columns_read.iter().map(|c| if c.relation.is_empty() { format!("?.{}", c.name) } else { dot(&[&c.schema, &c.relation, &c.name]) }).collect();
    let parts = [format!("{}{}", s.verb, if s.has_where { "" } else { "!" }), letters(s.effects), relations.join(" "), columns.join(" "), s.functions.join(" ")];
    parts.iter().map(|p| if p.is_empty() { "-" } else { p }).collect::<Vec<_>>().join(" | ")
}
