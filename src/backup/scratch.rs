//! Where a backup or a restore is made ready: a directory beside its place, so that the last step is a rename.

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::BackupError;

/// It is gone with all that is in it when the value is. What a process that died left is taken away by the next.
pub struct Scratch {
    path: PathBuf,
    _lock: File,
}

impl Scratch {
    /// `.NAME.WORD` beside `place`.
    pub fn beside(place: &Path, word: &str) -> Result<Self, BackupError> {
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        Self::at(place.with_file_name(format!(".{name}.{word}")))
    }

    pub fn at(path: PathBuf) -> Result<Self, BackupError> {
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(BackupError::io("make", path)(error));
            }
            _ => {}
        }
        let lock = File::open(&path).map_err(BackupError::io("open", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(BackupError::AtWork(path)),
            Err(TryLockError::Error(source)) => return Err(BackupError::io("lock", path)(source)),
        }
        let scratch = Self { path, _lock: lock };
        scratch.clear()?;
        Ok(scratch)
    }

    fn clear(&self) -> Result<(), BackupError> {
        let failed = |source| BackupError::io("clear", &self.path)(source);
        for entry in std::fs::read_dir(&self.path).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let is_dir = path.symlink_metadata().map_err(failed)?.is_dir();
            if is_dir { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) }.map_err(failed)?;
        }
        Ok(())
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Where it cannot be taken away now, the next one does.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
