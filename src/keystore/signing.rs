//! The keys that sign execution tokens: `keys/<kid>.pem`, and `keys/keys.json` which says when each
//! one signs.
//!
//! What a key does follows from the time alone, so no timer has to change a file: the signing key
//! is the newest one whose `signs_from` has come, and a key is published until it retires.
//! A new key is published some minutes before it signs, so that gateways, which read the key set
//! every five minutes, know it when its first token comes. That costs one timestamp and no second
//! step; `--lead 0s` signs at once.

use std::path::{Path, PathBuf};

use jsonwebtoken::jwk::JwkSet;
use serde::{Deserialize, Serialize};

use crate::durable::{self, Lock, Readers};
use crate::model::time::Timestamp;
use crate::token::keys::{SigningKey, key_set};
use crate::token::{LEEWAY_S, LIFETIME_MAX_S};

use super::{Damage, KeystoreError, read_json, rfc3339, write_json};

/// A server learns of a change within this time, and signs with the old key until then.
const RELOAD_S: i64 = 15;
/// Most keys that are published at once. Rotating faster than keys retire ends here.
const PUBLISHED_MAX: usize = 16;

/// How a new key takes over from the one before it, in seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handover {
    lead_s: i64,
    overlap_s: i64,
}

impl Handover {
    /// The least time that an old key stays published: until the last token that it signed, even
    /// on the slowest server, has expired everywhere.
    pub const OVERLAP_MIN_S: i64 = RELOAD_S + LIFETIME_MAX_S + LEEWAY_S;
    pub const LEAD_MAX_S: i64 = 24 * 3600;
    pub const OVERLAP_MAX_S: i64 = 30 * 24 * 3600;

    /// `lead`: how long the new key is published before it signs. `overlap`: how long the old one
    /// stays published after that. `None` when out of range.
    #[must_use]
    pub fn seconds(lead_s: i64, overlap_s: i64) -> Option<Self> {
        let leads = (0..=Self::LEAD_MAX_S).contains(&lead_s);
        let overlaps = (Self::OVERLAP_MIN_S..=Self::OVERLAP_MAX_S).contains(&overlap_s);
        (leads && overlaps).then_some(Self { lead_s, overlap_s })
    }
}

impl Default for Handover {
    /// Six minutes ahead, ten minutes of overlap.
    fn default() -> Self {
        Self { lead_s: 360, overlap_s: 600 }
    }
}

/// What a key does at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// Published, does not sign yet.
    Pending,
    /// Signs.
    Active,
    /// Published for the tokens it signed; signs no more.
    Retiring,
    /// No longer published; the next rotation removes its file.
    Retired,
}

/// One line of `keys.json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEntry {
    pub kid: String,
    #[serde(with = "rfc3339")]
    pub created: Timestamp,
    #[serde(with = "rfc3339")]
    pub signs_from: Timestamp,
    /// When it stops being published; `None` for the newest key.
    #[serde(with = "rfc3339::option")]
    pub retires_at: Option<Timestamp>,
}

impl KeyEntry {
    fn retired(&self, now: Timestamp) -> bool {
        self.retires_at.is_some_and(|at| at <= now)
    }
}

/// The order is the order of making.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyList {
    keys: Vec<KeyEntry>,
}

impl KeyList {
    /// The entry that signs: the last whose time has come. A clock that was set back behind all of
    /// them finds the first, because a deployment with keys always has a signer.
    fn signer(&self, now: Timestamp) -> Option<&KeyEntry> {
        self.keys.iter().rev().find(|key| key.signs_from <= now).or(self.keys.first())
    }

    fn state(&self, key: &KeyEntry, now: Timestamp) -> KeyState {
        let signer = self.signer(now);
        if signer.is_some_and(|signer| signer.kid == key.kid) {
            KeyState::Active
        } else if key.retired(now) {
            KeyState::Retired
        } else if key.retires_at.is_none() {
            KeyState::Pending
        } else {
            KeyState::Retiring
        }
    }
}

/// What a server needs of the keys at one moment. Loaded again when the directory changes, and
/// every few seconds because time alone can change the signer.
pub struct SigningKeys {
    /// Never empty: the first one signs.
    signers: Vec<SigningKey>,
    published: JwkSet,
}

impl SigningKeys {
    /// The key that signs, and then those that can take its place, the newest first.
    pub fn signers(&self) -> impl Iterator<Item = &SigningKey> {
        self.signers.iter()
    }

    /// Every key whose tokens may still be valid, and the one that signs next.
    #[must_use]
    pub fn published(&self) -> &JwkSet {
        &self.published
    }
}

/// The directory of signing keys below a data directory.
#[derive(Clone, Debug)]
pub struct SigningStore {
    dir: PathBuf,
}

impl SigningStore {
    #[must_use]
    pub fn of(data: &Path) -> Self {
        Self { dir: data.join("keys") }
    }

    /// The directory to watch.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes the first key. It signs at once: nobody has an older key set.
    pub fn generate(&self, now: Timestamp) -> Result<KeyEntry, KeystoreError> {
        let lock = self.lock()?;
        let list = self.list_of_file()?.unwrap_or_default();
        if let Some(key) = list.signer(now) {
            return Err(KeystoreError::HasSigningKey(key.kid.clone()));
        }
        self.add(list, now, now, &lock)
    }

    /// Makes the next key, lets the one before it retire, and removes the files of retired keys.
    pub fn rotate(&self, handover: Handover, now: Timestamp) -> Result<KeyEntry, KeystoreError> {
        let lock = self.lock()?;
        let mut list = self.entries()?;
        let gone: Vec<KeyEntry> = list.keys.extract_if(.., |key| key.retired(now)).collect();
        if list.keys.len() >= PUBLISHED_MAX {
            return Err(KeystoreError::TooManySigningKeys(list.keys.len()));
        }
        let signs_from = now.plus_seconds(handover.lead_s);
        if let Some(last) = list.keys.last_mut() {
            last.retires_at = Some(signs_from.plus_seconds(handover.overlap_s));
        }
        let made = self.add(list, now, signs_from, &lock)?;
        gone.iter().try_for_each(|key| durable::remove(&self.pem(&key.kid), &lock))?;
        Ok(made)
    }

    /// Every key with its state at this moment, the oldest first.
    pub fn list(&self, now: Timestamp) -> Result<Vec<(KeyEntry, KeyState)>, KeystoreError> {
        let list = self.entries()?;
        Ok(list.keys.iter().map(|key| (key.clone(), list.state(key, now))).collect())
    }

    /// Reads the keys as they are to be used at this moment.
    pub fn load(&self, now: Timestamp) -> Result<SigningKeys, KeystoreError> {
        let list = self.entries()?;
        let signs = list.signer(now).map(|key| key.kid.clone()).unwrap_or_default();
        let live = list.keys.iter().filter(|key| key.kid == signs || !key.retired(now));
        let mut signers = live.map(|entry| self.key(&entry.kid)).collect::<Result<Vec<_>, _>>()?;
        if signers.is_empty() {
            return Err(KeystoreError::NoSigningKey(self.dir.clone()));
        }
        let published = key_set(signers.iter().map(SigningKey::public));
        signers.reverse();
        signers.sort_by_key(|key| key.kid() != signs);
        Ok(SigningKeys { signers, published })
    }

    /// The private key's file is on the disk before the list names it.
    fn add(
        &self,
        mut list: KeyList,
        created: Timestamp,
        signs_from: Timestamp,
        lock: &Lock,
    ) -> Result<KeyEntry, KeystoreError> {
        let key = SigningKey::generate().map_err(KeystoreError::NotMade)?;
        let pem = key.to_pem().map_err(KeystoreError::NotMade)?;
        let entry = KeyEntry { kid: key.kid().to_owned(), created, signs_from, retires_at: None };
        durable::replace(&self.pem(&entry.kid), pem.as_bytes(), Readers::Owner, lock)?;
        list.keys.push(entry.clone());
        write_json(&self.file(), &list, lock)?;
        Ok(entry)
    }

    fn lock(&self) -> Result<Lock, KeystoreError> {
        durable::make_dir(&self.dir)?;
        Ok(durable::lock(&self.dir.join(".lock"))?)
    }

    fn file(&self) -> PathBuf {
        self.dir.join("keys.json")
    }

    fn pem(&self, kid: &str) -> PathBuf {
        self.dir.join(format!("{kid}.pem"))
    }

    fn list_of_file(&self) -> Result<Option<KeyList>, KeystoreError> {
        let Some(list) = read_json::<KeyList>(&self.file())? else { return Ok(None) };
        for (n, key) in list.keys.iter().enumerate() {
            // A thumbprint has no character that could lead out of the directory.
            if key.kid.len() != 43 || !key.kid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
                return Err(Damage::BadId(key.kid.clone()).of(&self.file()));
            }
            if list.keys.iter().take(n).any(|earlier| earlier.kid == key.kid) {
                return Err(Damage::IdTwice(key.kid.clone()).of(&self.file()));
            }
        }
        if list.keys.is_empty() { Err(Damage::Empty.of(&self.file())) } else { Ok(Some(list)) }
    }

    fn entries(&self) -> Result<KeyList, KeystoreError> {
        self.list_of_file()?.ok_or_else(|| KeystoreError::NoSigningKey(self.dir.clone()))
    }

    fn key(&self, kid: &str) -> Result<SigningKey, KeystoreError> {
        let path = self.pem(kid);
        let text = durable::read(&path, super::FILE_MAX)?.ok_or_else(|| Damage::Missing.of(&path))?;
        let key = SigningKey::from_pem(&text).map_err(|error| Damage::from(error).of(&path))?;
        if key.kid() == kid { Ok(key) } else { Err(Damage::OtherKey.of(&path)) }
    }
}
