use super::*;
use crate::package::tests::Dir;

const BLOCK: &str = "oci://registry.example/policies/block:1.2.0";
const MASK: &str = "oci://registry.example:5000/policies/mask:2";

fn digest(c: char) -> String {
    format!("sha256:{}", String::from(c).repeat(64))
}

fn parse(text: &str) -> Result<Lock, LockError> {
    Lock::parse(Path::new("portcullis.lock"), text)
}

fn refusal(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

fn entry(source: &str, version: &str, digest: &str) -> String {
    format!("\n[[package]]\nsource = \"{source}\"\nversion = \"{version}\"\ndigest = \"{digest}\"\n")
}

#[test]
fn what_is_written_is_read_back_and_sorted() {
    let dir = Dir::new("lock");
    let path = dir.path("portcullis.lock");
    let mut lock = Lock::default();
    lock.set("./local", "0.1.0", &digest('c')).unwrap();
    lock.set(MASK, "2.0.0-rc.1+5", &digest('b')).unwrap();
    lock.set(BLOCK, "1.2.0", &digest('a')).unwrap();
    lock.write(&path).unwrap();
    let expected = format!(
        "{HEADER}version = 1\n{}{}{}",
        entry("./local", "0.1.0", &digest('c')),
        entry(BLOCK, "1.2.0", &digest('a')),
        entry(MASK, "2.0.0-rc.1+5", &digest('b'))
    );
    // `:` comes after `/`: the order is that of bytes.
    assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
    assert_eq!(Lock::read(&path).unwrap(), lock);
    let names: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["portcullis.lock"], "nothing temporary stays");
}

#[test]
fn a_lock_that_is_missing_or_empty_holds_nothing() {
    let dir = Dir::new("no-lock");
    let path = dir.path("portcullis.lock");
    assert_eq!(Lock::read(&path).unwrap(), Lock::default());
    Lock::default().write(&path).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{HEADER}version = 1\n"));
    assert_eq!(Lock::read(&path).unwrap(), Lock::default());
}

#[test]
fn sources_are_set_removed_and_kept() {
    let mut lock = Lock::default();
    lock.set(BLOCK, "1.2.0", &digest('a')).unwrap();
    lock.set(BLOCK, "1.2.1", &digest('b')).unwrap();
    lock.set(MASK, "2.0.0", &digest('c')).unwrap();
    let locked = Locked { version: Version::new(1, 2, 1), digest: digest('b') };
    assert_eq!(lock.get(BLOCK), Some(&locked));
    lock.retain(|source, _| source == BLOCK);
    assert_eq!(lock.iter().map(|(source, _)| source).collect::<Vec<_>>(), [BLOCK]);
    assert_eq!(lock.remove(BLOCK), Some(locked));
    assert_eq!(lock.get(BLOCK), None);
}

#[test]
fn every_fault_is_told_with_its_place_and_the_way_out() {
    let cases = [
        ("", "portcullis.lock:1:1: missing field `version`"),
        ("version = \"1\"\n", "portcullis.lock:1:11: invalid type"),
        ("version = 1\n<<<<<<< HEAD\n", "portcullis.lock:2:"),
        ("version = 1\nchecksum = 1\n", "portcullis.lock:2:1: unknown field `checksum`"),
        (
            "version = 1\n[[package]]\nsource = \"a\"\nversion = \"1.0.0\"\n",
            "portcullis.lock:2:1: missing field `digest`",
        ),
    ];
    for (text, expected) in cases {
        let error = refusal(text);
        assert!(error.starts_with(expected) && error.ends_with(WAY_OUT), "{error}");
    }
    let entries = [
        (entry("", "1.0.0", &digest('a')), 3, "the source is empty"),
        (entry("a\\u001b", "1.0.0", &digest('a')), 3, "the source holds control characters"),
        (entry("a", "1.0", &digest('a')), 4, "`1.0` is not a version such as `1.2.0`"),
        (entry("a", "1.0.0", &digest('A')), 5, "is not a digest"),
        (entry("a", "1.0.0", "sha256:ab"), 5, "`sha256:ab` is not a digest"),
        (entry("a", "1.0.0", &digest('a').replace("256", "512")), 5, "is not a digest"),
        (entry("a", "1.0.0", &(digest('a') + "\\n")), 5, "is not a digest"),
        (entry("a", "1.0.0", &digest('a')) + "mirror = 1\n", 6, "unknown field `mirror`"),
        (entry("a", "1.0.0", &digest('a')).repeat(2), 8, "`a` is there twice"),
    ];
    for (text, line, expected) in entries {
        let error = refusal(&format!("version = 1{text}"));
        assert!(error.starts_with(&format!("portcullis.lock:{line}:")), "{error}");
        assert!(error.contains(expected) && error.ends_with(WAY_OUT), "{error}");
    }
}

#[test]
fn a_later_format_is_told_as_such() {
    for version in [0, 2] {
        let error = refusal(&format!("# later\nversion = {version}\nrules = []\n"));
        assert!(error.starts_with(&format!("portcullis.lock:2: version {version} of the lock file")), "{error}");
    }
}

#[test]
fn a_lock_is_bounded() {
    let dir = Dir::new("long-lock");
    let path = dir.put("portcullis.lock", vec![b'#'; file::MAX_TEXT as usize + 1]);
    assert!(Lock::read(&path).unwrap_err().to_string().contains("is larger than"));
    let mut lock = Lock::default();
    assert!(lock.set(&"a".repeat(MAX_SOURCE + 1), "1.0.0", &digest('a')).is_err());
    for n in 0..600 {
        lock.set(&format!("{n}{}", "a".repeat(MAX_SOURCE - 3)), "1.0.0", &digest('a')).unwrap();
    }
    assert!(lock.write(&path).unwrap_err().to_string().contains("it would be larger than"));
}

#[test]
fn nothing_is_set_that_could_not_be_read() {
    let mut lock = Lock::default();
    assert!(lock.set("a\n", "1.0.0", &digest('a')).is_err());
    assert!(lock.set("a", "one", &digest('a')).is_err());
    assert!(lock.set("a", "1.0.0", "sha256:").is_err());
    assert_eq!(lock, Lock::default());
}

#[test]
fn older_versions_are_a_step_back() {
    let mut lock = Lock::default();
    lock.set(BLOCK, "1.10.0", &digest('a')).unwrap();
    lock.set("oci://registry.example/policies/block:2", "2.0.0-rc.1", &digest('a')).unwrap();
    lock.set("./block", "1.0.0", &digest('a')).unwrap();
    for (source, version, expected) in [
        (BLOCK, "1.9.0", true),
        (BLOCK, "1.10.0-rc.1", true),
        (BLOCK, "1.10.0", false),
        (BLOCK, "1.10.0+2", false),
        (BLOCK, "1.11.0", false),
        (BLOCK, "nonsense", true),
        // Under a tag that is not locked it is the newest of the repository that counts.
        ("oci://registry.example/policies/block:1.11.0", "1.11.0", true),
        ("oci://registry.example/policies/block@sha256:ab", "2.0.0-rc.0", true),
        ("oci://registry.example/policies/block:3@sha256:ab", "2.0.0", false),
        ("oci://registry.example/policies/mask:0", "0.1.0", false),
        ("oci://registry.example:5000/policies/block", "0.1.0", false),
        ("./block", "0.9.0", true),
        ("./block2", "0.9.0", false),
        ("./new", "nonsense", false),
    ] {
        assert_eq!(lock.is_downgrade(source, version), expected, "{source} {version}");
    }
}
