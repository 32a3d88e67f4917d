//! How sure it is that an agent is behind a call: one table, read from the top. The confidence is
//! computed from the recorded signals alone, so that anybody can compute it again.

use crate::model::signal::{Signal, State};

/// Version of [`LADDER`]. A changed rung is a new version: it is recorded with each confidence.
pub const LADDER_VERSION: u16 = 1;
/// Most that a call gets whose signals contradict each other, in basis points.
pub const CONFLICT_MAX: u16 = 2000;

/// What is looked at. Each is recorded with its state, always and in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Name {
    ExecutionToken,
    SignatureAgent,
    UcpAgent,
    Protocol,
    UserAgent,
    IpRange,
    Utm,
    Referrer,
}

impl Name {
    pub const ALL: [Self; 8] = [
        Self::ExecutionToken,
        Self::SignatureAgent,
        Self::UcpAgent,
        Self::Protocol,
        Self::UserAgent,
        Self::IpRange,
        Self::Utm,
        Self::Referrer,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ExecutionToken => "execution_token",
            Self::SignatureAgent => "signature_agent",
            Self::UcpAgent => "ucp_agent",
            Self::Protocol => "protocol",
            Self::UserAgent => "user_agent",
            Self::IpRange => "ip_range",
            Self::Utm => "utm",
            Self::Referrer => "referrer",
        }
    }

    fn is(self, signals: &[Signal], state: State) -> bool {
        signals.iter().any(|signal| signal.name == self.as_str() && signal.state == state)
    }

    /// The table's word for what was found.
    pub(super) fn word(self, signals: &[Signal]) -> Option<&str> {
        signals.iter().find(|signal| signal.name == self.as_str())?.value.as_deref()
    }

    fn is_known(self, signals: &[Signal]) -> bool {
        self.word(signals).is_some()
    }
}

/// One rung of the ladder.
pub struct Rung {
    /// Basis points.
    pub points: u16,
    /// What has to be there, as the data contract says it.
    pub when: &'static str,
    holds: fn(&[Signal]) -> bool,
}

/// The ladder, the surest first.
pub static LADDER: [Rung; 7] = [
    Rung {
        points: 10_000,
        when: "an execution token whose signature is good",
        holds: |signals| Name::ExecutionToken.is(signals, State::Verified),
    },
    Rung {
        points: 8000,
        when: "a known user agent, from an address of its operator",
        holds: |signals| Name::UserAgent.is_known(signals) && Name::IpRange.is(signals, State::Verified),
    },
    Rung {
        points: 6000,
        when: "a call in an agents' protocol: a platform's credential beside it is the merchant's to judge, and adds nothing here",
        holds: |signals| Name::Protocol.is_known(signals),
    },
    Rung { points: 5000, when: "a known user agent alone", holds: |signals| Name::UserAgent.is_known(signals) },
    Rung { points: 4000, when: "a known tag (`utm_source`)", holds: |signals| Name::Utm.is_known(signals) },
    Rung { points: 3500, when: "a known referrer", holds: |signals| Name::Referrer.is_known(signals) },
    Rung { points: 0, when: "none of these", holds: |_| true },
];

/// What is odd about a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flag {
    /// The user agent claims an operator whose published addresses do not hold the caller's.
    SpoofSuspected,
    /// A crawler at a checkout.
    UnusualClass,
}

impl Flag {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SpoofSuspected => "spoof_suspected",
            Self::UnusualClass => "unusual_class",
        }
    }
}

/// Whether the signals contradict each other: an agent is claimed, and the address is none of its
/// operator's.
pub(super) fn conflict(signals: &[Signal]) -> bool {
    Name::UserAgent.is_known(signals) && Name::IpRange.is(signals, State::Absent)
}

/// The confidence of these signals, in basis points.
#[must_use]
pub fn confidence(signals: &[Signal]) -> u16 {
    let points = LADDER.iter().find(|rung| (rung.holds)(signals)).map_or(0, |rung| rung.points);
    if conflict(signals) { points.min(CONFLICT_MAX) } else { points }
}
