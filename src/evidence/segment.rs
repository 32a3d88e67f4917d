//! The segment files of one spool directory: `<first sequence, 20 digits>.spool`.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

const ENDING: &str = "spool";

/// One segment file as it was when the directory was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Sequence of its first record.
    pub first: u64,
    pub path: PathBuf,
    pub bytes: u64,
}

/// Where the segment that starts with `first` stands.
pub fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.{ENDING}"))
}

/// The segments of a directory, oldest first. Other files are not ours and are left out.
pub fn list(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let Some(first) = first_sequence(&path) else { continue };
        match std::fs::metadata(&path) {
            Ok(found) => segments.push(Segment { first, path, bytes: found.len() }),
            // A reader may have released it since the directory was opened.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    segments.sort_by_key(|segment| segment.first);
    Ok(segments)
}

fn first_sequence(path: &Path) -> Option<u64> {
    let stem = path.file_stem()?.to_str()?;
    (path.extension()? == ENDING && stem.len() == 20).then(|| stem.parse().ok()).flatten()
}

/// How long what was read is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keep {
    /// Until it was not written to for this long,
    pub idle: Duration,
    /// or all segments have more bytes than this: what is still to come needs their room.
    pub room: u64,
}

impl Keep {
    pub const NOT_AT_ALL: Self = Self { idle: Duration::ZERO, room: 0 };
}

/// Deletes the segments that hold nothing but records before `sequence` and are kept no longer. The
/// newest that holds a record always stays: the sequence continues from it, and the chain.
pub fn release_before(dir: &Path, sequence: u64, kept: Keep) -> io::Result<()> {
    let segments = list(dir)?;
    let mut used: u64 = segments.iter().map(|segment| segment.bytes).sum();
    for (segment, following) in segments.iter().zip(segments.iter().skip(1)) {
        if following.first > sequence || following.bytes == 0 {
            break;
        }
        if used <= kept.room && !is_idle(&segment.path, kept.idle) {
            break;
        }
        used -= segment.bytes;
        match std::fs::remove_file(&segment.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn is_idle(path: &Path, idle: Duration) -> bool {
    let written = std::fs::metadata(path).and_then(|found| found.modified());
    idle.is_zero() || written.is_ok_and(|written| written.elapsed().is_ok_and(|since| since >= idle))
}

/// Makes names that were added to a directory survive a loss of power.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
