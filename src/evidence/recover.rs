//! What a spool directory holds when it is opened: where to go on, and how the last run ended.

use std::io;
use std::path::Path;

use serde::Deserialize;

use super::active::Active;
use super::record::{self, Next};
use super::segment::{self, Segment};
use crate::model::intent::Sha256;

/// Where the next record goes.
pub struct Recovered {
    pub active: Active,
    /// Bytes in the segments before the active one.
    pub sealed: u64,
    pub next: u64,
    /// Leaf hash of the last whole record, unless there is none.
    pub previous: Option<Sha256>,
    pub ending: Ending,
}

/// How the last run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// There was none.
    Fresh,
    Clean,
    /// `damage` bytes at the end were no whole record.
    Unclean {
        damage: u64,
    },
}

/// The last whole record.
#[derive(Clone, Copy)]
struct Last {
    sequence: u64,
    hash: Sha256,
    is_shutdown: bool,
}

/// The end of one segment.
struct End {
    last: Option<Last>,
    /// Bytes up to the end of the last whole record.
    kept: u64,
    /// Bytes after that.
    torn: u64,
}

/// Looks at the newest segments of `dir` and opens the one to go on with.
pub fn recover(dir: &Path) -> io::Result<Recovered> {
    let mut segments = segment::list(dir)?;
    let Some(newest) = segments.pop() else {
        let active = Active::create(dir, 1)?;
        return Ok(Recovered { active, sealed: 0, next: 1, previous: None, ending: Ending::Fresh });
    };
    let sealed = segments.iter().map(|segment| segment.bytes).sum();
    let end = read_end(&newest)?;
    // A process that died between making a segment and writing to it leaves an empty one.
    let last = match (&end.last, segments.last()) {
        (None, Some(before)) => read_end(before)?.last,
        (last, _) => *last,
    };
    let next = last.map_or(newest.first, |last| (last.sequence + 1).max(newest.first));
    let ending = match last {
        Some(Last { is_shutdown: true, .. }) if end.torn == 0 => Ending::Clean,
        None if end.torn == 0 && next == 1 => Ending::Fresh,
        _ => Ending::Unclean { damage: end.torn },
    };
    let active = Active::reopen(dir, newest.first, end.kept)?;
    Ok(Recovered { active, sealed, next, previous: last.map(|last| last.hash), ending })
}

fn read_end(segment: &Segment) -> io::Result<End> {
    let content = std::fs::read(&segment.path)?;
    let mut rest = content.as_slice();
    let mut end = End { last: None, kept: 0, torn: 0 };
    let mut last = None;
    loop {
        let step = match record::next(rest) {
            Next::Record(record) => {
                last = Some(record);
                record.framed_len()
            }
            // The missing sequence tells the reader.
            Next::Damage { bytes } => bytes,
            Next::Tail => break,
        };
        end.kept += step as u64;
        rest = rest.get(step..).unwrap_or_default();
    }
    end.torn = rest.len() as u64;
    end.last = last.map(|record| Last {
        sequence: record.sequence,
        hash: Sha256::of_leaf(record.body),
        is_shutdown: is_shutdown(record.body),
    });
    Ok(end)
}

fn is_shutdown(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(rename = "type")]
        name: &'a str,
    }
    serde_json::from_slice(body).is_ok_and(|Kind { name }| name == "io.permyx.system.stopped.v1")
}
