//! The segment that is being written. Either a whole record stands in it or nothing of it.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use super::segment;

/// Where bytes are appended: a file, or in tests a failing one.
pub trait Medium {
    /// One `write(2)`.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;
    fn cut_to(&self, bytes: u64) -> io::Result<()>;
    fn bytes(&self) -> io::Result<u64>;
}

impl Medium for File {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut file = self;
        Write::write(&mut file, bytes)
    }

    fn cut_to(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

/// A write that failed.
#[derive(Debug)]
pub enum Fault {
    /// Nothing of it is in the file.
    Undone(io::Error),
    /// A part of it may be in the file, and nothing may follow that.
    Torn(io::Error),
}

/// The newest segment, open for appending.
pub struct Active<M = File> {
    first: u64,
    file: Arc<M>,
    bytes: u64,
}

impl Active {
    /// Begins the segment whose first record will be `first`.
    pub fn create(dir: &Path, first: u64) -> io::Result<Self> {
        let active = Self::reopen(dir, first, 0)?;
        segment::sync_dir(dir)?;
        Ok(active)
    }

    /// Opens a segment to continue after its first `bytes` bytes; what follows them is cut off.
    pub fn reopen(dir: &Path, first: u64, bytes: u64) -> io::Result<Self> {
        let file = File::options().append(true).create(true).open(segment::path(dir, first))?;
        if file.metadata()?.len() != bytes {
            file.set_len(bytes)?;
            file.sync_all()?;
        }
        Ok(Self { first, file: Arc::new(file), bytes })
    }
}

impl<M: Medium> Active<M> {
    /// Sequence of the first record.
    pub fn first(&self) -> u64 {
        self.first
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn file(&self) -> Arc<M> {
        Arc::clone(&self.file)
    }

    /// Writes all of `record` or nothing.
    pub fn append(&mut self, record: &[u8]) -> Result<(), Fault> {
        match self.write(record) {
            Ok(()) => {
                self.bytes += record.len() as u64;
                Ok(())
            }
            // What became read-only cannot be cut, and took nothing either. A cut gives room back.
            Err(error) => match self.is_as_before().or_else(|_| self.file.cut_to(self.bytes)) {
                Ok(()) => Err(Fault::Undone(error)),
                Err(_) => Err(Fault::Torn(error)),
            },
        }
    }

    fn is_as_before(&self) -> io::Result<()> {
        if self.file.bytes()? == self.bytes { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    fn write(&self, record: &[u8]) -> io::Result<()> {
        loop {
            match self.file.write(record) {
                Ok(written) if written == record.len() => return Ok(()),
                // Files are written short when the disk or a quota is full; the rest would fail too.
                Ok(_) => return Err(io::ErrorKind::StorageFull.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    /// A disk with so many bytes left. It may also refuse to be cut.
    struct SmallDisk {
        content: Mutex<Vec<u8>>,
        capacity: Mutex<usize>,
        cuttable: bool,
    }

    impl Medium for SmallDisk {
        fn write(&self, bytes: &[u8]) -> io::Result<usize> {
            let mut content = self.content.lock();
            let fits = bytes.len().min(*self.capacity.lock() - content.len());
            content.extend_from_slice(&bytes[..fits]);
            Ok(fits)
        }

        fn cut_to(&self, bytes: u64) -> io::Result<()> {
            if !self.cuttable {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            self.content.lock().truncate(usize::try_from(bytes).unwrap());
            Ok(())
        }

        fn bytes(&self) -> io::Result<u64> {
            Ok(self.content.lock().len() as u64)
        }
    }

    fn active(capacity: usize, cuttable: bool) -> Active<SmallDisk> {
        let disk = SmallDisk { content: Mutex::default(), capacity: Mutex::new(capacity), cuttable };
        Active { first: 1, file: Arc::new(disk), bytes: 0 }
    }

    #[test]
    fn a_short_write_leaves_nothing_behind() {
        let mut active = active(12, true);
        assert!(active.append(b"12345678").is_ok());
        assert!(matches!(active.append(b"abcdefgh"), Err(Fault::Undone(_))));
        assert_eq!(*active.file.content.lock(), b"12345678");
        *active.file.capacity.lock() = 16;
        assert!(active.append(b"ABCDEFGH").is_ok());
        assert_eq!(*active.file.content.lock(), b"12345678ABCDEFGH");
    }

    #[test]
    fn a_short_write_that_stays_is_told_apart() {
        let mut active = active(4, false);
        assert!(matches!(active.append(b"12345678"), Err(Fault::Torn(_))));
    }

    #[test]
    fn a_disk_that_took_nothing_goes_on_when_it_takes_something_again() {
        let mut active = active(0, false);
        assert!(matches!(active.append(b"12345678"), Err(Fault::Undone(_))));
        *active.file.capacity.lock() = 8;
        assert!(active.append(b"12345678").is_ok());
        assert_eq!(*active.file.content.lock(), b"12345678");
    }
}
