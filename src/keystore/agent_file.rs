//! `agent-keys.json`: the API keys that were made, and how they are made and revoked.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::durable::{self, Lock};
use crate::model::ids::{AgentId, StoreId};
use crate::model::time::Timestamp;

use super::agents::{Allowance, ApiKey, ApiKeys, Enrolment, Role, Terms};
use super::secret::{Secret, SecretHash, hex, random};
use super::{Damage, KeystoreError, read_json, rfc3339, write_json};

/// Most keys of one deployment, revoked ones included.
const KEYS_MAX: usize = 20_000;

/// The file of API keys below a data directory.
#[derive(Clone, Debug)]
pub struct ApiKeyStore {
    data: PathBuf,
}

impl ApiKeyStore {
    #[must_use]
    pub fn of(data: &Path) -> Self {
        Self { data: data.to_owned() }
    }

    /// The directory to watch.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.data
    }

    /// Makes a key. The secret is known from now on to the caller alone.
    pub fn create(&self, terms: Terms, now: Timestamp) -> Result<(ApiKey, Secret), KeystoreError> {
        let secret = Secret::random(terms.role)?;
        self.add(&secret, terms, now).map(|key| (key, secret))
    }

    /// Makes a key whose secret stands in a manual (`permyx_agent_YOUR_KEY` of `permyx dev`), or
    /// finds the one that has it.
    pub fn create_fixed(&self, secret: &str, terms: Terms, now: Timestamp) -> Result<ApiKey, KeystoreError> {
        self.add(&Secret::fixed(secret, terms.role)?, terms, now)
    }

    /// Takes a key's authority away for good. A key that is revoked already stays as it is.
    pub fn revoke(&self, id: &AgentId, now: Timestamp) -> Result<ApiKey, KeystoreError> {
        let lock = self.lock()?;
        let mut records = self.records()?;
        let found = records.iter_mut().find(|record| record.key.id == *id);
        let record = found.ok_or_else(|| KeystoreError::NoSuchApiKey(id.clone()))?;
        record.key.revoked.get_or_insert(now);
        let key = record.key.clone();
        self.write(&records, &lock)?;
        Ok(key)
    }

    /// Every key that was ever made, the oldest first.
    pub fn list(&self) -> Result<Vec<ApiKey>, KeystoreError> {
        Ok(self.records()?.into_iter().map(|record| record.key).collect())
    }

    /// Reads the keys that authenticate. Where no key was ever made, none does.
    pub fn load(&self) -> Result<ApiKeys, KeystoreError> {
        let mut keys = ApiKeys::default();
        for Record { key, hash } in self.records()? {
            if key.revoked.is_none() {
                keys.add(hash, key);
            }
        }
        Ok(keys)
    }

    fn add(&self, secret: &Secret, terms: Terms, now: Timestamp) -> Result<ApiKey, KeystoreError> {
        if !terms.stores.suits(terms.role) {
            return Err(KeystoreError::NeedsStores(terms.role));
        }
        let lock = self.lock()?;
        let mut records = self.records()?;
        let hash = secret.hash();
        if let Some(known) = records.iter().find(|record| record.hash.is(&hash) && record.key.revoked.is_none()) {
            return Ok(known.key.clone());
        }
        if records.len() >= KEYS_MAX {
            return Err(KeystoreError::TooManyApiKeys(records.len()));
        }
        let key = ApiKey { id: new_id(&records)?, terms, created: now, revoked: None };
        records.push(Record { key: key.clone(), hash });
        self.write(&records, &lock)?;
        Ok(key)
    }

    fn lock(&self) -> Result<Lock, KeystoreError> {
        durable::make_dir(&self.data)?;
        Ok(durable::lock(&self.data.join(".agent-keys.lock"))?)
    }

    fn file(&self) -> PathBuf {
        self.data.join("agent-keys.json")
    }

    fn records(&self) -> Result<Vec<Record>, KeystoreError> {
        let doc = read_json::<FileDoc>(&self.file())?.unwrap_or_default();
        let records: Result<Vec<_>, Damage> = doc.keys.into_iter().map(Record::of).collect();
        let mut seen = HashSet::new();
        let records =
            records.and_then(|records| match records.iter().find(|record| !seen.insert(record.key.id.clone())) {
                Some(twice) => Err(Damage::IdTwice(twice.key.id.to_string())),
                None => Ok(records),
            });
        records.map_err(|damage| damage.of(&self.file()))
    }

    fn write(&self, records: &[Record], lock: &Lock) -> Result<(), KeystoreError> {
        let doc = FileDoc { keys: records.iter().map(Record::doc).collect() };
        write_json(&self.file(), &doc, lock)
    }
}

/// `ak_` and 12 hex digits that no key of the file has.
fn new_id(records: &[Record]) -> Result<AgentId, KeystoreError> {
    loop {
        let text = format!("ak_{}", hex(&random::<6>()?));
        let Ok(id) = AgentId::parse(&text) else { continue };
        if records.iter().all(|record| record.key.id != id) {
            return Ok(id);
        }
    }
}

struct Record {
    key: ApiKey,
    hash: SecretHash,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileDoc {
    keys: Vec<KeyDoc>,
}

/// One key as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyDoc {
    id: String,
    secret_sha256: String,
    role: Role,
    stores: StoresDoc,
    // Named functions, so that a member that is left out is an error and not "no limit".
    #[serde(deserialize_with = "Option::deserialize")]
    per_minute: Option<u32>,
    #[serde(deserialize_with = "Option::deserialize")]
    per_month: Option<u64>,
    #[serde(with = "rfc3339")]
    created: Timestamp,
    #[serde(with = "rfc3339::option")]
    revoked: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum StoresDoc {
    All(AllStores),
    Only(Vec<StoreId>),
}

/// The word `all`, so that leaving something out never means everything.
#[derive(Serialize, Deserialize)]
enum AllStores {
    #[serde(rename = "all")]
    All,
}

impl Record {
    fn of(doc: KeyDoc) -> Result<Self, Damage> {
        let id = AgentId::parse(&doc.id).map_err(|_| Damage::BadId(doc.id.clone()))?;
        let hash = SecretHash::parse(&doc.secret_sha256).ok_or(Damage::BadHash(doc.id.clone()))?;
        let stores = match doc.stores {
            StoresDoc::All(AllStores::All) => Enrolment::AllStores,
            StoresDoc::Only(stores) => Enrolment::Only(stores),
        };
        if !stores.suits(doc.role) {
            return Err(Damage::NoStores(doc.id));
        }
        let allowance = Allowance { per_minute: doc.per_minute, per_month: doc.per_month };
        let terms = Terms { role: doc.role, stores, allowance };
        Ok(Self { key: ApiKey { id, terms, created: doc.created, revoked: doc.revoked }, hash })
    }

    fn doc(&self) -> KeyDoc {
        let Terms { role, stores, allowance } = &self.key.terms;
        KeyDoc {
            id: self.key.id.to_string(),
            secret_sha256: self.hash.hex(),
            role: *role,
            stores: match stores {
                Enrolment::AllStores => StoresDoc::All(AllStores::All),
                Enrolment::Only(stores) => StoresDoc::Only(stores.clone()),
            },
            per_minute: allowance.per_minute,
            per_month: allowance.per_month,
            created: self.key.created,
            revoked: self.key.revoked,
        }
    }
}
