//! Evidence that is kept: written once, never over something else.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use super::super::error::CliError;

/// Writes a new file. What is there already may be the only copy of it, so it stays.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let unwritten = |source| CliError::Unwritten { path: path.to_owned(), source };
    let mut file = match OpenOptions::new().write(true).create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(CliError::IsThere(path.to_owned())),
        opened => opened.map_err(unwritten)?,
    };
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half of it must not pass for all of it; where it cannot be removed either, the error tells.
        let _ = std::fs::remove_file(path);
    }
    written.map_err(unwritten)
}

/// Before something is asked for whose giving out is recorded.
pub(super) fn must_be_new(path: &Path) -> Result<(), CliError> {
    if path.symlink_metadata().is_ok() { Err(CliError::IsThere(path.to_owned())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_already_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kept");
        must_be_new(&path).unwrap();
        write_new(&path, b"one").unwrap();
        for error in [write_new(&path, b"two").unwrap_err(), must_be_new(&path).unwrap_err()] {
            assert_eq!(error.exit() as i32, 2);
            assert!(error.report().contains("nothing is overwritten"), "{}", error.report());
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        let error = write_new(&dir.path().join("no/such"), b"x").unwrap_err();
        assert!(error.report().starts_with("error: cannot write `"), "{}", error.report());
    }
}
