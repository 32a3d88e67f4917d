//! The scenarios: what each one shows, and what it needs.

use std::io::Write;

use clap::ValueEnum;
use serde_json::json;

/// What can be played.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Scenario {
    /// A token buys what it was made for
    Allowed,
    /// The policy refuses 50 pieces, and no token is issued
    Denied,
    /// A token buys once: the second time it is refused
    Replay,
    /// Another quantity than was authorised is refused, and the token stays good
    Mismatch,
    /// Without a token it passes as a shopper's, or is refused where one is required
    Tokenless,
    /// A token is refused once it has expired
    Expired,
    /// A token that was revoked is refused
    Revoked,
    /// Without its ledger the gateway lets nothing pass
    #[value(alias = "redis-down")]
    LedgerDown,
    /// A merchant that cannot be reached uses no token up
    MerchantDown,
    /// What the merchant does not answer is not sent again
    UpstreamTimeout,
    /// Each that needs nothing special, one after the other
    All,
}

impl Scenario {
    pub(super) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    pub(super) fn about(self) -> String {
        let value = self.to_possible_value();
        value.and_then(|value| value.get_help().map(ToString::to_string)).unwrap_or_default()
    }

    /// What the person has to bring.
    pub(super) const fn needs(self) -> Option<&'static str> {
        match self {
            Self::Allowed | Self::Denied | Self::Replay | Self::Mismatch | Self::Tokenless | Self::All => None,
            Self::Expired => Some("two minutes, or --expired-token"),
            Self::Revoked => Some("--operator-key"),
            Self::LedgerDown => Some("a Redis that you stop"),
            Self::MerchantDown => Some("a merchant that you stop"),
            Self::UpstreamTimeout => Some("a merchant that you suspend, and a minute"),
        }
    }

    /// Whether it sends purchases: what a gateway lets through is executed.
    pub(super) const fn sends(self) -> bool {
        !matches!(self, Self::Denied)
    }

    /// The scenarios that are played under this name.
    pub(super) fn each(self) -> Vec<Self> {
        let plain = |one: &Self| *one != Self::All && one.needs().is_none();
        if self == Self::All { Self::value_variants().iter().copied().filter(plain).collect() } else { vec![self] }
    }
}

pub(super) fn list(json: bool, out: &mut dyn Write) -> std::io::Result<()> {
    if json {
        let one = |one: &Scenario| json!({ "scenario": one.name(), "about": one.about(), "sends": one.sends(), "needs": one.needs() });
        return writeln!(out, "{}", Scenario::value_variants().iter().map(one).collect::<serde_json::Value>());
    }
    for one in Scenario::value_variants() {
        let needs = one.needs().map(|needs| format!("; needs {needs}")).unwrap_or_default();
        writeln!(out, "{:<16} {}{needs}", one.name(), one.about())?;
    }
    Ok(())
}
