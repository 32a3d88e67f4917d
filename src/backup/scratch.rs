//! Where a backup or a restore is made ready: a directory beside its place, so that the last step is a rename.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::BackupError;

/// It is gone with all that is in it when the value is. What a process that died left is taken away by the next.
pub struct Scratch {
    path: PathBuf,
    _lock: File,
}

impl Scratch {
    /// `.NAME.WORD-…` beside `place`: a new directory for its owner alone, whose name nobody could know before.
    pub fn beside(place: &Path, word: &str) -> Result<Self, BackupError> {
        let name = format!(".{}.{word}-", place.file_name().unwrap_or_default().to_string_lossy());
        take_away_left(place, &name);
        let path = place.with_file_name(format!("{name}{}", uuid::Uuid::new_v4().simple()));
        DirBuilder::new().mode(0o700).create(&path).map_err(BackupError::io("make", &path))?;
        let lock = File::open(&path).map_err(BackupError::io("open", &path))?;
        lock.lock().map_err(BackupError::io("lock", &path))?;
        Ok(Self { path, _lock: lock })
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

/// Takes away what died under such a name: directories, no links to any, that nobody holds.
fn take_away_left(place: &Path, name: &str) {
    let parent = place.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let file = entry.file_name();
        let number = file.to_str().and_then(|file| file.strip_prefix(name));
        let ours = number.is_some_and(|number| number.len() == 32 && number.bytes().all(|b| b.is_ascii_hexdigit()));
        if ours
            && entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Ok(held) = File::open(entry.path())
            && held.try_lock().is_ok()
        {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_elses_directory_is_touched() {
        let dir = std::env::temp_dir().join(format!("permyx-scratch-{}", uuid::Uuid::new_v4().simple()));
        let (place, theirs, left) = (dir.join("b"), dir.join("theirs"), dir.join(format!(".b.backup-{:032x}", 7)));
        for dir in [&theirs, &left, &dir.join(".b.backup"), &dir.join(".b.backup-notes")] {
            std::fs::create_dir_all(dir).unwrap();
            std::fs::write(dir.join("file"), "theirs").unwrap();
        }
        std::os::unix::fs::symlink(&theirs, dir.join(format!(".b.backup-{:032x}", 8))).unwrap();
        let first = Scratch::beside(&place, "backup").unwrap();
        let second = Scratch::beside(&place, "backup").unwrap();
        assert!(!left.exists(), "what died is taken away");
        assert!(first.path.exists() && second.path.exists(), "what is held is not");
        for dir in [&theirs, &dir.join(".b.backup"), &dir.join(".b.backup-notes")] {
            assert!(dir.join("file").exists(), "{}", dir.display());
        }
        drop((first, second));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
