use std::sync::{Mutex, PoisonError};

use crate::build::build;
use crate::component::tests::{WIT, metadata};
use crate::package::Package;
use crate::package::tests::{Dir, MINIMAL};

/// With CARGO_TARGET_DIR set, the guests of these tests have the same name in the same directory: one at a time.
static ONE: Mutex<()> = Mutex::new(());

/// A guest without dependencies from a registry: what bindings would be generated is spelled out.
const GUEST: &str = r#"
#[used]
#[unsafe(link_section = "component-type:guest")]
static TYPE: [u8; include_bytes!("world.bin").len()] = *include_bytes!("world.bin");

#[unsafe(export_name = "portcullis:policy/commands@0.1.1#check")]
pub extern "C" fn check() {}

#[unsafe(export_name = "portcullis:policy/lifecycle@0.1.1#configure")]
pub extern "C" fn configure() {
    #[link(wasm_import_module = "portcullis:policy/clock@0.1.1")]
    unsafe extern "C" {
        #[link_name = "now-ms"]
        fn now_ms() -> u64;
    }
    helper::fail(unsafe { now_ms() });
}
"#;

/// The panic message holds the file's name.
const HELPER: &str = "pub fn fail(n: u64) {\n    if n == 7 {\n        panic!(\"seven\");\n    }\n}\n";

/// A package in `policy/`, its crate in a workspace beside it, and a crate in the directory `helper` that it depends on.
fn guest(test: &str, helper: &str) -> (Dir, Package) {
    let dir = Dir::new(test);
    let library = |name: &str| format!("[package]\nname = \"{name}\"\nversion = \"1.2.3\"\nedition = \"2024\"\n");
    dir.put("ws/Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"guest\", \"other\"]\n");
    let depends =
        format!("[dependencies]\nhelper = {{ path = \"../../{helper}\" }}\nother = {{ path = \"../other\" }}\n");
    let cdylib = "[lib]\ncrate-type = [\"cdylib\"]\n";
    dir.put("ws/guest/Cargo.toml", library("guest") + cdylib + &depends);
    dir.put("ws/guest/src/lib.rs", GUEST);
    dir.put("ws/guest/src/world.bin", metadata(WIT, "timed"));
    // A dependency that makes a module of its own, which is not the one to take.
    dir.put("ws/other/Cargo.toml", library("other") + "[lib]\ncrate-type = [\"cdylib\", \"rlib\"]\n");
    dir.put("ws/other/src/lib.rs", "");
    dir.put(&format!("{helper}/Cargo.toml"), library("helper"));
    dir.put(&format!("{helper}/src/lib.rs"), HELPER);
    let sections = "[capabilities]\nclock = \"a test\"\n[build]\nlanguage = \"rust\"\nsource = \"../ws/guest\"\n";
    let manifest = dir.put("policy/policy.toml", format!("{MINIMAL}{sections}"));
    let package = Package::open(&manifest).unwrap();
    (dir, package)
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn the_same_workspace_gives_the_same_component_anywhere() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut digests = Vec::new();
    for place in ["first", "another-place"] {
        let (dir, package) = guest(place, "ws/helper");
        let mut lines = Vec::new();
        let built = build(&package, &mut |line| lines.push(line.to_owned())).unwrap();
        let bytes = package.component().unwrap();
        assert_eq!((built.component, built.bytes), (dir.path("policy/out/block.wasm"), bytes.len() as u64));
        assert!(holds(&bytes, "helper/src/lib.rs"), "no panic message names a file, so that this tests nothing");
        assert!(lines.iter().any(|line| line.contains("Compiling guest")), "{lines:?}");
        digests.push(built.digest);
    }
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn no_path_of_the_machine_gets_into_a_component() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (dir, package) = guest("paths", "helper");
    build(&package, &mut |_| {}).unwrap();
    let bytes = package.component().unwrap();
    assert!(holds(&bytes, "/helper-1.2.3/src/lib.rs"));
    assert!(!holds(&bytes, dir.path("").to_str().unwrap()));
}

#[test]
fn what_cannot_be_built_says_why() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (dir, mut package) = guest("broken", "helper");
    let error = |package: &Package| build(package, &mut |_| {}).unwrap_err().to_string();
    package.manifest.capabilities.clear();
    assert!(error(&package).contains("clock = "));
    assert!(!package.component_path().exists());

    dir.put("ws/guest/src/lib.rs", "fn broken() { nowhere() }");
    let message = error(&package);
    assert!(message.contains("`cargo build` failed") && message.contains("`nowhere`"), "{message}");

    dir.put("ws/guest/src/lib.rs", "");
    let manifest = std::fs::read_to_string(dir.path("ws/guest/Cargo.toml")).unwrap();
    dir.put("ws/guest/Cargo.toml", manifest.replace("cdylib", "rlib"));
    assert!(error(&package).contains("add `crate-type = [\"cdylib\"]`"));

    dir.put("ws/guest/Cargo.toml", "[package\n");
    assert!(error(&package).contains("`cargo metadata` failed"));
    std::fs::remove_file(dir.path("ws/guest/Cargo.toml")).unwrap();
    assert!(error(&package).contains("ws/guest/Cargo.toml cannot be read"));
    package.manifest.build = None;
    assert!(error(&package).contains("no [build] section"));
}
