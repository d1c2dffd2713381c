use std::os::unix::fs::symlink;

use portcullis_tests::place::Scratch;
use tar::{Builder, EntryType, Header};

use super::*;
use crate::metadata::to_tar;

pub(crate) const POLICY: &str = r#"# Kept as it is.
[package]
name = "block"
version = "1.2.0"
description = "Refuses."
license = "Apache-2.0"
authors = ["Jo Doe"]
source = "https://example.com/block"
interface = "0.1"
hooks = ["commands"]
component = "component.wasm"
settings-schema = "settings.schema.json"

[capabilities]
clock = "opening hours"
"#;

/// A component with an import, an export, and a word of its own.
pub(crate) fn component(word: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            (import "portcullis:policy/clock@0.1.0" (instance))
            (instance $lifecycle)
            (export "portcullis:policy/lifecycle@0.1.0" (instance $lifecycle))
            (export "portcullis:policy/commands@0.1.0" (instance $lifecycle))
            (@custom "word" "{word}"))"#
    );
    wat::parse_str(text).unwrap()
}

/// A package whose component and schema lie elsewhere, and which has a source.
pub(crate) fn package(scratch: &Scratch, name: &str, word: &str) -> Package {
    let dir = scratch.path().join(name);
    let put = |file: &str, content: &[u8]| {
        let file = dir.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    };
    put("dist/b.wasm", &component(word));
    put("dist/s.json", b"{}");
    let manifest = POLICY.replace("component.wasm", "../dist/b.wasm").replace("settings.schema.json", "../dist/s.json");
    put("block/policy.toml", format!("{manifest}[build]\nlanguage = \"rust\"\nsource = \".\"\n").as_bytes());
    put("block/README.md", b"# Block\n");
    put("block/LICENSE", b"Free.\n");
    put("block/cases/a.toml", b"# none\n");
    put("block/cases/notes.md", b"not packed");
    put("block/Cargo.toml", b"[package]\nname = \"block\"\n");
    put(
        "Cargo.lock",
        b"[[package]]\nname = \"block\"\nversion = \"1.2.0\"\ndependencies = [\"serde\"]\n\
        [[package]]\nname = \"serde\"\nversion = \"1.0.0\"\nchecksum = \"ab\"\n",
    );
    Package::open(&dir.join("block")).unwrap()
}

pub(crate) fn artifact(word: &str) -> Artifact {
    let scratch = Scratch::new("artifact").unwrap();
    Artifact::pack(&package(&scratch, "a", word)).unwrap()
}

fn parts(artifact: &Artifact) -> Parts {
    artifact.parts.clone()
}

/// An artifact with other parts, all of whose digests are right.
fn assembled(parts: Parts, change: impl FnOnce(&mut Manifest)) -> Result<Artifact, ArtifactError> {
    let mut manifest =
        Manifest::new(Descriptor::of(CONFIG, &parts.config), vec![Descriptor::of(WASM, &parts.component)]);
    let policy = Policy::parse(Path::new("policy.toml"), POLICY).unwrap();
    manifest.annotations = annotations(&policy, &parts);
    change(&mut manifest);
    let manifest = manifest.to_bytes();
    Artifact::assemble(&Digest::of(&manifest), manifest, parts)
}

fn message(result: Result<Artifact, ArtifactError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn the_same_files_give_the_same_digest_anywhere() {
    let scratch = Scratch::new("pack").unwrap();
    let one = Artifact::pack(&package(&scratch, "one", "x")).unwrap();
    let two = Artifact::pack(&package(&scratch, "two", "x")).unwrap();
    assert_eq!(one.digest(), two.digest());
    assert_ne!(one.digest(), Artifact::pack(&package(&scratch, "three", "y")).unwrap().digest());
    let readme = scratch.path().join("two/block/README.md");
    fs::write(&readme, "# Other\n").unwrap();
    let changed = Artifact::pack(&Package::open(&scratch.path().join("two/block")).unwrap()).unwrap();
    assert_ne!(one.digest(), changed.digest());
}

#[test]
fn the_form_stays_as_it_is() {
    // A change here gives every package another digest: signatures and lock files would no longer fit.
    let artifact = artifact("x");
    assert_eq!(artifact.digest().as_str(), "sha256:ec2586be3cf5bdbf4c7400c18f8dc376208b6a555cf371ce834cd719782f58b2");
    let config = str::from_utf8(artifact.config()).unwrap();
    let component = Digest::of(artifact.component());
    let expected = format!(
        "{{\"created\":\"1970-01-01T00:00:00Z\",\"architecture\":\"wasm\",\"os\":\"wasip2\",\"layerDigests\":[\"{component}\"],\
         \"component\":{{\"exports\":[\"portcullis:policy/commands@0.1.0\",\"portcullis:policy/lifecycle@0.1.0\"],\"imports\":[\"portcullis:policy/clock@0.1.0\"]}}}}"
    );
    assert_eq!(config, expected);
}

#[test]
fn a_package_comes_out_as_it_went_in() {
    let scratch = Scratch::new("unpack").unwrap();
    let artifact = Artifact::pack(&package(&scratch, "p", "x")).unwrap();
    let dir = scratch.path().join("out/deep/block");
    let package = artifact.unpack(&dir).unwrap();
    assert_eq!(&*package.component().unwrap(), component("x"));
    assert_eq!(fs::read_to_string(dir.join("policy.toml")).unwrap(), POLICY);
    let mut names: Vec<_> = package.files().unwrap().into_keys().collect();
    names.sort();
    let expected = ["LICENSE", "README.md", "cases/a.toml", "policy.toml", "settings.schema.json"];
    assert_eq!(names, expected);
    // Without its source it is another package only in its bill of materials.
    let again = Artifact::pack(&package).unwrap();
    assert_eq!(again.metadata(), artifact.metadata());
    let third = again.unpack(&scratch.path().join("again")).unwrap();
    assert_eq!(Artifact::pack(&third).unwrap().digest(), again.digest());
    let error = artifact.unpack(&dir).unwrap_err().to_string();
    assert!(error.contains("out/deep/block: is there already"), "{error}");
    assert_eq!(fs::read_dir(dir.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn the_bill_names_the_component_and_what_it_depends_on() {
    let artifact = artifact("x");
    let bill: serde_json::Value = serde_json::from_slice(artifact.sbom()).unwrap();
    assert_eq!(bill["bomFormat"], "CycloneDX");
    let itself = &bill["metadata"]["component"];
    assert_eq!((itself["name"].as_str(), itself["version"].as_str()), (Some("block"), Some("1.2.0")));
    assert_eq!(itself["hashes"][0]["content"], Digest::of(artifact.component()).hex());
    assert_eq!(bill["components"][0]["purl"], "pkg:cargo/serde@1.0.0");
    assert_eq!(bill["components"].as_array().unwrap().len(), 1);
}

#[test]
fn exchanged_parts_are_refused() {
    let (good, other) = (artifact("x"), artifact("y"));
    let manifest = || good.manifest_bytes().clone();
    let assemble = |parts| message(Artifact::assemble(good.digest(), manifest(), parts));
    let error = assemble(Parts { component: other.component().clone(), ..parts(&good) });
    assert!(error.contains("the component has the digest") && error.contains("must have sha256:"), "{error}");
    let error = assemble(Parts { config: other.config().clone(), ..parts(&good) });
    assert!(error.contains("the image's configuration has the digest"), "{error}");
    let error = assemble(Parts { metadata: b"x".as_slice().into(), ..parts(&good) });
    assert!(error.contains("the package's metadata has the digest"), "{error}");
    let error = assemble(Parts { sbom: other.sbom().clone(), ..parts(&good) });
    assert!(error.contains("the bill of materials has the digest"), "{error}");
    let error = message(Artifact::assemble(other.digest(), manifest(), parts(&good)));
    assert!(error.contains("the image manifest sha256:"), "{error}");
}

#[test]
fn an_image_that_is_no_package_is_refused_with_words() {
    let good = artifact("x");
    let refused = |expected: &str, change: fn(&mut Manifest)| {
        let error = message(assembled(parts(&good), change));
        assert!(error.contains(expected), "{expected}: {error}");
    };
    assert!(assembled(parts(&good), |_| {}).is_ok());
    refused("is a plain Wasm component", |m| drop(m.annotations.remove(METADATA)));
    refused("no annotation `dev.portcullis.package.sbom`", |m| drop(m.annotations.remove(SBOM)));
    refused("annotation `dev.portcullis.package.metadata`: `x`", |m| {
        drop(m.annotations.insert(METADATA.into(), "x".into()))
    });
    refused("`org.opencontainers.image.title` is `other`", |m| {
        drop(m.annotations.insert(TITLE.into(), "other".into()))
    });
    refused("`org.opencontainers.image.version` is missing", |m| drop(m.annotations.remove(VERSION)));
    refused("`layers` has 2 entries", |m| m.layers.push(m.layers[0].clone()));
    refused("`layers` has 0 entries", |m| m.layers.clear());
    refused("`layers[0].mediaType` is `text/plain`", |m| m.layers[0].media_type = "text/plain".into());
    refused("the component is larger than 67108864 bytes", |m| m.layers[0].size = 1 << 40);
    refused("`config.mediaType` is `application/json`", |m| m.config.media_type = "application/json".into());
    let read = |text: &str| Promise::read(&Digest::of(text.as_bytes()), text.as_bytes()).unwrap_err().to_string();
    for index in
        ["{\"schemaVersion\":2,\"manifests\":[]}", "{\"mediaType\":\"application/vnd.oci.image.index.v1+json\"}"]
    {
        assert!(read(index).contains("is an index of several images"), "{index}");
    }
    assert!(read("{\"schemaVersion\":2}").contains("`mediaType` is ``"));
    assert!(read("[").contains("cannot be read"));
    let large = vec![b' '; (MAX_MANIFEST + 1) as usize];
    let error = Promise::read(&Digest::of(&large), &large).unwrap_err().to_string();
    assert!(error.contains("larger than 4194304 bytes"), "{error}");
}

#[test]
fn a_configuration_must_fit_the_component() {
    let good = artifact("x");
    let with = |from: &str, to: &str| {
        let config = str::from_utf8(good.config()).unwrap().replace(from, to);
        message(assembled(Parts { config: config.into(), ..parts(&good) }, |_| {}))
    };
    assert!(with("\"wasm\"", "\"amd64\"").contains("it is for amd64/wasip2"));
    assert!(with("[\"sha256", &format!("[\"{}\",\"sha256", Digest::of(b""))).contains("`layerDigests` does not name"));
    assert!(with("{", "[").contains("cannot be read"));
}

/// A tar whose entries are made by hand.
fn tar(build: impl FnOnce(&mut Builder<Vec<u8>>)) -> Bytes {
    let mut archive = Builder::new(Vec::new());
    build(&mut archive);
    archive.into_inner().unwrap().into()
}

/// A header whose name nothing has cleaned.
fn raw(name: &[u8], kind: EntryType, size: u64) -> Header {
    let mut header = crate::metadata::header("x", size).unwrap();
    header.as_mut_bytes()[..100].fill(0);
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_cksum();
    header
}

#[test]
fn odd_metadata_are_refused() {
    let good = artifact("x");
    let refused = |expected: &str, metadata: Bytes| {
        let error = message(assembled(Parts { metadata, ..parts(&good) }, |_| {}));
        assert!(error.contains(expected), "{expected}: {error}");
    };
    let files = &good.contents.files;
    let with = |name: &[u8], kind, content: &[u8]| {
        tar(|archive| {
            for (name, content) in files {
                archive
                    .append(&crate::metadata::header(name, content.len() as u64).unwrap(), content.as_slice())
                    .unwrap();
            }
            archive.append(&raw(name, kind, content.len() as u64), content).unwrap();
        })
    };
    let names: [&[u8]; 10] = [
        b"/etc/passwd",
        b"../block",
        b"cases/../../x.toml",
        b"cases/a/b.toml",
        b"cases/.toml",
        b"src/lib.rs",
        b"LICENSE/x",
        b"component.wasm",
        b"./README.md",
        b"cases/a\n.toml",
    ];
    for name in names {
        refused("does not belong into a package", with(name, EntryType::Regular, b"x"));
    }
    refused("not UTF-8", with(b"cases/\xff.toml", EntryType::Regular, b"x"));
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::Directory,
        EntryType::GNULongName,
        EntryType::XHeader,
        EntryType::GNUSparse,
    ] {
        refused("is not a plain file", with(b"cases/b.toml", kind, b""));
    }
    refused("`README.md` is there twice", with(b"README.md", EntryType::Regular, b"x"));
    // In order it would be before policy.toml.
    refused("is not a plain tar of files sorted by name", with(b"cases/b.toml", EntryType::Regular, b"x"));
    let mut behind = good.metadata().to_vec();
    behind.extend_from_slice(b"hidden");
    refused("is not a plain tar", behind.into());
    let mut timed = good.metadata().to_vec();
    timed[136..147].copy_from_slice(b"00000000001");
    refused("cannot be read", timed.into());
    refused(
        "claims 1125899906842624",
        tar(|a| a.append(&raw(b"README.md", EntryType::Regular, 1 << 50), b"x".as_slice()).unwrap()),
    );
    let text = |files: &[(&str, &str)]| to_tar(files.iter().map(|(n, c)| (*n, c.as_bytes()))).unwrap().into();
    refused("has no policy.toml", text(&[("README.md", "x")]));
    refused("policy.toml:1:", text(&[("policy.toml", "x")]));
    refused("names it", text(&[("policy.toml", POLICY)]));
    refused("`component` is not", text(&[("policy.toml", &POLICY.replace("component.wasm", "../x.wasm"))]));
    refused("[build]", text(&[("policy.toml", &format!("{POLICY}[build]\nlanguage = \"rust\"\nsource = \".\"\n"))]));
    let many: Vec<_> = (0..2001).map(|i| format!("cases/{i:04}.toml")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "")).collect();
    refused("more than 2000 files", text(&many));
    let large = "x".repeat(16 << 20);
    refused("larger than 16777216 bytes", text(&[("README.md", &large)]));
}

#[test]
fn nothing_is_packed_that_would_be_refused() {
    let scratch = Scratch::new("odd").unwrap();
    let package = package(&scratch, "p", "x");
    let long = format!("cases/{}.toml", "x".repeat(100));
    fs::write(package.dir.join(&long), "").unwrap();
    let error = message(Artifact::pack(&package));
    assert!(error.contains("at most 100 bytes"), "{error}");
    fs::remove_file(package.dir.join(&long)).unwrap();
    fs::write(scratch.path().join("p/dist/b.wasm"), b"\0asm\x0d\0\x01\0nonsense").unwrap();
    let error = message(Artifact::pack(&package));
    assert!(error.contains("dist/b.wasm: "), "{error}");
    symlink("/nowhere", package.dir.join("cases/gone.toml")).unwrap();
    fs::write(scratch.path().join("p/dist/b.wasm"), component("x")).unwrap();
    let error = message(Artifact::pack(&package));
    assert!(error.contains("cases/gone.toml: is a symbolic link"), "{error}");
}
