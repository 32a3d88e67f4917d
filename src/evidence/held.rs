//! A spool directory that is to be copied while it is written to and read: its segments are held open, so that
//! none is lost that its reader releases meanwhile.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::segment;

/// The segments of a spool.
pub struct Held {
    dir: PathBuf,
    segments: BTreeMap<u64, File>,
}

impl Held {
    /// Opens every segment of a directory.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let mut held = Self { dir: dir.to_owned(), segments: BTreeMap::new() };
        held.take()?;
        Ok(held)
    }

    /// Opens those that came since. False where the newest of before is gone: then one that came and went in
    /// between is not among them. Segments are released in their order, so else there is none.
    pub fn renew(&mut self) -> io::Result<bool> {
        let newest = self.segments.last_key_value().map(|(first, _)| *first);
        let there = self.take()?;
        Ok(newest.is_none_or(|newest| there.contains(&newest)))
    }

    /// The first sequences of those that are there now.
    fn take(&mut self) -> io::Result<Vec<u64>> {
        let mut there = Vec::new();
        for found in segment::list(&self.dir)? {
            if let Entry::Vacant(place) = self.segments.entry(found.first) {
                match File::open(&found.path) {
                    Ok(file) => _ = place.insert(file),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
            }
            there.push(found.first);
        }
        Ok(there)
    }

    /// Each with the name of its file, the oldest first, and as long as it is now. What was answered for before is
    /// in it: a segment only grows.
    pub fn segments(self) -> io::Result<Vec<(String, File, u64)>> {
        let named = |(first, file): (u64, File)| {
            let name = segment::path(Path::new(""), first).display().to_string();
            let bytes = file.metadata()?.len();
            Ok((name, file, bytes))
        };
        self.segments.into_iter().map(named).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::segment::{Keep, path, release_before};
    use std::io::Read;

    fn names(held: Held) -> Vec<String> {
        held.segments().unwrap().into_iter().map(|(name, ..)| name).collect()
    }

    #[test]
    fn what_is_released_meanwhile_is_still_read() {
        let dir = tempfile::tempdir().unwrap();
        for (first, text) in [(1, "a"), (5, "b")] {
            std::fs::write(path(dir.path(), first), text).unwrap();
        }
        std::fs::write(dir.path().join("identity"), "").unwrap();
        let mut held = Held::open(dir.path()).unwrap();
        std::fs::write(path(dir.path(), 9), "c").unwrap();
        release_before(dir.path(), 6, Keep::NOT_AT_ALL).unwrap();
        assert!(held.renew().unwrap());
        let segments = held.segments().unwrap();
        let text = |mut file: &File| {
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            text
        };
        let read: Vec<_> =
            segments.iter().map(|(name, file, bytes)| (name.trim_start_matches('0'), text(file), *bytes)).collect();
        let one = |name, text: &str| (name, text.to_owned(), 1);
        assert_eq!(read, [one("1.spool", "a"), one("5.spool", "b"), one("9.spool", "c")]);
    }

    #[test]
    fn a_segment_that_came_and_went_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(path(dir.path(), 1), "a").unwrap();
        let mut held = Held::open(dir.path()).unwrap();
        std::fs::remove_file(path(dir.path(), 1)).unwrap();
        std::fs::write(path(dir.path(), 9), "c").unwrap();
        assert!(!held.renew().unwrap());
        assert_eq!(names(held).len(), 2);
    }
}
