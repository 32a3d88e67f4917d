//! Who seems to be calling, ready to be recorded.

use crate::model::event::{EventData, Text};
use crate::model::signal::{Signal, State};

use super::agent::Agent;
use super::ladder::{self, Flag, LADDER_VERSION, Name, confidence};

/// How a caller presents itself, in one word. A closed set: it becomes a metric label.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AgentSignal {
    None,
    /// A user agent of the tables.
    UserAgent,
    /// `Signature-Agent` is there; whether the signature is good is not judged here.
    Signature,
}

impl AgentSignal {
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::UserAgent => "ua",
            Self::Signature => "signature",
        }
    }
}

/// What was found out about the caller of one request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Presence {
    signals: [Signal; Name::ALL.len()],
    /// Whether a crawler calls.
    unusual: bool,
}

impl Presence {
    pub(super) fn new(signals: [Signal; Name::ALL.len()], agent: Option<&Agent>) -> Self {
        Self { signals, unusual: agent.is_some_and(|agent| agent.class.is_unusual_at_a_checkout()) }
    }

    /// The same, once the token that came with the call was found good.
    fn verified(mut self) -> Self {
        let token = self.signals.iter_mut().find(|signal| signal.name == Name::ExecutionToken.as_str());
        token.into_iter().for_each(|signal| signal.state = State::Verified);
        self
    }

    #[must_use]
    pub fn signals(&self) -> &[Signal] {
        &self.signals
    }

    /// In basis points, by the ladder.
    #[must_use]
    pub fn confidence(&self) -> u16 {
        confidence(&self.signals)
    }

    /// The table's name of the agent that the user agent claims to be.
    #[must_use]
    pub fn agent(&self) -> Option<&str> {
        Name::UserAgent.word(&self.signals)
    }

    /// Where the call was sent from: what names the sender outranks a tag, a tag a referrer.
    #[must_use]
    pub fn channel(&self) -> Option<&str> {
        let names = [Name::UcpAgent, Name::SignatureAgent, Name::Utm, Name::Referrer];
        names.into_iter().find_map(|name| name.word(&self.signals))
    }

    #[must_use]
    pub fn flags(&self) -> Vec<Flag> {
        let spoof = ladder::conflict(&self.signals).then_some(Flag::SpoofSuspected);
        spoof.into_iter().chain(self.unusual.then_some(Flag::UnusualClass)).collect()
    }

    #[must_use]
    pub fn signal(&self) -> AgentSignal {
        let signed = |signal: &Signal| signal.name == Name::SignatureAgent.as_str() && signal.state != State::Absent;
        match self.agent() {
            _ if self.signals.iter().any(signed) => AgentSignal::Signature,
            Some(_) => AgentSignal::UserAgent,
            None => AgentSignal::None,
        }
    }

    /// Writes it into the record of a decision. `verified`: the token that came was found good.
    pub fn tell(&self, verified: bool, data: &mut EventData) {
        if verified {
            return self.clone().verified().tell(false, data);
        }
        let text = |word: &str| Text::from(word.to_owned());
        data.agent_confidence = Some(self.confidence());
        data.agent_name = self.agent().map(text);
        data.agent_signal = Some(self.signal().label());
        data.channel = self.channel().map(text);
        data.flags = self.flags().into_iter().map(Flag::as_str).collect();
        data.rating_version = Some(LADDER_VERSION);
        data.signals = self.signals.to_vec();
    }
}
