//! Floor 6: a data directory in one archive, taken while the program runs on it, and brought back.
//!
//! The archive is a tar, packed by gzip, that any tool opens: a manifest, and behind it exactly the files that it
//! names ([`archive`]). What belongs to a data directory is one table ([`layout`]); [`gather`] says in which order
//! its parts are taken, and why.
//!
//! A gateway by itself has nothing here: what it records is delivered, and an old copy of a spool is told as one
//! that went back. So all of this is built with the control plane alone.

pub mod archive;
mod gather;
pub mod layout;
pub mod manifest;
mod restore;
mod scratch;
mod take;
pub mod tar;
mod verify;

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

use crate::durable::FileError;
use crate::evidence::StoreError;
use crate::evidence::log::LogError;
use crate::model::time::Timestamp;

pub use gather::Log;
pub use restore::{Checked, Restored, Unpacked};
pub use take::{Taken, Wanted, take};
pub use verify::LogFound;

use archive::Refused;

/// Hears how far it is: so many of so many, and of what.
pub type Tell<'a> = &'a mut dyn FnMut(u64, u64, &'static str);

/// Why a backup was not taken or not restored. Nothing is left of it then.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("there is nothing of Permyx in `{}`: give the --data of `permyx serve`", .0.display())]
    NothingThere(PathBuf),
    #[error("`{}` is there already, and nothing is overwritten: name another file", .0.display())]
    IsThere(PathBuf),
    #[error("`{}` is not an empty directory, and nothing is overwritten: name a new one", .0.display())]
    NotEmpty(PathBuf),
    #[error("`{}` is a mount point, which cannot be put in place in one step: name a directory below it", .0.display())]
    Mounted(PathBuf),
    #[error("`{0}` changed while it was read; try again")]
    Changed(String),
    #[error("cannot {doing} `{}`", .path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("`{}` cannot be restored", .path.display())]
    Refused { path: PathBuf, source: Refused },
    #[error("the log in it is not what was signed: {0}")]
    NotSigned(String),
    #[error("`{name}` is a checkpoint of the log `{kept}`, and the backup holds {found}")]
    OtherLog { name: String, kept: String, found: String },
    #[error(
        "the clock of this machine says {now}, and the backup was made at {made}: set the clock first, since used \
         tokens are told from new ones by it after a start"
    )]
    Clock { now: Timestamp, made: Timestamp },
}

impl BackupError {
    fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }
}
