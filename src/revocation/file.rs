//! `revocations.json` below a data directory: what survives a restart, and how the processes of one
//! host hear of a command.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::durable::{self, FileError, Lock, Readers};
use crate::model::revocation::{Revocation, Revocations};

use super::RevocationError;

/// Largest file that is read; the most records with the longest texts take half of it.
const FILE_MAX: u64 = 16 << 20;

/// What the file holds.
#[derive(Clone, Default)]
pub(super) struct Content {
    text: Option<String>,
    pub records: Revocations,
}

#[derive(Serialize, Deserialize)]
struct FileDoc {
    revocations: Vec<Revocation>,
}

pub(super) struct RevocationFile {
    data: PathBuf,
    path: PathBuf,
}

impl RevocationFile {
    pub fn of(data: &Path) -> Self {
        Self { data: data.to_owned(), path: data.join("revocations.json") }
    }

    /// No file is no revocations.
    pub fn read(&self) -> Result<Content, RevocationError> {
        Ok(self.read_if_changed(&Content::default())?.unwrap_or_default())
    }

    /// `None` when the file holds what was seen before.
    pub fn read_if_changed(&self, seen: &Content) -> Result<Option<Content>, RevocationError> {
        let text = durable::read(&self.path, FILE_MAX)?;
        if text == seen.text {
            return Ok(None);
        }
        let damaged = |source| RevocationError::Damaged { path: self.path.clone(), source };
        let doc: Option<FileDoc> = text.as_deref().map(serde_json::from_str).transpose().map_err(damaged)?;
        let records = doc.map(|doc| doc.revocations.into_iter().collect()).unwrap_or_default();
        Ok(Some(Content { text, records }))
    }

    pub fn lock(&self) -> Result<Lock, FileError> {
        durable::make_dir(&self.data)?;
        durable::lock(&self.data.join(".revocations.lock"))
    }

    pub fn write(&self, records: &Revocations, lock: &Lock) -> Result<Content, RevocationError> {
        let doc = FileDoc { revocations: records.records().cloned().collect() };
        let damaged = |source| RevocationError::Damaged { path: self.path.clone(), source };
        let text = serde_json::to_string_pretty(&doc).map_err(damaged)? + "\n";
        durable::replace(&self.path, text.as_bytes(), Readers::Owner, lock)?;
        Ok(Content { text: Some(text), records: records.clone() })
    }
}
