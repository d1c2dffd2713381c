//! Notices that a file has changed by looking at it, which works on every file system and for files that are replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What changes when a file does; `None` where there is none.
pub(crate) type Stamp = Option<(SystemTime, u64)>;

/// The files that a configuration rests on, as they were when it was read.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    read: BTreeMap<PathBuf, Stamp>,
    changing: Option<BTreeMap<PathBuf, Stamp>>,
}

impl Watch {
    /// To be called before the files are read: what changes from here on counts as a change.
    pub(crate) fn before(&self) -> BTreeMap<PathBuf, Stamp> {
        look(self.read.keys())
    }

    /// To be called after the files are read, with what [`Watch::before`] gave.
    pub(crate) fn after(&mut self, before: BTreeMap<PathBuf, Stamp>, files: &BTreeSet<PathBuf>) {
        self.read = look(files.iter());
        for (path, stamp) in before {
            self.read.entry(path).and_modify(|now| *now = stamp);
        }
        self.changing = None;
    }

    /// Whether all files are as they were when they were read.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.before() == self.read
    }

    /// Whether files have changed and are at rest again: two looks in a row must find the same.
    pub(crate) fn has_settled(&mut self) -> bool {
        let now = self.before();
        if now == self.read {
            self.changing = None;
            return false;
        }
        self.changing.replace(now) == self.changing
    }
}

fn look<'a>(files: impl Iterator<Item = &'a PathBuf>) -> BTreeMap<PathBuf, Stamp> {
    files.map(|path| (path.clone(), stamp(path))).collect()
}

pub(crate) fn stamp(path: &Path) -> Stamp {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_when_it_has_settled() {
        let file = crate::config::scratch("watch").join("file");
        let mut watch = Watch::default();
        watch.after(watch.before(), &BTreeSet::from([file.clone()]));
        assert!(!watch.has_settled(), "nothing changed");
        std::fs::write(&file, "a").unwrap();
        assert!(!watch.has_settled(), "it may be half written");
        std::fs::write(&file, "ab").unwrap();
        assert!(!watch.has_settled(), "it was half written");
        assert!(watch.has_settled());
        let before = watch.before();
        std::fs::write(&file, "abc").unwrap();
        watch.after(before, &BTreeSet::from([file]));
        assert!(!watch.has_settled());
        assert!(watch.has_settled(), "what changed while the files were read is a change");
    }
}
