//! What a store tells of its orders afterwards: one strict reader for each platform.
//!
//! A reader picks the members that join an order to an execution and drops everything else. Names,
//! addresses, e-mails and payment data of shoppers are never copied out of the body. What happened is
//! read from the body too, never from a header that the signature does not cover.

mod acp;
mod channel;
mod generic;
mod members;
mod shopify;
pub mod sign;
mod ucp;
mod woocommerce;

#[cfg(test)]
mod tests;

use std::fmt;

use http::HeaderMap;

use crate::model::event::{OrderedLine, Text};
use crate::model::ids::{Correlation, Jti, StoreId, TraceId, VariantId};
use crate::model::intent::Sha256;
use crate::model::json::{JsonError, read_object};
use crate::model::money::Price;
use crate::model::reference::reference;
use crate::model::signal::{Signal, State};
use crate::model::time::Timestamp;

use members::Members;
pub use sign::Unsigned;

/// Most lines of an order that are kept. A cart has at most twenty tokens, so a longer order is the
/// purchase of none.
pub const LINES_MAX: usize = 50;
/// Longest text of an order that is kept.
const TEXT_MAX: usize = 128;
/// Name of the member under which an order carries the trace that its request had.
const TRACE: &str = "permyx_trace";
/// The same for the execution, or for its token's id.
const EXECUTION: &str = "permyx_execution";

/// Who tells of orders, and how.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Platform {
    Shopify,
    WooCommerce,
    Acp,
    Ucp,
    /// Our own shape, for shops of any other kind (docs/orders.md).
    Generic,
}

impl Platform {
    pub const ALL: [Self; 5] = [Self::Shopify, Self::WooCommerce, Self::Acp, Self::Ucp, Self::Generic];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shopify => "shopify",
            Self::WooCommerce => "woocommerce",
            Self::Acp => "acp",
            Self::Ucp => "ucp",
            Self::Generic => "generic",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|platform| platform.as_str() == name)
    }
}

/// What happened to the order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Happened {
    Created,
    Updated,
    Cancelled,
    Refunded,
}

/// An id of ours that the merchant carried along to the order. Anybody may have written it there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carried {
    Execution(Correlation),
    Trace(TraceId),
}

impl Carried {
    fn parse(text: &str) -> Option<Self> {
        let execution = || Jti::parse(text).map(Correlation::from).or_else(|| Correlation::parse(text));
        TraceId::parse(text).map(Self::Trace).or_else(|| execution().map(Self::Execution))
    }
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Execution(execution) => execution.fmt(f),
            Self::Trace(trace) => trace.fmt(f),
        }
    }
}

/// One line of an order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OrderLine {
    /// `None`: an item of no catalog, or a name that is no id.
    pub variant: Option<VariantId>,
    pub quantity: u32,
    /// Unit prices that the store states: one, or the one without tax and the one with it.
    pub prices: Vec<Price>,
}

/// The lines of an order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lines {
    /// At most [`LINES_MAX`].
    pub first: Vec<OrderLine>,
    /// How many the order has.
    pub all: usize,
}

/// What a store told of one order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OrderNotice {
    pub happened: Happened,
    /// The store's id of the order.
    pub order: String,
    /// The store's own word for its state (`paid`).
    pub state: Option<String>,
    pub total: Option<Price>,
    /// `None`: it does not tell of lines.
    pub lines: Option<Lines>,
    /// When it happened, as the store says.
    pub time: Option<Timestamp>,
    /// Digests of the cart, checkout and session that it names.
    pub refs: Vec<Sha256>,
    pub carried: Option<Carried>,
    /// Where the order came from, each with what vouches for it.
    pub signals: Vec<Signal>,
    /// Digest of the body: the same one is taken once. The name that a platform gives a delivery is
    /// not signed, so whoever caught one could send it again under another.
    pub delivery: Sha256,
}

/// Why a body is no notice of an order.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotANotice {
    #[error("the body must be one JSON object: {0}")]
    Json(#[from] JsonError),
    #[error("`{member}` {must}")]
    Member { member: String, must: String },
}

/// How a store names what it sells: `{id}` stands for the platform's own id of a variant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Naming(String);

impl Naming {
    const ID: &str = "{id}";

    /// `None`: `{id}` must stand in it once.
    #[must_use]
    pub fn parse(template: &str) -> Option<Self> {
        (template.matches(Self::ID).count() == 1).then(|| Self(template.to_owned()))
    }

    fn variant(&self, id: &str) -> Option<VariantId> {
        VariantId::parse(&self.0.replace(Self::ID, id)).ok()
    }
}

impl Default for Naming {
    fn default() -> Self {
        Self(Self::ID.to_owned())
    }
}

/// A delivery, as a reader of one platform sees it.
struct Delivery<'d> {
    body: Members<'d, 'd>,
    store: &'d StoreId,
    naming: &'d Naming,
}

impl Delivery<'_> {
    /// Digests of the names that are there.
    fn refs<const N: usize>(&self, names: [Option<String>; N]) -> Vec<Sha256> {
        names.into_iter().flatten().filter(|name| !name.is_empty()).map(|name| reference(self.store, &name)).collect()
    }
}

/// Reads a delivery whose signature was verified, or whose sender was known by a key.
pub fn read(
    platform: Platform,
    store: &StoreId,
    naming: &Naming,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<OrderNotice, NotANotice> {
    about_an_order(platform, headers)?;
    let object = read_object(body)?;
    let delivery = Delivery { body: Members::of(&object), store, naming };
    let mut notice = match platform {
        Platform::Shopify => shopify::read(&delivery),
        Platform::WooCommerce => woocommerce::read(&delivery),
        Platform::Acp => acp::read(&delivery),
        Platform::Ucp => ucp::read(&delivery),
        Platform::Generic => generic::read(&delivery),
    }?;
    // In another store the same bytes are another delivery.
    notice.delivery = Sha256::of(&[store.as_str().as_bytes(), b"|", platform.as_str().as_bytes(), b"|", body].concat());
    notice.time = notice.time.or_else(|| sign::signed_at(platform, headers));
    Ok(notice)
}

/// A shop that sends us deliveries of another kind is told so. The header is not signed: nothing else
/// follows from it.
fn about_an_order(platform: Platform, headers: &HeaderMap) -> Result<(), NotANotice> {
    let (header, topics): (_, &[&str]) = match platform {
        Platform::Shopify => ("x-shopify-topic", &["orders/", "refunds/create"]),
        Platform::WooCommerce => ("x-wc-webhook-topic", &["order."]),
        Platform::Acp | Platform::Ucp | Platform::Generic => return Ok(()),
    };
    match only(headers, header) {
        Some(topic) if !topics.iter().any(|known| topic.starts_with(known)) => Err(NotANotice::Member {
            member: header.to_owned(),
            must: format!("must begin with {}: no other delivery is taken here", topics.join(" or ")),
        }),
        _ => Ok(()),
    }
}

fn only<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut sent = headers.get_all(name).iter();
    let first = sent.next().filter(|_| sent.next().is_none());
    first.and_then(|value| value.to_str().ok())
}

impl OrderNotice {
    /// A notice of which nothing but its subject is known so far.
    fn new(happened: Happened, order: String) -> Self {
        Self {
            happened,
            order,
            state: None,
            total: None,
            lines: None,
            time: None,
            refs: Vec::new(),
            carried: None,
            signals: Vec::new(),
            delivery: Sha256::of(&[]),
        }
    }

    /// The channel of an agent that the order came from: what the platform says before what a link
    /// or a browser says.
    #[must_use]
    pub fn channel(&self) -> Option<Text> {
        let known = |state| self.signals.iter().filter(move |signal| signal.state == state);
        known(State::Verified).chain(known(State::Present)).find_map(|signal| signal.value.clone())
    }
}

impl OrderLine {
    /// The line as it is recorded.
    #[must_use]
    pub fn recorded(&self) -> OrderedLine {
        OrderedLine {
            prices: self.prices.iter().map(|price| price.to_string().into()).collect(),
            quantity: self.quantity,
            variant_id: self.variant.as_ref().map(|variant| variant.to_string().into()),
        }
    }
}
