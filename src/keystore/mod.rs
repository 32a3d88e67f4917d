//! Floor 4: keys on disk. The signing keys of this deployment and the API keys of its callers.
//!
//! The command line writes these files and running servers read them again when they change, so
//! every write is locked, whole and flushed, and a file that cannot be read is an error that names
//! it: an empty set of keys is never taken for one.

pub mod admin;
pub mod agent_file;
pub mod agents;
pub mod secret;
pub mod signing;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serializer};

use crate::durable::{self, FileError, Lock, Readers};
use crate::model::ids::AgentId;
use crate::model::time::Timestamp;
use crate::token::keys::KeyError;

/// Largest file of keys that is read.
const FILE_MAX: u64 = 16 << 20;

/// Why keys cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("`{}` is damaged: restore it from a backup, or move it away and make new keys", .path.display())]
    Damaged { path: PathBuf, source: Damage },
    #[error("there is no signing key in `{}`: make one with `permyx keys generate`", .0.display())]
    NoSigningKey(PathBuf),
    #[error("there is a signing key already, `{0}`: replace it with `permyx keys rotate`")]
    HasSigningKey(String),
    #[error("{0} signing keys are published: wait until the oldest retires before the next rotation")]
    TooManySigningKeys(usize),
    #[error("an API key cannot be made: there are {0} already")]
    TooManyApiKeys(usize),
    #[error("there is no API key `{0}`")]
    NoSuchApiKey(AgentId),
    #[error("a key of role `{0}` must name the stores that it is enrolled in")]
    NeedsStores(agents::Role),
    #[error("this is not an API key: its form is `permyx_<role>_<secret>`, with the role it is made for")]
    NotASecret,
    #[error("the token of administration in `{}` has fewer than 32 characters: write a longer one, or remove the file", .0.display())]
    WeakAdmin(PathBuf),
    #[error("a key cannot be made")]
    NotMade(#[source] KeyError),
}

/// What is wrong inside a file of keys.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    #[error("it is not the JSON that this version writes")]
    NotJson(#[from] serde_json::Error),
    #[error("it holds no key")]
    Empty,
    #[error("`{0}` is not a key id")]
    BadId(String),
    #[error("the key id `{0}` stands twice")]
    IdTwice(String),
    #[error("the file is missing although `keys.json` lists it")]
    Missing,
    #[error("the private key cannot be used")]
    BadKey(#[from] KeyError),
    #[error("it holds another key than its name says")]
    OtherKey,
    #[error("the key `{0}` has no stores, which its role needs")]
    NoStores(String),
    #[error("the SHA-256 of the key `{0}` is not 64 lower-case hex digits")]
    BadHash(String),
}

impl Damage {
    fn of(self, path: &Path) -> KeystoreError {
        KeystoreError::Damaged { path: path.to_owned(), source: self }
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, KeystoreError> {
    let Some(text) = durable::read(path, FILE_MAX)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| Damage::from(error).of(path))
}

fn write_json(path: &Path, value: &impl serde::Serialize, lock: &Lock) -> Result<(), KeystoreError> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|error| Damage::from(error).of(path))?;
    bytes.push(b'\n');
    Ok(durable::replace(path, &bytes, Readers::Owner, lock)?)
}

/// RFC 3339 in the files of this floor.
mod rfc3339 {
    use super::*;

    pub fn serialize<S: Serializer>(at: &Timestamp, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(at)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(d)?;
        Timestamp::parse(&text).ok_or_else(|| serde::de::Error::custom("not a time of RFC 3339"))
    }

    pub mod option {
        use super::*;

        #[expect(clippy::ref_option, reason = "the signature that serde asks for")]
        pub fn serialize<S: Serializer>(at: &Option<Timestamp>, s: S) -> Result<S::Ok, S::Error> {
            match at {
                Some(at) => s.collect_str(at),
                None => s.serialize_none(),
            }
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Timestamp>, D::Error> {
            let Some(text) = Option::<String>::deserialize(d)? else { return Ok(None) };
            let at = Timestamp::parse(&text).ok_or_else(|| serde::de::Error::custom("not a time of RFC 3339"))?;
            Ok(Some(at))
        }
    }
}

#[cfg(test)]
mod tests;
