//! A directory for one test.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::leaks;

/// A new, empty directory that is gone when the value is. What others than the test wrote there holds
/// no secret.
pub struct TempDir {
    dir: tempfile::TempDir,
    written: Mutex<BTreeSet<PathBuf>>,
}

impl TempDir {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), written: Mutex::default() }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file and says where it is.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        self.written.lock().unwrap().insert(path.clone());
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            leaks::directory(self.path(), &self.written.lock().unwrap());
        }
    }
}
