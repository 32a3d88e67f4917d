//! What was revoked. Any number of processes make records, exchange them in any order and come to
//! the same set: of two records about one subject the later one counts.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ids::{AgentId, Jti, KeyId, NotAnId, StoreId};
use super::time::Timestamp;

/// Most records that are kept, lifted ones included.
pub const RECORDS_MAX: usize = 10_000;
/// Longest reason, in characters.
pub const NOTE_MAX: usize = 200;
/// A record about a token is dropped this long after it was made: the token died before.
const TOKEN_KEPT_S: i64 = 300;

/// What can be revoked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Token,
    Agent,
    Key,
    Store,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Token, Self::Agent, Self::Key, Self::Store];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Agent => "agent",
            Self::Key => "key",
            Self::Store => "store",
        }
    }

    /// The rule that a refusal names.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Token => "revoked.token",
            Self::Agent => "revoked.agent",
            Self::Key => "revoked.key",
            Self::Store => "revoked.store",
        }
    }
}

/// One thing that can be revoked. It has one spelling: `agent:ak_0123456789ab`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Subject {
    /// One token, by its jti.
    Token(Jti),
    /// Every token of an agent's key.
    Agent(AgentId),
    /// Every token that a signing key signed.
    Key(KeyId),
    /// Every token for a store.
    Store(StoreId),
}

/// Why a text names nothing that can be revoked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotASubject {
    #[error("must begin with `token:`, `agent:`, `key:` or `store:`")]
    Kind,
    #[error("must name a token by its jti, a UUID v4 in lower case")]
    Jti,
    #[error(transparent)]
    Id(#[from] NotAnId),
}

impl Subject {
    /// Reads `kind:id`.
    pub fn parse(text: &str) -> Result<Self, NotASubject> {
        let (kind, id) = text.split_once(':').ok_or(NotASubject::Kind)?;
        let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind).ok_or(NotASubject::Kind)?;
        Self::of(kind, id)
    }

    pub fn of(kind: Kind, id: &str) -> Result<Self, NotASubject> {
        Ok(match kind {
            Kind::Token => Self::Token(Jti::parse(id).ok_or(NotASubject::Jti)?),
            Kind::Agent => Self::Agent(AgentId::parse(id)?),
            Kind::Key => Self::Key(KeyId::parse(id)?),
            Kind::Store => Self::Store(StoreId::parse(id)?),
        })
    }

    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Token(_) => Kind::Token,
            Self::Agent(_) => Kind::Agent,
            Self::Key(_) => Kind::Key,
            Self::Store(_) => Kind::Store,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id: &dyn fmt::Display = match self {
            Self::Token(jti) => jti,
            Self::Agent(id) => id,
            Self::Key(id) => id,
            Self::Store(id) => id,
        };
        write!(f, "{}:{id}", self.kind().as_str())
    }
}

/// What somebody says of a revocation: one line of at most [`NOTE_MAX`] characters, or nothing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Note(Arc<str>);

/// Why a text is no note.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotANote {
    #[error("must have at most {NOTE_MAX} characters")]
    TooLong,
    #[error("must be one line without control characters")]
    Control,
}

impl Note {
    pub fn parse(text: &str) -> Result<Self, NotANote> {
        if text.chars().count() > NOTE_MAX {
            return Err(NotANote::TooLong);
        }
        if text.chars().any(char::is_control) { Err(NotANote::Control) } else { Ok(Self(Arc::from(text))) }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&AgentId> for Note {
    fn from(id: &AgentId) -> Self {
        Self(Arc::from(id.as_str()))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    )*};
}
as_text!(Subject, Note);

/// One command: revoke, or lift what was revoked. Members that a newer version adds are passed
/// over: a revocation must not be lost for them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Revocation {
    pub at: Timestamp,
    /// The key of the operator who commanded it, or the command line.
    pub by: Note,
    pub reason: Note,
    /// False: lifted.
    pub revoked: bool,
    pub subject: Subject,
}

impl Revocation {
    /// True when this record counts and the other one does not. At the same instant revoking wins;
    /// the texts decide the rest, so that everybody decides alike.
    #[must_use]
    pub fn supersedes(&self, other: &Self) -> bool {
        let rank = |of: &Self| (of.at, of.revoked, of.by.clone(), of.reason.clone());
        rank(self) > rank(other)
    }

    /// True when it is about a token that cannot live any more.
    #[must_use]
    pub fn is_spent(&self, now: Timestamp) -> bool {
        matches!(self.subject, Subject::Token(_)) && now >= self.at.plus_seconds(TOKEN_KEPT_S)
    }
}

/// The fact that something of a token is revoked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Revoked {
    pub kind: Kind,
    pub since: Timestamp,
}

/// What came of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    New,
    /// It, or a later one, was there.
    Known,
    /// There is no room for another subject.
    Full,
}

/// Why a command makes no record.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoCommand {
    #[error("`{0}` is not revoked")]
    NotRevoked(Subject),
    #[error("{RECORDS_MAX} revocations are kept already: those of tokens go after {TOKEN_KEPT_S} s, try again then")]
    Full,
}

/// The records, the latest for each subject, and what they revoke: an immutable snapshot for those
/// who judge. A lifted subject keeps its record, or an older revocation would come back.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Revocations {
    records: BTreeMap<Subject, Revocation>,
    tokens: HashMap<Jti, Timestamp>,
    agents: HashMap<AgentId, Timestamp>,
    keys: HashMap<KeyId, Timestamp>,
    stores: HashMap<StoreId, Timestamp>,
}

impl Revocations {
    pub fn take(&mut self, record: Revocation) -> Taken {
        match self.records.get(&record.subject) {
            Some(known) if !record.supersedes(known) => return Taken::Known,
            None if self.records.len() >= RECORDS_MAX => return Taken::Full,
            _ => {}
        }
        let since = record.revoked.then_some(record.at);
        match &record.subject {
            Subject::Token(id) => put(&mut self.tokens, id, since),
            Subject::Agent(id) => put(&mut self.agents, id, since),
            Subject::Key(id) => put(&mut self.keys, id, since),
            Subject::Store(id) => put(&mut self.stores, id, since),
        }
        self.records.insert(record.subject.clone(), record);
        Taken::New
    }

    /// Drops the records that nothing needs any more.
    pub fn prune(&mut self, now: Timestamp) {
        self.records.retain(|_, record| !record.is_spent(now));
        let records = &self.records;
        self.tokens.retain(|jti, _| records.contains_key(&Subject::Token(*jti)));
    }

    /// The record of a command that revokes; `None` when that is so already.
    pub fn revoke(
        &self,
        subject: Subject,
        reason: Note,
        by: Note,
        now: Timestamp,
    ) -> Result<Option<Revocation>, NoCommand> {
        let known = self.records.get(&subject);
        if known.is_none() && self.records.len() >= RECORDS_MAX {
            return Err(NoCommand::Full);
        }
        let revoked = known.is_some_and(|known| known.revoked);
        Ok((!revoked).then(|| Revocation { at: after(known, now), by, reason, revoked: true, subject }))
    }

    /// The record of a command that lifts.
    pub fn lift(&self, subject: Subject, reason: Note, by: Note, now: Timestamp) -> Result<Revocation, NoCommand> {
        match self.records.get(&subject) {
            Some(known) if known.revoked => {
                Ok(Revocation { at: after(Some(known), now), by, reason, revoked: false, subject })
            }
            _ => Err(NoCommand::NotRevoked(subject)),
        }
    }

    /// What is revoked of a token, or of the right to get one: its store, its agent, itself.
    #[must_use]
    pub fn find(&self, store: &StoreId, agent: &AgentId, jti: Option<Jti>) -> Option<Revoked> {
        let of = |kind, since: Option<&Timestamp>| since.map(|since| Revoked { kind, since: *since });
        of(Kind::Store, self.stores.get(store))
            .or_else(|| of(Kind::Agent, self.agents.get(agent)))
            .or_else(|| of(Kind::Token, self.tokens.get(&jti?)))
    }

    /// Whether a signing key is revoked.
    #[must_use]
    pub fn has_key(&self, kid: &str) -> bool {
        self.keys.contains_key(kid)
    }

    /// How many subjects of a kind are revoked.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Token => self.tokens.len(),
            Kind::Agent => self.agents.len(),
            Kind::Key => self.keys.len(),
            Kind::Store => self.stores.len(),
        }
    }

    #[must_use]
    pub fn get(&self, subject: &Subject) -> Option<&Revocation> {
        self.records.get(subject)
    }

    /// The latest record of each subject, lifted ones included.
    pub fn records(&self) -> impl Iterator<Item = &Revocation> {
        self.records.values()
    }

    /// The records that count and that the other set does not have.
    pub fn newer_than<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Revocation> {
        self.records().filter(|record| other.get(&record.subject).is_none_or(|known| record.supersedes(known)))
    }
}

impl FromIterator<Revocation> for Revocations {
    fn from_iter<I: IntoIterator<Item = Revocation>>(records: I) -> Self {
        let mut all = Self::default();
        for record in records {
            let _taken = all.take(record);
        }
        all
    }
}

fn put<K: Clone + Eq + std::hash::Hash>(map: &mut HashMap<K, Timestamp>, id: &K, since: Option<Timestamp>) {
    match since {
        Some(since) => drop(map.insert(id.clone(), since)),
        None => drop(map.remove(id)),
    }
}

/// Now, and later than what is known: a command counts although the clock of the one before it was
/// ahead.
fn after(known: Option<&Revocation>, now: Timestamp) -> Timestamp {
    known.map_or(now, |known| now.max(Timestamp::of_millis(known.at.millis().saturating_add(1))))
}

#[cfg(test)]
mod tests;
