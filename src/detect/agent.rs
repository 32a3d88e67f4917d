//! Agents by the tokens of their user agents, found in one pass.

use std::fmt;

/// What an agent is for, as its operator says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Fetches what a person just asked for.
    Assistant,
    /// Acts for a person: browses, fills in, buys.
    Agent,
    /// Keeps an index.
    Search,
    /// Collects.
    Training,
    /// Checks where advertisements lead.
    Ads,
    /// It is not said.
    Other,
}

impl Class {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Assistant => "assistant",
            Self::Agent => "agent",
            Self::Search => "search",
            Self::Training => "training",
            Self::Ads => "ads",
            Self::Other => "other",
        }
    }

    /// Whether one of these has business at a checkout: a crawler does not buy.
    #[must_use]
    pub const fn is_unusual_at_a_checkout(self) -> bool {
        matches!(self, Self::Search | Self::Training)
    }
}

/// An agent of the tables.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Agent {
    /// As it stands in the user agent.
    pub token: String,
    pub operator: String,
    pub class: Class,
}

/// Shortest and longest token: shorter ones stand in too many user agents.
pub const TOKEN_MIN: usize = 3;
pub const TOKEN_MAX: usize = 64;
/// Most agents of all tables together.
pub const AGENTS_MAX: usize = 10_000;
/// Longest part of a user agent that is looked at.
pub const USER_AGENT_MAX: usize = 512;

/// Why a text is not a token of a user agent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotAToken {
    #[error("has to have {TOKEN_MIN} to {TOKEN_MAX} printable ASCII characters, the first a letter or a digit")]
    Shape,
    /// A word of robots.txt, which no client sends.
    #[error("is a word of robots.txt and never stands in a user agent")]
    RobotsOnly,
}

impl Agent {
    pub fn new(token: &str, operator: &str, class: Class) -> Result<Self, NotAToken> {
        let printable = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        let starts = token.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if !starts || !(TOKEN_MIN..=TOKEN_MAX).contains(&token.len()) || !token.bytes().all(printable) {
            return Err(NotAToken::Shape);
        }
        if token.to_ascii_lowercase().ends_with("-extended") {
            return Err(NotAToken::RobotsOnly);
        }
        Ok(Self { token: token.to_owned(), operator: operator.to_owned(), class })
    }

    /// Its name in evidence: the token without a slash that only ends it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.token.trim_end_matches('/')
    }

    fn key(&self) -> Key {
        Key::of(self.token.as_bytes())
    }
}

/// The first bytes of a token, in lower case: what a place in a user agent is looked up by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Key([u8; TOKEN_MIN]);

impl Key {
    fn of(text: &[u8]) -> Self {
        let mut key = [0; TOKEN_MIN];
        key.iter_mut().zip(text).for_each(|(to, from)| *to = from.to_ascii_lowercase());
        Self(key)
    }
}

/// All agents that are known, each name once. Sorted by key and then by length, the longest first.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Agents(Vec<(Key, Agent)>);

impl fmt::Debug for Agents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Agents({})", self.0.len())
    }
}

impl Agents {
    /// Adds an agent. `false`: its name is known already (what that said stays, unless it said
    /// nothing of the class), or there are too many.
    pub fn add(&mut self, agent: Agent) -> bool {
        let key = agent.key();
        let (from, to) = self.bounds(key);
        let known = self.0.get_mut(from..to).unwrap_or_default().iter_mut();
        if let Some((_, known)) = known.into_iter().find(|(_, known)| known.name().eq_ignore_ascii_case(agent.name())) {
            if known.class == Class::Other {
                known.class = agent.class;
            }
            return false;
        }
        if self.0.len() >= AGENTS_MAX {
            return false;
        }
        let length = |entry: &(Key, Agent)| (entry.0, std::cmp::Reverse(entry.1.token.len()));
        let new = (key, agent);
        let at = self.0.partition_point(|entry| length(entry) <= length(&new));
        self.0.insert(at, new);
        true
    }

    /// The agent that a user agent claims to be: of several the one that stands first, of those that
    /// begin at one place the longest. A token is found where a word begins, in any case.
    #[must_use]
    pub fn find(&self, user_agent: &[u8]) -> Option<&Agent> {
        let text = user_agent.get(..USER_AGENT_MAX).unwrap_or(user_agent);
        let mut before = b' ';
        for (at, &byte) in text.iter().enumerate() {
            let begins = byte.is_ascii_alphanumeric() && !before.is_ascii_alphanumeric();
            before = byte;
            let rest = text.get(at..).unwrap_or_default();
            if let Some(agent) = begins.then(|| self.at(rest)).flatten() {
                return Some(agent);
            }
        }
        None
    }

    /// The longest token that this text begins with.
    fn at(&self, rest: &[u8]) -> Option<&Agent> {
        let (from, to) = self.bounds(Key::of(rest));
        let candidates = self.0.get(from..to).unwrap_or_default();
        candidates.iter().map(|(_, agent)| agent).find(|agent| begins_with(rest, agent.token.as_bytes()))
    }

    fn bounds(&self, key: Key) -> (usize, usize) {
        let from = self.0.partition_point(|(other, _)| *other < key);
        let more = self.0.get(from..).unwrap_or_default().partition_point(|(other, _)| *other == key);
        (from, from + more)
    }

    /// The agent of this name, in any case.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Agent> {
        self.iter().find(|agent| agent.name().eq_ignore_ascii_case(name))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Agent> {
        self.0.iter().map(|(_, agent)| agent)
    }
}

/// Whether this token stands at the start of the text, and does not go on as a longer word.
fn begins_with(text: &[u8], token: &[u8]) -> bool {
    let (Some(start), Some(last)) = (text.get(..token.len()), token.last()) else { return false };
    let goes_on =
        last.is_ascii_alphanumeric() && text.get(token.len()).is_some_and(|next| next.is_ascii_alphanumeric());
    start.eq_ignore_ascii_case(token) && !goes_on
}
