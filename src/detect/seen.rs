//! What a request says of its caller, and what the tables make of it.

use std::net::IpAddr;

use crate::model::signal::{Signal, State};

use super::address::is_public;
use super::agent::{Agent, USER_AGENT_MAX};
use super::channel::{Sent, URL_MAX, Url};
use super::ladder::Name;
use super::presence::Presence;
use super::tables::Tables;

/// A protocol that agents alone speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    Acp,
    Ucp,
}

impl Protocol {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Acp => "acp",
            Self::Ucp => "ucp",
        }
    }
}

/// What is looked at of a request, as it came. Nothing of it is recorded but words of the tables and
/// digests; an address not even as a digest, for there are few enough to try them all.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// How a token came, before it was judged: absent, present or malformed.
    pub token: State,
    pub protocol: Option<Protocol>,
    pub user_agent: Option<&'a [u8]>,
    /// `Signature-Agent` (Web Bot Auth). Whether the signature is good is not judged.
    pub signature_agent: Option<&'a [u8]>,
    /// `UCP-Agent`.
    pub ucp_agent: Option<&'a [u8]>,
    pub query: Option<&'a [u8]>,
    pub referrer: Option<&'a [u8]>,
    /// The caller's address, where it is known.
    pub address: Option<IpAddr>,
}

impl Default for Seen<'_> {
    fn default() -> Self {
        Self {
            token: State::Absent,
            protocol: None,
            user_agent: None,
            signature_agent: None,
            ucp_agent: None,
            query: None,
            referrer: None,
            address: None,
        }
    }
}

impl Tables {
    /// Looks at everything, and keeps the state of each look.
    #[must_use]
    pub fn look(&self, seen: &Seen<'_>) -> Presence {
        let agent = seen.user_agent.and_then(|text| self.agents.find(text));
        let signals = [
            Signal::new(Name::ExecutionToken.as_str(), seen.token),
            self.named_host(Name::SignatureAgent, seen.signature_agent),
            self.named_host(Name::UcpAgent, seen.ucp_agent),
            protocol(seen),
            user_agent(seen.user_agent, agent),
            self.ip_range(seen.address, agent),
            self.utm(seen),
            self.referrer(seen.referrer),
        ];
        Presence::new(signals, agent)
    }

    /// A header that names its sender by a URL in quotes (RFC 8941 string).
    fn named_host(&self, name: Name, header: Option<&[u8]>) -> Signal {
        let signal = |state| Signal::new(name.as_str(), state);
        let Some(header) = header else { return signal(State::Absent) };
        let header = header.get(..URL_MAX).unwrap_or(header);
        let quoted = header.split(|byte| *byte == b'"').nth(1);
        sent(signal, quoted.and_then(|url| self.channels.of_url(url)), header)
    }

    fn referrer(&self, referrer: Option<&[u8]>) -> Signal {
        let signal = |state| Signal::new(Name::Referrer.as_str(), state);
        let Some(referrer) = referrer else { return signal(State::Absent) };
        sent(signal, self.channels.of_url(referrer), referrer)
    }

    /// The tags of the request, or of the page that it was made from: the shop's own page has those
    /// of the link that led there.
    fn utm(&self, seen: &Seen<'_>) -> Signal {
        let signal = |state| Signal::new(Name::Utm.as_str(), state);
        let own = seen.query.and_then(|query| self.channels.of_query(query));
        let page = || self.channels.of_query(Url::read(seen.referrer?)?.query);
        match own.or_else(page) {
            None => signal(State::Absent),
            found => sent(signal, found, &[]),
        }
    }

    /// Whether the address is one of the operator's. Where the user agent claims nobody, whose it is.
    fn ip_range(&self, address: Option<IpAddr>, agent: Option<&Agent>) -> Signal {
        let signal = |state| Signal::new(Name::IpRange.as_str(), state);
        let Some(address) = address.filter(|_| !self.ranges.is_empty()) else { return signal(State::FeatureOff) };
        let Some(agent) = agent else {
            let owner = self.ranges.iter().find(|(_, nets)| nets.contains(address));
            return match owner {
                Some((name, _)) => signal(State::Present).known_as(name.clone()),
                None if is_public(address) => signal(State::Absent),
                None => signal(State::FeatureOff),
            };
        };
        match self.ranges.get(agent.name()).map(|nets| nets.contains(address)) {
            Some(true) => signal(State::Verified).known_as(agent.name().to_owned()),
            // An address of the merchant's own network says nothing of the caller's.
            Some(false) if is_public(address) => signal(State::Absent),
            Some(false) | None => signal(State::FeatureOff),
        }
    }
}

fn protocol(seen: &Seen<'_>) -> Signal {
    let signal = |state| Signal::new(Name::Protocol.as_str(), state);
    let Some(protocol) = seen.protocol else { return signal(State::Absent) };
    signal(State::Present).known_as(protocol.as_str())
}

fn user_agent(text: Option<&[u8]>, agent: Option<&Agent>) -> Signal {
    let signal = |state| Signal::new(Name::UserAgent.as_str(), state);
    let Some(text) = text else { return signal(State::Absent) };
    if let Some(agent) = agent {
        return signal(State::Present).known_as(agent.name().to_owned());
    }
    let text = text.get(..USER_AGENT_MAX).unwrap_or(text);
    let printable = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t');
    let state =
        if text.iter().all(printable) && !text.trim_ascii().is_empty() { State::Present } else { State::Malformed };
    signal(state).digest_of(text)
}

/// `text` is what could not be read, where nothing was found in it.
fn sent(signal: impl Fn(State) -> Signal, found: Option<Sent<'_>>, text: &[u8]) -> Signal {
    match found {
        Some(Sent::From(channel)) => signal(State::Present).known_as(channel.to_owned()),
        Some(Sent::Unknown(what)) => signal(State::Present).digest_of(&what),
        None => signal(State::Malformed).digest_of(text.get(..URL_MAX).unwrap_or(text)),
    }
}
