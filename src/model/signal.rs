//! One thing that was looked at to find out who calls or where an order comes from. Each is kept
//! with its state: that a signal was absent is a fact, that nobody could look is another.

use serde::Serialize;

use super::event::Text;
use super::intent::Sha256;

/// What became of the look (data contract: states of a signal).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is there, and something that the sender cannot forge vouches for it.
    Verified,
    /// It is there; anybody could have sent it.
    Present,
    Absent,
    /// It is there and says nothing that can be read.
    Malformed,
    /// Nobody could look (no list was loaded, the merchant does not record it), so it says nothing.
    FeatureOff,
}

impl State {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Present => "present",
            Self::Absent => "absent",
            Self::Malformed => "malformed",
            Self::FeatureOff => "feature_off",
        }
    }
}

/// A signal as it is recorded. Alphabetical, as it is written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Signal {
    /// Of what was found, where it is not one of our own tables' words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Sha256>,
    /// What was looked at (`user_agent`, `referrer`). A closed set.
    pub name: &'static str,
    pub state: State,
    /// The table's word for what was found (`ChatGPT-User`), never a text of the caller's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Text>,
}

impl Signal {
    #[must_use]
    pub const fn new(name: &'static str, state: State) -> Self {
        Self { digest: None, name, state, value: None }
    }

    /// The same with the table's word for it.
    #[must_use]
    pub fn known_as(self, value: impl Into<Text>) -> Self {
        Self { value: Some(value.into()), ..self }
    }

    /// The same with the digest of what was found.
    #[must_use]
    pub fn digest_of(self, found: &[u8]) -> Self {
        Self { digest: Some(Sha256::of(found)), ..self }
    }
}
