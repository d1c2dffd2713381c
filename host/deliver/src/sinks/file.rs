//! Lines appended to a file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::Format;
use crate::follow::{Consumer, Failure};
use crate::item::Item;

/// So much is written before it is made durable.
const PIECE_BYTES: usize = 8 << 20;

pub(super) struct FileSink {
    path: PathBuf,
    format: Format,
    file: Option<File>,
}

impl FileSink {
    pub(super) fn new(path: PathBuf, format: Format) -> Self {
        Self { path, format, file: None }
    }

    /// The file under the path, as it is now: log rotation may have renamed or removed the one before.
    fn current(&mut self) -> io::Result<&mut File> {
        let kept = match (self.file.take(), fs::metadata(&self.path)) {
            (Some(file), Ok(there)) => {
                let open = file.metadata()?;
                ((open.dev(), open.ino()) == (there.dev(), there.ino())).then_some(file)
            }
            _ => None,
        };
        let file = match kept {
            Some(file) => file,
            None => open(&self.path)?,
        };
        Ok(self.file.insert(file))
    }

    fn append(&mut self, text: &[u8]) -> io::Result<()> {
        let written = self.current().and_then(|file| {
            file.write_all(text)?;
            file.sync_data()
        });
        if written.is_err() {
            // Half a line may be in it; opening it again ends that line.
            self.file = None;
        }
        written
    }
}

impl Consumer for FileSink {
    fn deliver(&mut self, items: &[Item]) -> Result<usize, Failure> {
        let (mut text, mut taken) = (String::new(), 0);
        for item in items {
            text.push_str(&item.line(self.format));
            text.push('\n');
            taken += 1;
            if text.len() >= PIECE_BYTES {
                break;
            }
        }
        match self.append(text.as_bytes()) {
            Ok(()) => Ok(taken),
            Err(error) => Err(Failure::new(format!("{} cannot be written: {error}", self.path.display()))),
        }
    }
}

/// Opens or makes the file, for the gateway's user alone. A last line that a crash left without its end gets it.
fn open(path: &Path) -> io::Result<File> {
    let is_new = match fs::metadata(path) {
        Ok(there) if !there.is_file() => return Err(io::Error::other("it is there and is no file")),
        Ok(_) => false,
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(error),
    };
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    if is_new {
        // The cursor must not outlive the file's name.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent)?.sync_all()?;
    }
    if file.metadata()?.len() > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}
