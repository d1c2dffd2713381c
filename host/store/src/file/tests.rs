use redb::TableDefinition;

use super::*;
use crate::Store;
use crate::testing::{TempDir, command, interval, key};

fn refusal(path: &Path) -> StoreError {
    match Store::open(path, interval(), key(), Arc::default()) {
        Ok(_) => panic!("opened"),
        Err(error) => error,
    }
}

/// A closed store with some events in it.
fn written(path: &Path) {
    let store = Store::open(path, interval(), key(), Arc::default()).unwrap();
    for sequence in 0..100 {
        let portcullis_verdict::Appended::Done(_) =
            portcullis_verdict::AuditSink::append(&*store, command("s", sequence))
        else {
            panic!("not taken")
        };
    }
    store.close();
}

#[test]
fn what_is_no_store_is_refused_and_left_alone() {
    let dir = TempDir::new();
    let text = dir.file("notes.txt");
    std::fs::write(&text, "not a database, but somebody's notes\n".repeat(1000)).unwrap();
    let before = std::fs::read(&text).unwrap();
    assert!(matches!(refusal(&text), StoreError::Damaged { .. }));
    assert_eq!(std::fs::read(&text).unwrap(), before);

    let other = dir.file("other.redb");
    let db = Database::create(&other).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(TableDefinition::<&str, &str>::new("theirs")).unwrap().insert("k", "v").unwrap();
    txn.commit().unwrap();
    drop(db);
    assert!(matches!(refusal(&other), StoreError::Foreign { .. }));

    let missing = Path::new("/proc/nowhere/store.redb");
    assert!(matches!(refusal(missing), StoreError::Io { .. }));
}

#[test]
fn another_format_is_refused() {
    let dir = TempDir::new();
    let path = dir.file("store.redb");
    written(&path);
    let db = Database::create(&path).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(META).unwrap().insert(FORMAT_KEY, FORMAT + 1).unwrap();
    txn.commit().unwrap();
    drop(db);
    let error = refusal(&path);
    assert!(matches!(error, StoreError::Version { found, .. } if found == FORMAT + 1), "{error}");
}

#[test]
fn a_cut_file_is_refused() {
    let dir = TempDir::new();
    let path = dir.file("store.redb");
    written(&path);
    let whole = std::fs::read(&path).unwrap();
    for len in [1, 100, 4096, whole.len() / 2] {
        std::fs::write(&path, &whole[..len]).unwrap();
        let error = refusal(&path);
        assert!(matches!(error, StoreError::Damaged { .. }), "{len} bytes: {error}");
    }
}
