//! Files that must survive a crash. A file is written whole to a neighbour, flushed, renamed over
//! the old one, and the directory is flushed: a reader sees all of the old bytes or all of the new.
//!
//! What this cannot give: two writers that do not take the [`Lock`], and disks that lie about fsync.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a writer waits for another one: 100 × 50 ms. Writing takes a few milliseconds.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Who may read a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Readers {
    /// Mode 0600: it holds secrets, or what identifies them.
    Owner,
    /// Mode 0644.
    Everyone,
}

/// What was tried with a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    Read,
    Write,
    Remove,
    Lock,
    MakeDirectory,
}

/// Why a file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot {} `{}`", .operation.verb(), .path.display())]
    Io { operation: Operation, path: PathBuf, source: io::Error },
    #[error("`{}` is larger than {max} bytes", .path.display())]
    TooLarge { path: PathBuf, max: u64 },
    #[error("`{}` is held by another process that is writing here; try again when it is done", .0.display())]
    Busy(PathBuf),
}

impl Operation {
    const fn verb(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Remove => "remove",
            Self::Lock => "lock",
            Self::MakeDirectory => "make the directory",
        }
    }

    fn failed(self, path: &Path) -> impl FnOnce(io::Error) -> FileError {
        let path = path.to_owned();
        move |source| FileError::Io { operation: self, path, source }
    }
}

/// The right to write beside a lock file, until it is dropped. The system frees the lock of a
/// process that dies.
#[must_use]
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Waits up to five seconds for the lock file at `path`, which is made if need be. Blocks the thread.
pub fn lock(path: &Path) -> Result<Lock, FileError> {
    let options = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
    let file = options.map_err(Operation::Lock.failed(path))?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(source)) => return Err(Operation::Lock.failed(path)(source)),
        }
    }
    Err(FileError::Busy(path.to_owned()))
}

/// Makes a directory and those above it, for the owner alone.
pub fn make_dir(path: &Path) -> Result<(), FileError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(Operation::MakeDirectory.failed(path))
}

/// Reads a text file of at most `max` bytes; `None` when there is no such file.
pub fn read(path: &Path, max: u64) -> Result<Option<String>, FileError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Operation::Read.failed(path)(error)),
    };
    let mut text = String::new();
    let read = file.take(max.saturating_add(1)).read_to_string(&mut text).map_err(Operation::Read.failed(path))?;
    if read as u64 > max {
        return Err(FileError::TooLarge { path: path.to_owned(), max });
    }
    Ok(Some(text))
}

/// Puts `bytes` in the place of the file at `path`. On return they are on the disk. The caller
/// holds the [`Lock`] of the directory, so the scratch file has one writer.
pub fn replace(path: &Path, bytes: &[u8], readers: Readers, _lock: &Lock) -> Result<(), FileError> {
    let scratch = scratch_of(path);
    let written = write_new(&scratch, bytes, readers).and_then(|()| std::fs::rename(&scratch, path));
    written.and_then(|()| flush_directory(path)).map_err(Operation::Write.failed(path))
}

/// Takes a file away for good; one that is not there is no error.
pub fn remove(path: &Path, _lock: &Lock) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Ok(()) => flush_directory(path).map_err(Operation::Remove.failed(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Operation::Remove.failed(path)(error)),
    }
}

/// Gives a file or a directory its place, where nothing or an empty directory may stand. What it holds is on the
/// disk already; on return its name is, too.
pub fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    let renamed = std::fs::rename(from, to).and_then(|()| flush_directory(to));
    renamed.map_err(Operation::Write.failed(to))
}

/// `.name.tmp` beside the file: hidden from readers of the directory, and one for each name, so
/// that crashes leave at most one behind.
fn scratch_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.tmp"))
}

fn write_new(path: &Path, bytes: &[u8], readers: Readers) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mode = match readers {
        Readers::Owner => 0o600,
        Readers::Everyone => 0o644,
    };
    let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn flush_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_replaced_whole_and_keeps_its_readers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let lock = lock(&dir.path().join(".lock")).unwrap();
        std::fs::write(scratch_of(&path), "left behind by a crash").unwrap();
        for (text, readers, mode) in [("one", Readers::Owner, 0o600), ("two", Readers::Everyone, 0o644)] {
            replace(&path, text.as_bytes(), readers, &lock).unwrap();
            assert_eq!(read(&path, 100).unwrap().as_deref(), Some(text));
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
        }
        assert!(!scratch_of(&path).exists());
        remove(&path, &lock).unwrap();
        remove(&path, &lock).unwrap();
        assert_eq!(read(&path, 100).unwrap(), None);
    }

    #[test]
    fn a_long_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap().as_deref(), Some("12345"));
        assert!(matches!(read(&path, 4), Err(FileError::TooLarge { max: 4, .. })));
    }

    #[test]
    fn one_writer_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".lock");
        let held = lock(&path).unwrap();
        let waiting = std::thread::spawn({
            let path = path.clone();
            move || lock(&path).map(|_| ())
        });
        assert!(File::open(&path).unwrap().try_lock().is_err());
        drop(held);
        waiting.join().unwrap().unwrap();
    }
}
