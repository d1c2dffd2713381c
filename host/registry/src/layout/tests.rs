use portcullis_tests::place::Scratch;

use super::*;
use crate::artifact::tests::artifact;

fn signature(media_type: &str, word: &str) -> Signature {
    let annotations = BTreeMap::from([("dev.cosignproject.cosign/signature".to_owned(), word.to_owned())]);
    Signature { media_type: media_type.into(), bytes: word.as_bytes().to_vec(), annotations }
}

fn signatures() -> Vec<Signature> {
    let kinds = [(Signature::MINISIGN, "one"), (Signature::MINISIGN, "two"), (Signature::COSIGN, "three")];
    kinds.map(|(kind, word)| signature(kind, word)).to_vec()
}

#[test]
fn a_layout_holds_packages_and_signatures() {
    let scratch = Scratch::new("layout").unwrap();
    let (x, y, signed) = (artifact("x"), artifact("y"), signatures());
    let names = ["registry.example/p/block:1.2.0", "registry.example/p/block:next"];
    let packages = [
        Named { name: names[0], artifact: &x, signatures: &signed },
        Named { name: names[1], artifact: &y, signatures: &[] },
    ];
    for path in ["directory", "one.tar"].map(|name| scratch.path().join(name)) {
        Layout::save(&path, &packages).unwrap();
        let layout = Layout::open(&path).unwrap();
        let listed: Vec<_> = layout.list().unwrap().into_iter().map(|l| (l.name.unwrap(), l.digest)).collect();
        assert_eq!(listed, [(names[0].into(), x.digest().clone()), (names[1].into(), y.digest().clone())]);
        assert_eq!(layout.find("oci://registry.example/p/block:next").unwrap(), *y.digest());
        assert_eq!(layout.find(x.digest().as_str()).unwrap(), *x.digest());
        let error = layout.find("registry.example/p/other:1").unwrap_err().to_string();
        assert!(error.contains("holds no package") && error.contains(names[0]), "{error}");
        let pulled = layout.get(x.digest()).unwrap();
        assert_eq!((pulled.artifact.digest(), pulled.signatures), (x.digest(), signed.clone()));
        assert!(layout.get(y.digest()).unwrap().signatures.is_empty());
        let error = Layout::save(&path, &packages).unwrap_err().to_string();
        assert!(error.contains("is there already"), "{error}");
    }
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 2);
    let twice = Layout::save(&scratch.path().join("twice"), &[packages[0], packages[0]]).unwrap_err().to_string();
    assert!(twice.contains("is named twice"), "{twice}");
}

#[test]
fn a_store_takes_packages_one_by_one() {
    let scratch = Scratch::new("store").unwrap();
    let dir = scratch.path().join("data/packages");
    let (x, y, signed) = (artifact("x"), artifact("y"), signatures());
    let store = Layout::open_or_create(&dir).unwrap();
    assert!(store.list().unwrap().is_empty() && !store.contains(x.digest()));
    assert!(store.get(x.digest()).unwrap_err().to_string().ends_with("it holds none"));
    store.put(Some("block:1"), &x, &signed[..1]).unwrap();
    store.put(None, &x, &signed[1..]).unwrap();
    store.put(None, &x, &signed).unwrap();
    let store = Layout::open_or_create(&dir).unwrap();
    let found = store.get(x.digest()).unwrap().signatures;
    assert!(found.len() == 3 && signed.iter().all(|s| found.contains(s)), "{found:?}");
    assert_eq!(store.list().unwrap(), [Listed { name: Some("block:1".into()), digest: x.digest().clone() }]);
    // Another cosign signature goes into the same image.
    let fourth = signature(Signature::COSIGN, "four");
    store.put(None, &x, std::slice::from_ref(&fourth)).unwrap();
    assert!(store.get(x.digest()).unwrap().signatures.contains(&fourth));
    assert_eq!(store.list().unwrap().len(), 1);
    // The name passes on; what had it stays.
    store.put(Some("block:1"), &y, &[]).unwrap();
    assert_eq!(store.find("block:1").unwrap(), *y.digest());
    assert_eq!(store.get(x.digest()).unwrap().signatures.len(), 4);
    let error = store.put(Some("no spaces"), &x, &[]).unwrap_err().to_string();
    assert!(error.contains("`no spaces`: is not a name"), "{error}");
}

#[test]
fn processes_may_put_at_once() {
    let scratch = Scratch::new("at-once").unwrap();
    let dir = scratch.path().join("packages");
    let all: Vec<_> = (0..8).map(|i| artifact(&i.to_string())).collect();
    Layout::open_or_create(&dir).unwrap();
    std::thread::scope(|scope| {
        for artifact in &all {
            let dir = &dir;
            scope.spawn(move || Layout::open(dir).unwrap().put(None, artifact, &[]).unwrap());
        }
    });
    let store = Layout::open(&dir).unwrap();
    assert_eq!(store.list().unwrap().len(), all.len());
    assert!(all.iter().all(|artifact| store.get(artifact.digest()).is_ok()));
}

#[test]
fn every_read_is_verified() {
    let scratch = Scratch::new("verified").unwrap();
    let dir = scratch.path().join("packages");
    let x = artifact("x");
    let store = Layout::open_or_create(&dir).unwrap();
    store.put(None, &x, &signatures()).unwrap();
    for part in [x.manifest_bytes(), x.config(), x.component(), x.metadata(), x.sbom()] {
        let file = dir.join(blob(&Digest::of(part)));
        fs::write(&file, &part[1..]).unwrap();
        let error = store.get(x.digest()).unwrap_err().to_string();
        assert!(error.contains("it was damaged or exchanged"), "{error}");
        fs::write(&file, part).unwrap();
    }
    store.get(x.digest()).unwrap();
    let component = dir.join(blob(&Digest::of(x.component())));
    fs::write(&component, b"other").unwrap();
    let error = store.get(x.digest()).unwrap_err().to_string();
    assert!(error.contains("the component has the digest"), "{error}");
    store.put(None, &x, &[]).unwrap();
    store.get(x.digest()).unwrap();
    fs::remove_file(&component).unwrap();
    assert!(store.get(x.digest()).unwrap_err().to_string().contains(component.file_name().unwrap().to_str().unwrap()));
}

#[test]
fn what_is_no_layout_is_refused() {
    let scratch = Scratch::new("no-layout").unwrap();
    let open = |path: &Path| Layout::open(path).unwrap_err().to_string();
    assert!(open(scratch.path()).contains("is no OCI image layout"));
    let marked = scratch.path().join("marked");
    fs::create_dir(&marked).unwrap();
    fs::write(marked.join(MARKER), "{\"imageLayoutVersion\":\"2.0.0\"}").unwrap();
    assert!(open(&marked).contains("of version 2.0.0"));
    let file = scratch.path().join("x.tar");
    fs::write(&file, vec![b'x'; 2048]).unwrap();
    assert!(open(&file).contains("x.tar: "), "{}", open(&file));
    let entries = |kind: EntryType, names: &[&str]| {
        let mut archive = tar::Builder::new(Vec::new());
        for name in names {
            let mut header = metadata::header(name, 0).unwrap();
            header.set_entry_type(kind);
            header.set_cksum();
            archive.append(&header, std::io::empty()).unwrap();
        }
        fs::write(&file, archive.into_inner().unwrap()).unwrap();
        open(&file)
    };
    assert!(entries(EntryType::Symlink, &[INDEX]).contains("`index.json` is not a plain file"));
    assert!(entries(EntryType::Regular, &[INDEX, INDEX]).contains("`index.json` is there twice"));
    assert!(entries(EntryType::Regular, &[INDEX]).contains("is no OCI image layout"));
    let tar = scratch.path().join("good.tar");
    let x = artifact("x");
    Layout::save(&tar, &[Named { name: "block", artifact: &x, signatures: &[] }]).unwrap();
    let error = Layout::open(&tar).unwrap().put(None, &x, &[]).unwrap_err().to_string();
    assert!(error.contains("is a tar"), "{error}");
}

#[test]
fn signatures_are_bounded() {
    let scratch = Scratch::new("many").unwrap();
    let x = artifact("x");
    let store = Layout::open_or_create(&scratch.path().join("packages")).unwrap();
    let many: Vec<_> = (0..65).map(|i| signature(Signature::COSIGN, &i.to_string())).collect();
    store.put(None, &x, &many[..64]).unwrap();
    let error = store.put(None, &x, &many[64..]).unwrap_err().to_string();
    assert!(error.contains("more than 64"), "{error}");
    assert_eq!(store.get(x.digest()).unwrap().signatures.len(), 64);
    let large = Signature { bytes: vec![0; 65537], ..signature(Signature::MINISIGN, "x") };
    assert!(store.put(None, &artifact("y"), &[large]).unwrap_err().to_string().contains("larger than 65536"));
    let other = signature("text/plain", "x");
    assert!(store.put(None, &artifact("z"), &[other]).unwrap_err().to_string().contains("`text/plain`"));
}
