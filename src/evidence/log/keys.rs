//! The keys that sign checkpoints: `<data>/log-keys/<fingerprint>.pem`, apart from the token keys,
//! and `keys.json` which says until when each one signs. The public halves stay in it for good: what
//! a key signed must be verifiable after it is retired.
//!
//! Beside them stands what was signed last, `signed-<year>`. It is there so that a log that was set
//! back, by a restored backup or by hand, is not signed as if nothing had been. Where all of it was set
//! back together nothing here could know: then whoever restores it leaves `held-<year>` behind.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::LogError;
use crate::durable::{self, Lock, Readers};
use crate::model::intent::Sha256;
use crate::model::time::Timestamp;
use crate::tlog::checkpoint::{Checkpoint, Trusted, VerifiedCheckpoint};
use crate::tlog::hash::Hash;
use crate::tlog::key::{KeyError, KeyName, SecretKey, Signer, VerifierKey};
use crate::tlog::note::{NOTE_MAX, Note};

/// Most keys that sign at once: the one before stays until verifiers know the new one.
const SIGNING_MAX: usize = 4;
/// Most keys that the list holds, retired ones among them.
const LISTED_MAX: usize = 1024;
/// Largest list and largest file of a key.
const FILE_MAX: u64 = 1 << 20;

/// One line of `keys.json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogKey {
    /// The public key in base64, as it stands in every verifier key.
    public: String,
    pub created: Timestamp,
    /// When it stops to sign; `None` for the newest.
    pub retires_at: Option<Timestamp>,
}

impl LogKey {
    /// What it is called here: the first 16 hex digits of the SHA-256 of the public key.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        Sha256::of(self.public.as_bytes()).hex().chars().take(16).collect()
    }

    #[must_use]
    pub fn signs(&self, now: Timestamp) -> bool {
        self.retires_at.is_none_or(|at| now < at)
    }

    /// What verifies its signatures on the log `origin`.
    pub fn verifier(&self, origin: &KeyName) -> Result<VerifierKey, LogError> {
        let public = Hash::parse(&self.public).ok_or(KeyError::NotEd25519)?;
        Ok(VerifierKey::new(origin.clone(), *public.as_bytes()))
    }
}

/// The directory of log keys below a data directory.
#[derive(Clone, Debug)]
pub struct LogKeys {
    dir: PathBuf,
}

/// The order is the order of making; never empty.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    keys: Vec<LogKey>,
}

impl LogKeys {
    /// Opens the keys of a deployment, and makes the first one where there is none.
    pub fn open(data: &Path, now: Timestamp) -> Result<Self, LogError> {
        let keys = Self { dir: data.join("log-keys") };
        let lock = keys.lock()?;
        if keys.read_list()?.is_none() {
            keys.add(List { keys: Vec::new() }, now, &lock)?;
        }
        Ok(keys)
    }

    /// The keys of a deployment that has some: it makes none.
    pub fn existing(data: &Path) -> Result<Self, LogError> {
        let keys = Self { dir: data.join("log-keys") };
        let list = keys.read_list()?;
        list.map(|_| keys.clone()).ok_or(LogError::NoKeys(keys.dir))
    }

    /// Every key, the oldest first.
    pub fn list(&self) -> Result<Vec<LogKey>, LogError> {
        Ok(self.entries()?.keys)
    }

    /// Makes the next key. The one before it signs along for `overlap_s` seconds, so that verifiers
    /// have the time to learn of the new one. Private halves whose time is over are destroyed.
    pub fn rotate(&self, overlap_s: u32, now: Timestamp) -> Result<LogKey, LogError> {
        let lock = self.lock()?;
        let mut list = self.entries()?;
        let signing = list.keys.iter().filter(|key| key.signs(now)).count();
        if signing >= SIGNING_MAX || list.keys.len() >= LISTED_MAX {
            return Err(LogError::TooManyKeys(signing));
        }
        let gone: Vec<PathBuf> = list.keys.iter().filter(|key| !key.signs(now)).map(|key| self.pem(key)).collect();
        if let Some(last) = list.keys.last_mut() {
            last.retires_at = Some(now.plus_seconds(overlap_s.into()));
        }
        let made = self.add(list, now, &lock)?;
        gone.iter().try_for_each(|pem| durable::remove(pem, &lock))?;
        Ok(made)
    }

    /// Ends the overlap of a key at once and destroys its private half.
    pub fn retire(&self, fingerprint: &str, now: Timestamp) -> Result<LogKey, LogError> {
        let lock = self.lock()?;
        let mut list = self.entries()?;
        let last = list.keys.last().map(LogKey::fingerprint);
        let key = list.keys.iter_mut().find(|key| key.fingerprint() == fingerprint);
        let key = key.ok_or_else(|| LogError::NoSuchKey(fingerprint.to_owned()))?;
        if last.as_deref() == Some(fingerprint) {
            return Err(LogError::OnlyKey(fingerprint.to_owned()));
        }
        if key.signs(now) {
            key.retires_at = Some(now);
        }
        let retired = key.clone();
        self.write_list(&list, &lock)?;
        durable::remove(&self.pem(&retired), &lock)?;
        Ok(retired)
    }

    /// The keys that sign the log `origin` now, the oldest first: never empty.
    pub fn signers(&self, origin: &KeyName, now: Timestamp) -> Result<Vec<Signer>, LogError> {
        let list = self.entries()?;
        let signing = list.keys.iter().filter(|key| key.signs(now));
        signing.map(|key| Ok(Signer::new(origin.clone(), Arc::new(self.secret(key)?)))).collect()
    }

    /// Every key that ever signed, under the name of the log `origin`.
    pub fn trusted(&self, origin: &KeyName) -> Result<Trusted, LogError> {
        let keys = self.entries()?.keys.iter().map(|key| key.verifier(origin)).collect::<Result<_, _>>()?;
        Trusted::new(keys).map_err(|source| LogError::Checkpoint { path: self.file(), source })
    }

    /// The checkpoint of a year that was signed last.
    pub(super) fn last_signed(&self, year: u16, trusted: &Trusted) -> Result<Option<VerifiedCheckpoint>, LogError> {
        read_checkpoint(&self.signed(year), trusted)
    }

    /// Keeps in mind what is signed, before anybody else sees it.
    pub(super) fn remember(&self, year: u16, checkpoint: &VerifiedCheckpoint) -> Result<(), LogError> {
        let lock = self.lock()?;
        Ok(durable::replace(&self.signed(year), checkpoint.note().to_string().as_bytes(), Readers::Owner, &lock)?)
    }

    /// From here on nothing is added to the log of this year, until somebody removes the file that is returned:
    /// it was restored, and more may have been signed. With a checkpoint that is true of its log alone.
    pub fn hold(&self, year: u16, checkpoint: Option<&Note>) -> Result<PathBuf, LogError> {
        let (lock, path) = (self.lock()?, self.held(year));
        let text = checkpoint.map(Note::to_string).unwrap_or_default();
        durable::replace(&path, text.as_bytes(), Readers::Owner, &lock)?;
        Ok(path)
    }

    /// Ends a hold: whoever restored the log says that nothing more was signed.
    pub fn let_go(&self, year: u16) -> Result<(), LogError> {
        let lock = self.lock()?;
        Ok(durable::remove(&self.held(year), &lock)?)
    }

    /// An error, where the log is held. What cannot be read holds any log.
    pub(super) fn unless_held(&self, year: u16, origin: &KeyName) -> Result<(), LogError> {
        let held = self.held(year);
        let Some(text) = durable::read(&held, NOTE_MAX as u64)? else { return Ok(()) };
        let claimed = Note::parse(text.as_bytes()).ok().and_then(|note| Checkpoint::claimed(&note));
        let is_another = claimed.is_some_and(|claimed| claimed.origin != *origin);
        if is_another { Ok(()) } else { Err(LogError::Held { origin: origin.clone(), held }) }
    }

    /// The private key's file is on the disk before the list names it.
    fn add(&self, mut list: List, now: Timestamp, lock: &Lock) -> Result<LogKey, LogError> {
        let secret = SecretKey::generate()?;
        let key = LogKey { public: Hash::new(*secret.public()).to_string(), created: now, retires_at: None };
        durable::replace(&self.pem(&key), secret.to_pem()?.as_bytes(), Readers::Owner, lock)?;
        list.keys.push(key.clone());
        self.write_list(&list, lock)?;
        Ok(key)
    }

    fn secret(&self, key: &LogKey) -> Result<SecretKey, LogError> {
        let path = self.pem(key);
        let text = durable::read(&path, FILE_MAX)?.ok_or_else(|| LogError::Missing(path.clone()))?;
        let secret =
            SecretKey::from_pem(&text).ok().filter(|secret| Hash::new(*secret.public()).to_string() == key.public);
        secret.ok_or(LogError::Damaged(path))
    }

    fn entries(&self) -> Result<List, LogError> {
        self.read_list()?.ok_or_else(|| LogError::Missing(self.file()))
    }

    fn read_list(&self) -> Result<Option<List>, LogError> {
        let Some(text) = durable::read(&self.file(), FILE_MAX)? else { return Ok(None) };
        let list: Option<List> = serde_json::from_str(&text).ok();
        let sound = list.filter(|list| (1..=LISTED_MAX).contains(&list.keys.len()));
        sound.map(Some).ok_or_else(|| LogError::Damaged(self.file()))
    }

    fn write_list(&self, list: &List, lock: &Lock) -> Result<(), LogError> {
        let text = serde_json::to_string_pretty(list).map_err(|_| LogError::Damaged(self.file()))?;
        Ok(durable::replace(&self.file(), format!("{text}\n").as_bytes(), Readers::Owner, lock)?)
    }

    fn lock(&self) -> Result<Lock, LogError> {
        durable::make_dir(&self.dir)?;
        Ok(durable::lock(&self.dir.join(".lock"))?)
    }

    fn file(&self) -> PathBuf {
        self.dir.join("keys.json")
    }

    fn pem(&self, key: &LogKey) -> PathBuf {
        self.dir.join(format!("{}.pem", key.fingerprint()))
    }

    fn signed(&self, year: u16) -> PathBuf {
        self.dir.join(format!("signed-{year}"))
    }

    fn held(&self, year: u16) -> PathBuf {
        self.dir.join(format!("held-{year}"))
    }
}

/// Reads and verifies a checkpoint; `None` where there is no such file.
pub(super) fn read_checkpoint(path: &Path, trusted: &Trusted) -> Result<Option<VerifiedCheckpoint>, LogError> {
    let Some(note) = durable::read(path, NOTE_MAX as u64)? else { return Ok(None) };
    let opened = Checkpoint::open(note.as_bytes(), trusted);
    opened.map(Some).map_err(|source| LogError::Checkpoint { path: path.to_owned(), source })
}
