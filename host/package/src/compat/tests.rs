use std::collections::BTreeSet;
use std::path::Path;

use wit_parser::{Function, InterfaceId, Type, TypeDefKind, TypeId};

use super::*;
use crate::component::tests::component;

const CURRENT: &str = include_str!("../../../../wit/policy.wit");

fn parse(wit: &str) -> (Resolve, Vec<(String, InterfaceId)>) {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("policy.wit", wit).unwrap();
    let interfaces = resolve.packages[package].interfaces.iter().map(|(name, id)| (name.clone(), *id)).collect();
    (resolve, interfaces)
}

/// Everything about the interfaces of a package that a component could rely on, a line each: functions with their types, types with all
/// their parts.
fn surface(wit: &str) -> BTreeSet<String> {
    let (resolve, interfaces) = parse(wit);
    let mut lines = BTreeSet::new();
    for (name, id) in interfaces {
        lines.insert(format!("interface {name}"));
        for function in resolve.interfaces[id].functions.values() {
            lines.insert(format!("{name}: {}", signature(&resolve, function)));
        }
        for (type_name, id) in &resolve.interfaces[id].types {
            lines.insert(format!("{name}: type {type_name} = {}", kind(&resolve, *id)));
        }
    }
    for (_, world) in &resolve.worlds {
        for (key, _) in &world.exports {
            lines.insert(format!(
                "world {} exports {}",
                world.name,
                resolve.name_world_key(key).replace(char::is_numeric, "")
            ));
        }
    }
    lines
}

fn signature(resolve: &Resolve, function: &Function) -> String {
    let params: Vec<String> = function.params.iter().map(|p| format!("{}: {}", p.name, shown(resolve, p.ty))).collect();
    let result = function.result.map(|ty| shown(resolve, ty)).unwrap_or_default();
    format!("{}({}) -> {result}", function.name, params.join(", "))
}

/// A type where it is used: by its name if it has one.
fn shown(resolve: &Resolve, ty: Type) -> String {
    match ty {
        Type::Id(id) => resolve.types[id].name.clone().unwrap_or_else(|| kind(resolve, id)),
        primitive => format!("{primitive:?}"),
    }
}

/// A type with all its parts.
fn kind(resolve: &Resolve, id: TypeId) -> String {
    let ty = |ty: &Type| shown(resolve, *ty);
    let some = |t: &Option<Type>| t.as_ref().map_or("_".into(), ty);
    let list = |parts: Vec<String>| parts.join(", ");
    match &resolve.types[id].kind {
        TypeDefKind::Record(record) => {
            list(record.fields.iter().map(|field| format!("{}: {}", field.name, ty(&field.ty))).collect())
        }
        TypeDefKind::Variant(variant) => {
            list(variant.cases.iter().map(|case| format!("{}({})", case.name, some(&case.ty))).collect())
        }
        TypeDefKind::Enum(cases) => list(cases.cases.iter().map(|case| case.name.clone()).collect()),
        TypeDefKind::Flags(flags) => list(flags.flags.iter().map(|flag| flag.name.clone()).collect()),
        TypeDefKind::Tuple(tuple) => format!("tuple<{}>", list(tuple.types.iter().map(ty).collect())),
        TypeDefKind::Option(inner) => format!("option<{}>", ty(inner)),
        TypeDefKind::List(inner) => format!("list<{}>", ty(inner)),
        TypeDefKind::Result(result) => format!("result<{}, {}>", some(&result.ok), some(&result.err)),
        TypeDefKind::Handle(handle) => match handle {
            wit_parser::Handle::Own(id) => format!("own<{}>", shown(resolve, Type::Id(*id))),
            wit_parser::Handle::Borrow(id) => format!("borrow<{}>", shown(resolve, Type::Id(*id))),
        },
        TypeDefKind::Type(alias) => ty(alias),
        TypeDefKind::Resource => "resource".into(),
        other => panic!("the comparison does not know {other:?}: teach it"),
    }
}

/// What the old interface has and the new one has not, or has otherwise.
fn broken(old: &str, new: &str) -> Vec<String> {
    surface(old).difference(&surface(new)).cloned().collect()
}

/// Every interface that was ever released, by its version.
fn frozen() -> Vec<(String, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/compat");
    let entries = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
    let version = |dir: std::path::PathBuf| {
        let wit = std::fs::read_to_string(dir.join("wit/policy.wit")).unwrap();
        (dir.file_name().unwrap().to_str().unwrap().to_owned(), wit)
    };
    entries.filter(|path| path.is_dir()).map(version).collect()
}

#[test]
fn the_interface_only_grows() {
    let frozen = frozen();
    assert!(frozen.iter().any(|(version, _)| version == "0.1.0"));
    for (version, wit) in frozen {
        assert_eq!(broken(&wit, CURRENT), Vec::<String>::new(), "gone or changed since {version}");
    }
}

#[test]
fn any_change_but_an_addition_is_noticed() {
    let changes = [
        ("  now-ms: func() -> u64;", "  now-ms: func() -> s64;"),
        ("  now-ms: func() -> u64;", "  now: func() -> u64;"),
        ("interface random {", "interface chance {"),
        ("    session-state,", ""),
        ("    review,\n", "    review,\n    delay,\n"),
        ("    rule: string,\n", "    rule: string,\n    place: u32,\n"),
        ("    keep,\n    spans(spans),", "    spans(spans),\n    keep,"),
        ("put: func(key: string,", "put: func(name: string,"),
        ("    has-where: func() -> bool;", ""),
    ];
    for (from, to) in changes {
        let changed = CURRENT
            .replace(from, to)
            .replace("import random;", if to.contains("chance") { "import chance;" } else { "import random;" });
        assert_ne!(changed, CURRENT, "{from}");
        assert_ne!(broken(CURRENT, &changed), Vec::<String>::new(), "{from} -> {to}");
    }
    let grown = CURRENT
        .replace("  now-ms: func() -> u64;", "  now-ms: func() -> u64;\n  zone: func() -> string;")
        .replace("    dialect: func() -> string;", "    dialect: func() -> string;\n    comment: func() -> string;")
        .replace("interface log {", "interface letters { send: func(); }\ninterface log {")
        .replace("policy@0.1.1", "policy@0.1.2");
    assert_eq!(broken(CURRENT, &grown), Vec::<String>::new());
}

#[test]
fn the_table_holds_every_function_of_the_interface() {
    let (resolve, interfaces) = parse(CURRENT);
    let mut all = BTreeSet::new();
    for (interface, id) in &interfaces {
        all.extend(resolve.interfaces[*id].functions.keys().map(|function| format!("{interface}.{function}")));
        if resolve.interfaces[*id].functions.is_empty() {
            all.insert(format!("{interface}."));
        }
    }
    let lines = |(name, functions): &(&str, &[&str])| -> Vec<String> {
        if functions.is_empty() {
            vec![format!("{name}.")]
        } else {
            functions.iter().map(|f| format!("{name}.{f}")).collect()
        }
    };
    let table: BTreeSet<String> = ADDED.iter().flat_map(|(_, interfaces)| *interfaces).flat_map(lines).collect();
    assert_eq!(table, all);
    let version = &resolve.packages[resolve.packages.iter().next().unwrap().0].name.version;
    assert_eq!(version.as_ref().unwrap().to_string(), format!("0.1.{SERVED}"));
    assert_eq!(ADDED.last().unwrap().0, SERVED);
}

/// The current interface with a function that the next but two added.
fn later() -> String {
    CURRENT
        .replace("policy@0.1.1", "policy@0.1.3")
        .replace("  now-ms: func", "  zone: func() -> string;\n  now-ms: func")
}

#[test]
fn a_component_needs_the_version_that_added_what_it_uses() {
    let now = Needs::of(&component(CURRENT, "policy")).unwrap();
    assert_eq!(now, Needs { version: 1, uses: vec!["facts.command.conditions".into()] });
    assert!(now.is_served());
    let shown = now.to_string();
    assert_eq!(shown, "needs portcullis:policy@0.1.1: this gateway and every other that serves at least that");

    let next = Needs::of(&component(&later(), "policy")).unwrap();
    assert_eq!(next, Needs { version: 3, uses: vec!["clock.zone".into()] });
    assert!(!next.is_served());
    assert_eq!(
        next.to_string(),
        "needs portcullis:policy@0.1.3 for clock.zone, this gateway serves 0.1.1: it loads on gateways that serve at least that"
    );
}

#[test]
fn the_version_that_it_was_built_with_does_not_matter_if_it_uses_nothing_new() {
    let without = CURRENT.replace("policy@0.1.1", "policy@0.1.3");
    assert!(Needs::of(&component(&without, "policy")).unwrap().is_served());
    let world = later().replace("world policy {\n  include host-imports;", "world policy {\n  import facts;");
    assert!(Needs::of(&component(&world, "policy")).unwrap().is_served());
}

#[test]
fn what_is_no_component_needs_nothing_that_could_be_told() {
    assert!(matches!(Needs::of(b"nonsense"), Err(Unfit::Encoding(_))));
}
