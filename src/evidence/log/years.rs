//! Which logs there are.

use std::io;
use std::path::Path;

use super::{LogDir, LogError, LogKeys, LogReader};
use crate::durable;
use crate::tlog::checkpoint::{Checkpoint, CheckpointError, VerifiedCheckpoint};
use crate::tlog::note::{NOTE_MAX, Note};

/// The last checkpoint of each log below a data directory, the oldest log first. What a log is called
/// stands in its checkpoint, and is believed because our own keys signed it.
pub fn published(data: &Path, keys: &LogKeys) -> Result<Vec<VerifiedCheckpoint>, LogError> {
    let checkpoints = years(&data.join("log"))?.into_iter().map(|year| checkpoint(data, keys, year));
    checkpoints.filter_map(Result::transpose).collect()
}

fn years(dir: &Path) -> Result<Vec<u16>, LogError> {
    let failed = |source| LogError::Io { doing: "read", path: dir.to_owned(), source };
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut years = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        years.extend(name.to_str().and_then(|name| name.parse::<u16>().ok()));
    }
    years.sort_unstable();
    Ok(years)
}

/// `None` before the first checkpoint of a log.
fn checkpoint(data: &Path, keys: &LogKeys, year: u16) -> Result<Option<VerifiedCheckpoint>, LogError> {
    let path = data.join("log").join(year.to_string()).join("checkpoint");
    let wrong = |source: CheckpointError| LogError::Checkpoint { path: path.clone(), source };
    let Some(text) = durable::read(&path, NOTE_MAX as u64)? else { return Ok(None) };
    let note = Note::parse(text.as_bytes()).map_err(|error| wrong(error.into()))?;
    let claimed = Checkpoint::claimed(&note).ok_or_else(|| wrong(CheckpointError::Malformed))?;
    let name = claimed.origin.as_str().strip_suffix(&format!("/{year}"));
    let dir = LogDir::of(data, name.ok_or_else(|| wrong(CheckpointError::Malformed))?, year)?;
    let trusted = keys.trusted(dir.origin())?;
    Ok(LogReader::new(dir, trusted).tree()?.map(|tree| tree.checkpoint().clone()))
}
