//! Where the lines of a purchase stand, and which of their amounts is the unit price.

use serde::Deserialize;

use crate::model::money::Currency;
use crate::protocol::money::Money;
use crate::protocol::pointer::{OneOrMany, Places, Pointer};

/// Whether unit prices are without or with tax. The store's policy says it (README decision 16).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    #[default]
    Net,
    Gross,
}

/// Pointers to the lines of a purchase. Those of one line start at the line.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    pub items: Items,
    pub variant: Places,
    pub quantity: Places,
    /// `None` where this source does not bind the merchant to a price.
    pub price: Option<Prices>,
    /// True or false in a line: whether its price is with tax.
    pub inclusive: Option<Pointer>,
    pub currency: Places,
    pub currency_case: Case,
    pub money: Money,
    /// Digits of a major unit, where it is not as the currency's standard says.
    pub decimals: Option<u32>,
    /// Where the merchant says that number.
    pub decimals_at: Option<Pointer>,
    /// What the whole purchase costs.
    pub total: Places,
}

/// In which letters a currency's code is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Case {
    #[default]
    Upper,
    Lower,
    /// One or the other, never mixed.
    Either,
}

impl Case {
    /// The currency that a code written like this names.
    #[must_use]
    pub fn read(self, code: &str) -> Option<Currency> {
        let small = code.bytes().all(|b| b.is_ascii_lowercase());
        match (self, small) {
            (Self::Lower | Self::Either, true) => Currency::parse(&code.to_ascii_uppercase()),
            (Self::Upper | Self::Either, false) => Currency::parse(code),
            _ => None,
        }
    }
}

/// Where the list of lines stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Items {
    List(Places),
    /// The document itself is the one line.
    Document,
}

impl Default for Items {
    fn default() -> Self {
        Self::List(Places::default())
    }
}

/// The unit price on each basis.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(from = "PricesDoc")]
pub struct Prices {
    pub net: Vec<Amount>,
    pub gross: Vec<Amount>,
}

impl Prices {
    /// The places of the price on this basis; empty where the protocol does not say it.
    #[must_use]
    pub fn on(&self, basis: Basis) -> &[Amount] {
        match basis {
            Basis::Net => &self.net,
            Basis::Gross => &self.gross,
        }
    }
}

/// One place of a unit price.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(untagged, expecting = "a JSON Pointer, or `{ line = … }`")]
pub enum Amount {
    Unit(Pointer),
    /// Amounts of the whole line; their sum, divided by the quantity, is the price.
    Line {
        line: LineSum,
    },
}

/// The amounts that make a line's.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(from = "OneOrMany<Pointer>")]
pub struct LineSum(pub Vec<Pointer>);

impl From<OneOrMany<Pointer>> for LineSum {
    fn from(list: OneOrMany<Pointer>) -> Self {
        Self(list.into_vec())
    }
}

/// `price = "/p"`, where the protocol does not tell the bases apart, or one entry for each.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a JSON Pointer, a list of places, or `{ net = …, gross = … }`")]
enum PricesDoc {
    Each(EachDoc),
    Same(OneOrMany<Amount>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EachDoc {
    net: Option<OneOrMany<Amount>>,
    gross: Option<OneOrMany<Amount>>,
}

impl From<PricesDoc> for Prices {
    fn from(written: PricesDoc) -> Self {
        let list = |places: Option<OneOrMany<Amount>>| places.map(OneOrMany::into_vec).unwrap_or_default();
        match written {
            PricesDoc::Each(EachDoc { net, gross }) => Self { net: list(net), gross: list(gross) },
            PricesDoc::Same(places) => {
                let places = places.into_vec();
                Self { net: places.clone(), gross: places }
            }
        }
    }
}
