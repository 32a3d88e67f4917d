//! How sure it is that an order and an execution are one purchase: a table of rules, and no average.
//!
//! The table is the one of docs/data-contract.md, "Orders and confidence". A change of it has another
//! [`RATING_VERSION`]; judgements that were made before keep theirs.

use crate::model::signal::{Signal, State};

/// Version of the table.
pub const RATING_VERSION: u16 = 1;

/// How sure it is. Ordered: the greater is the surer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// What was ordered is not what was authorised. It is no purchase of this token.
    Contradicted,
    None,
    Weak,
    Indicated,
    Probable,
    Strong,
    Proven,
}

impl Level {
    pub const ALL: [Self; 7] =
        [Self::Proven, Self::Strong, Self::Probable, Self::Indicated, Self::Weak, Self::None, Self::Contradicted];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Contradicted => "contradicted",
            Self::None => "none",
            Self::Weak => "weak",
            Self::Indicated => "indicated",
            Self::Probable => "probable",
            Self::Strong => "strong",
            Self::Proven => "proven",
        }
    }

    /// The level in basis points.
    #[must_use]
    pub const fn points(self) -> u16 {
        match self {
            Self::Contradicted | Self::None => 0,
            Self::Weak => 2500,
            Self::Indicated => 5000,
            Self::Probable => 7000,
            Self::Strong => 9000,
            Self::Proven => 10_000,
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == text)
    }
}

/// Whether two accounts of the same thing agree.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Agreement {
    /// One of them does not tell.
    #[default]
    Untold,
    Same,
    Differs,
}

impl Agreement {
    fn state(self) -> State {
        match self {
            Self::Untold => State::Absent,
            Self::Same => State::Verified,
            Self::Differs => State::Malformed,
        }
    }
}

/// What is known of an order and one execution that it may be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Known {
    /// A token of the execution was used up in this log, or may have been.
    pub used: bool,
    /// The order carries the id of the execution, or of one of its calls.
    pub carried: bool,
    /// The store's own answer to the execution named this order.
    pub answered: bool,
    /// A cart, checkout or session of the execution is the order's.
    pub referred: bool,
    /// Variants and quantities.
    pub items: Agreement,
    /// Unit prices.
    pub price: Agreement,
    pub currency: Agreement,
    /// What was ordered costs more than what was authorised.
    pub above: bool,
    /// The token bought another order.
    pub of_another_order: bool,
    /// A caller without a token told of the same variant and quantity within ten minutes.
    pub sighted: bool,
    /// Where the order came from, and who the execution's caller was.
    pub signals: Vec<Signal>,
}

/// A judgement by the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rating {
    pub level: Level,
    /// Everything that was looked at, with what was found.
    pub signals: Vec<Signal>,
    /// Contradictions.
    pub flags: Vec<&'static str>,
}

/// Judges what is known.
#[must_use]
pub fn rate(known: &Known) -> Rating {
    let flags = contradictions(known);
    let level = if flags.is_empty() { level(known) } else { Level::Contradicted };
    Rating { level, signals: signals(known), flags }
}

/// Only of an execution whose token was used: without one nothing was promised that could be broken.
fn contradictions(known: &Known) -> Vec<&'static str> {
    let joined = known.used && (known.carried || known.answered || known.referred);
    let found = [
        ("token_of_another_order", known.of_another_order),
        ("currency_differs", known.currency == Agreement::Differs),
        ("items_differ", known.items == Agreement::Differs),
        ("total_above_authorised", known.above),
    ];
    found.into_iter().filter(|(_, is)| *is && joined).map(|(flag, _)| flag).collect()
}

fn level(known: &Known) -> Level {
    use Agreement::Same;
    let named = known.carried || known.answered;
    let joined = named || known.referred;
    let has = |names: &[&str], state| {
        known.signals.iter().any(|signal| {
            names.contains(&signal.name)
                && signal.state == state
                && (signal.value.is_some() || signal.name == SIGNATURE)
        })
    };
    let channel = has(&["sales_channel"], State::Verified);
    let hinted = ["sales_channel", "utm_source", "referrer", "user_agent"];
    match () {
        () if known.used && named && [known.items, known.price, known.currency] == [Same; 3] => Level::Proven,
        () if known.used && joined && known.items == Same => Level::Strong,
        () if known.used && joined => Level::Probable,
        () if channel && (known.sighted || joined) => Level::Probable,
        () if channel || has(&[SIGNATURE], State::Verified) => Level::Indicated,
        () if known.sighted || joined || has(&hinted, State::Present) => Level::Weak,
        () => Level::None,
    }
}

/// A signature of an agent on the request.
const SIGNATURE: &str = "signature_agent";

fn signals(known: &Known) -> Vec<Signal> {
    let found = |is: bool| if is { State::Verified } else { State::Absent };
    let said = |is: bool| if is { State::Present } else { State::Absent };
    let mut signals = vec![
        Signal::new("token", found(known.used)),
        Signal::new("carried_id", said(known.carried)),
        Signal::new("order_in_answer", found(known.answered)),
        Signal::new("references", found(known.referred)),
        Signal::new("items", known.items.state()),
        Signal::new("price", known.price.state()),
        Signal::new("currency", known.currency.state()),
        Signal::new("observation", said(known.sighted)),
    ];
    signals.extend(known.signals.iter().cloned());
    signals
}

#[cfg(test)]
mod tests;
