//! The tamper-evident log on disk: one for each year, as files that any static web server can show
//! (C2SP tlog-tiles). The [`Appender`] takes the exact bytes of the events and signs checkpoints,
//! the [`LogReader`] proves from the files, [`LogKeys`] keeps the keys.
//!
//! What is signed cannot be taken back. So what a checkpoint names is on the disk before it, and a
//! tree that does not continue the last one that was signed is not signed: after a restored backup
//! the log stands still with an error, and does not tell a second story.

mod append;
mod files;
mod keys;
mod read;
mod rebuild;
mod years;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use crate::durable::FileError;
use crate::tlog::checkpoint::CheckpointError;
use crate::tlog::entries::TooLong;
use crate::tlog::hash::Hash;
use crate::tlog::key::{KeyError, KeyName};

pub use append::Appender;
pub use keys::{LogKey, LogKeys};
pub use read::{LogReader, Tree};
pub use rebuild::Rebuild;
pub use years::published;

/// Why the log cannot be read or continued.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("cannot {doing} `{}`", .path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("`{}` is missing: restore it from a backup, or rebuild the log from the store", .0.display())]
    Missing(PathBuf),
    #[error("`{}` is damaged: restore it from a backup, or rebuild the log from the store", .0.display())]
    Damaged(PathBuf),
    #[error("`{}` cannot be believed", .path.display())]
    Checkpoint { path: PathBuf, source: CheckpointError },
    #[error(
        "a log of {signed} events was signed, and these are only {found}: restore the others; a shorter log is not signed"
    )]
    Shrunk { signed: u64, found: u64 },
    #[error(
        "the first {size} events are not those that were signed ({signed}, now {found}): another log is not signed; \
         restore the events, or begin a log with another name"
    )]
    Diverged { size: u64, signed: Hash, found: Hash },
    #[error(
        "the log that was signed last is not the one that is kept here: it was changed or restored while it was open"
    )]
    Changed,
    #[error(
        "the log `{origin}` was restored from a copy, and whether more was signed since is not known here: a second \
         history is not signed. If nothing was, remove `{}`; else begin a log with another name", .held.display()
    )]
    Held { origin: KeyName, held: PathBuf },
    #[error("`{found}` is not an earlier log of the same name as `{this}`")]
    NotBefore { found: KeyName, this: KeyName },
    #[error(transparent)]
    TooLong(#[from] TooLong),
    #[error("the log has as many leaves as one can have")]
    Full,
    #[error("writing the log failed before; open it again")]
    Broken,
    #[error("there are no log keys in `{}`: `permyx serve` makes the first one; give its --data", .0.display())]
    NoKeys(PathBuf),
    #[error("there is no log key `{0}`")]
    NoSuchKey(String),
    #[error("`{0}` is the only log key that signs: rotate first")]
    OnlyKey(String),
    #[error("{0} log keys sign already: retire one before the next rotation")]
    TooManyKeys(usize),
    #[error("the log's name or key {0}")]
    Key(#[from] KeyError),
}

/// Where the log of one year stands: `<data>/log/<year>/`.
#[derive(Clone, Debug)]
pub struct LogDir {
    root: PathBuf,
    origin: KeyName,
    year: u16,
}

impl LogDir {
    /// `name` is that of the deployment's logs, and `<name>/<year>` the origin of this one.
    pub fn of(data: &Path, name: &str, year: u16) -> Result<Self, LogError> {
        let origin = KeyName::parse(&format!("{name}/{year}"))?;
        Ok(Self { root: data.join("log").join(year.to_string()), origin, year })
    }

    /// The directory that a static web server may show.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The log's name in checkpoints, and that of its keys.
    #[must_use]
    pub fn origin(&self) -> &KeyName {
        &self.origin
    }

    /// Whether `other` names the log of an earlier year.
    fn follows(&self, other: &KeyName) -> bool {
        let parts =
            |name: &KeyName| name.as_str().rsplit_once('/').map(|(name, year)| (name.to_owned(), year.to_owned()));
        let (Some((ours, _)), Some((theirs, year))) = (parts(&self.origin), parts(other)) else { return false };
        ours == theirs && year.parse::<u16>().is_ok_and(|year| year < self.year)
    }

    fn checkpoint(&self) -> PathBuf {
        self.root.join("checkpoint")
    }
}
