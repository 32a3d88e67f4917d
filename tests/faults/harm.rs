//! What may become of the files of a spool while its gateway is down.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use permyx::evidence::record::{self, Next};

use crate::support::files;

/// The files of a spool.
pub struct SpoolFiles(PathBuf);

/// Where it ended at some time.
pub struct Mark {
    segments: usize,
    newest: PathBuf,
    bytes: u64,
}

/// A record in a file.
struct Place {
    file: PathBuf,
    at: usize,
    bytes: Vec<u8>,
    sequence: u64,
}

impl SpoolFiles {
    /// Of the gateway with this directory.
    pub fn of(gateway: &Path) -> Self {
        Self(gateway.join("data/spool"))
    }

    pub fn mark(&self) -> Mark {
        let segments = self.segments();
        let newest = segments.last().unwrap().clone();
        let bytes = std::fs::metadata(&newest).unwrap().len();
        Mark { segments: segments.len(), newest, bytes }
    }

    /// Segments that were begun since.
    pub fn begun_since(&self, mark: &Mark) -> usize {
        self.segments().len() - mark.segments
    }

    fn segments(&self) -> Vec<PathBuf> {
        files(&self.0, ".spool")
    }

    /// All records, in the order in which they stand.
    fn places(&self) -> Vec<Place> {
        let mut found = Vec::new();
        for file in self.segments() {
            let content = std::fs::read(&file).unwrap();
            let mut at = 0;
            while let Next::Record(record) = record::next(&content[at..]) {
                let bytes = content[at..at + record.framed_len()].to_vec();
                found.push(Place { file: file.clone(), at, sequence: record.sequence, bytes });
                at += record.framed_len();
            }
        }
        found
    }

    /// The last record is cut off within.
    pub fn tear(&self) {
        let last = self.places().pop().unwrap();
        truncate(&last.file, (last.at + last.bytes.len() / 2) as u64);
    }

    /// One bit of the last record is another.
    pub fn flip_last(&self) {
        flip(&self.places().pop().unwrap());
    }

    /// One bit of the record in whose body all these words are. Answers its sequence.
    pub fn flip_with(&self, words: &[&str]) -> u64 {
        let place = self.find(words);
        flip(&place);
        place.sequence
    }

    /// The record with these words changes places with the next. Answers its sequence.
    pub fn swap_with(&self, words: &[&str]) -> u64 {
        let (first, places) = (self.find(words), self.places());
        let second = places.iter().find(|place| place.sequence == first.sequence + 1).unwrap();
        assert_eq!(first.file, second.file);
        write_at(&first.file, first.at, &[second.bytes.as_slice(), &first.bytes].concat());
        first.sequence
    }

    /// The first segment that was begun since is gone. Answers the first and the last sequence in it.
    pub fn remove_since(&self, mark: &Mark) -> (u64, u64) {
        let gone = self.segments().swap_remove(mark.segments);
        let sequences = || self.places().into_iter().filter(|place| place.file == gone).map(|place| place.sequence);
        let range = (sequences().min().unwrap(), sequences().max().unwrap());
        std::fs::remove_file(gone).unwrap();
        range
    }

    /// It is as long as it was.
    pub fn cut_to(&self, mark: &Mark) {
        for later in &self.segments()[mark.segments..] {
            std::fs::remove_file(later).unwrap();
        }
        truncate(&mark.newest, mark.bytes);
    }

    fn find(&self, words: &[&str]) -> Place {
        let has = |place: &Place| {
            let text = String::from_utf8_lossy(&place.bytes);
            words.iter().all(|word| text.contains(word))
        };
        self.places().into_iter().find(has).unwrap_or_else(|| panic!("no record with {words:?}"))
    }
}

fn flip(place: &Place) {
    let middle = place.bytes.len() / 2;
    write_at(&place.file, place.at + middle, &[place.bytes[middle] ^ 1]);
}

fn write_at(file: &Path, at: usize, bytes: &[u8]) {
    File::options().write(true).open(file).unwrap().write_all_at(bytes, at as u64).unwrap();
}

fn truncate(file: &Path, bytes: u64) {
    File::options().write(true).open(file).unwrap().set_len(bytes).unwrap();
}
