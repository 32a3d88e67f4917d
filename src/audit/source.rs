//! Where the bytes come from.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

/// The files of a log, by the names that tlog-tiles gives them.
pub trait Source: Sync {
    /// The bytes of a file; `None` where there is none. One of more than `max` bytes is an error.
    fn read(&self, name: &str, max: usize) -> io::Result<Option<Vec<u8>>>;
}

/// A log directory.
#[derive(Clone, Debug)]
pub struct Directory(pub PathBuf);

impl Source for Directory {
    fn read(&self, name: &str, max: usize) -> io::Result<Option<Vec<u8>>> {
        match File::open(self.0.join(name)) {
            Ok(file) => bounded(file, max).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The bytes of a file that must not be longer than `max`.
pub fn bounded(file: File, max: usize) -> io::Result<Vec<u8>> {
    let expected = file.metadata().map_or(0, |meta| meta.len().min(max as u64));
    let mut bytes = Vec::with_capacity(expected as usize + 1);
    file.take(max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {max} bytes")));
    }
    Ok(bytes)
}
