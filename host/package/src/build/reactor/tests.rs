use wit_component::DecodedWasm;

use super::*;

/// A module that answers nothing, with these imports, these exports beside those of `lifecycle`, and this data.
fn module(imports: &str, hooks: &[(&str, &str)], more: &str) -> Vec<u8> {
    module_for("0.1.1", imports, hooks, more)
}

fn module_for(version: &str, imports: &str, hooks: &[(&str, &str)], more: &str) -> Vec<u8> {
    let lifecycle = [("lifecycle@0.1.1#validate-settings", "i32 i32"), ("lifecycle@0.1.1#configure", "i32 i32")];
    let exports = lifecycle.iter().chain(hooks).map(|(name, parameters)| {
        let name = name.replace("0.1.1", version);
        format!("(func (export \"portcullis:policy/{name}\") (param {parameters}) (result i32) unreachable)")
    });
    let exports: String = exports.collect();
    let realloc = "(func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) unreachable)";
    wat::parse_str(format!("(module {imports} (memory (export \"memory\") 1) {realloc} {exports} {more})")).unwrap()
}

const ROWS: [(&str, &str); 2] =
    [("rows@0.1.1#plan-result", "i32 i32 i32"), ("rows@0.1.1#filter-batch", "i32 i32 i32 i32 i32 i32")];

const COMMANDS: [(&str, &str); 3] = [
    ("commands@0.1.1#open", "i32"),
    ("commands@0.1.1#check", "i32 i32"),
    ("commands@0.1.1#approved", "i32 i32 i32 i32"),
];

const WRITES: &str = r#"(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))"#;

/// What a component imports and exports.
fn world(component: &[u8]) -> (Vec<String>, Vec<String>) {
    let Ok(DecodedWasm::Component(resolve, world)) = wit_component::decode(component) else { panic!("no component") };
    let world = &resolve.worlds[world];
    let names = |items: Vec<_>| items.into_iter().map(|key| resolve.name_world_key(key)).collect();
    (names(world.imports.keys().collect()), names(world.exports.keys().collect()))
}

#[test]
fn the_hooks_are_those_that_the_module_exports() {
    let both = [&COMMANDS[..], &ROWS[..]].concat();
    for (hooks, names) in [(&COMMANDS[..], &["commands"][..]), (&ROWS[..], &["rows"]), (&both, &["commands", "rows"])] {
        let (_, exports) = world(&encode(&module("", hooks, "")).unwrap());
        let expected = names.iter().chain(&["lifecycle"]).map(|name| format!("portcullis:policy/{name}@0.1.1"));
        let mut expected: Vec<String> = expected.collect();
        expected.sort();
        let mut exports = exports;
        exports.sort();
        assert_eq!(exports, expected);
    }
}

/// Sources with an SDK of an earlier version go on being built.
#[test]
fn the_interface_is_called_as_the_module_calls_it() {
    let (_, exports) = world(&encode(&module_for("0.1.0", "", &COMMANDS, "")).unwrap());
    assert!(exports.contains(&"portcullis:policy/commands@0.1.0".to_owned()), "{exports:?}");
}

#[test]
fn a_module_for_wasi_makes_a_component_that_imports_nothing_of_it() {
    let scratch = "(global (export \"portcullis_scratch\") i32 (i32.const 64))";
    let (imports, _) = world(&encode(&module(WRITES, &COMMANDS, scratch)).unwrap());
    assert!(imports.contains(&"portcullis:policy/log@0.1.1".to_owned()), "{imports:?}");
    assert!(imports.iter().all(|name| name.starts_with("portcullis:policy/")), "{imports:?}");
}

#[test]
fn lines_are_assembled_where_nobody_else_writes() {
    let data = |at: u32| format!("(data (i32.const {at}) \"x\") (data (i32.const 65000) \"y\")");
    assert!(encode(&module(WRITES, &COMMANDS, &data(12288))).is_ok());
    for taken in ["", &data(12287)] {
        let error = encode(&module(WRITES, &COMMANDS, taken)).unwrap_err().to_string();
        assert!(error.contains("build it with the SDK"), "{error}");
    }
    let scratch = "(import \"env\" \"g\" (global i32)) (global (export \"portcullis_scratch\") i32 (i32.const 64))";
    let about = About::read(&wat::parse_str(format!("(module {scratch})")).unwrap()).unwrap();
    assert_eq!(about.scratch, Some(64));
    // A module that wants nothing of a machine needs no place.
    assert!(encode(&module("", &COMMANDS, &data(16))).is_ok());
}

#[test]
fn a_module_that_is_no_policy_is_told_what_it_lacks() {
    let error = encode(&module("", &[], "")).unwrap_err().to_string();
    assert!(error.contains("portcullis:policy/commands@0.1.1"), "{error}");
    let half = encode(&module("", &COMMANDS[..2], "")).unwrap_err().to_string();
    assert!(half.contains("approved"), "{half}");
    let threads = r#"(import "wasi_snapshot_preview1" "thread-spawn" (func (param i32) (result i32)))"#;
    let scratch = "(global (export \"portcullis_scratch\") i32 (i32.const 64))";
    let error = encode(&module(threads, &COMMANDS, scratch)).unwrap_err().to_string();
    assert!(error.contains("thread-spawn"), "{error}");
    assert!(encode(b"nonsense").is_err());
}
