//! A store's policy: one TOML file, parsed and checked whole, then an immutable value.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::document::{self, At, Problem};
use crate::model::ids::{StoreId, VariantId};
use crate::model::intent::{Quantity, Sha256};
use crate::model::money::{Currency, Price};
use crate::protocol::preset::{Basis, Tokenless};
use crate::token::issue::Lifetime;

use super::velocity::Limits;

/// Oldest price that is still taken, unless the policy says otherwise: 6 h (contract.md).
const PRICE_MAX_AGE_S: i64 = 6 * 3600;
/// Most orders per hour that a policy may name; more is no limit.
const ORDERS_PER_HOUR_MAX: u32 = 100_000;

/// Whether a judgement blocks or is only recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Observe,
    Enforce,
}

impl Mode {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }
}

/// What happens when the ledger or the evidence cannot be used (README decision 7).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnUnavailable {
    #[default]
    Deny,
    AllowAndRecord,
}

/// A checked policy. The text it came from is known by its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    store: StoreId,
    version: String,
    hash: Sha256,
    base: RouteRules,
    routes: BTreeMap<String, RouteRules>,
    currency: Option<Currency>,
    price_basis: Basis,
    max_cart_value: Option<Price>,
    max_item_price: Option<Price>,
    max_quantity: Option<u32>,
    token_lifetime: Lifetime,
    price_max_age_s: i64,
    velocity: Limits,
    allow: Vec<Glob>,
    deny: Vec<Glob>,
}

/// The rules that may differ from route to route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouteRules {
    pub mode: Mode,
    /// `None`: as the route's preset says.
    pub tokenless: Option<Tokenless>,
    pub on_unavailable: OnUnavailable,
}

impl Policy {
    /// The policy of a store that has no file: everything is recorded, nothing is blocked.
    #[must_use]
    pub fn observing(store: StoreId) -> Self {
        let base = RouteRules { mode: Mode::Observe, tokenless: None, on_unavailable: OnUnavailable::Deny };
        Self {
            hash: Sha256::of(b""),
            store,
            version: "built-in".to_owned(),
            base,
            routes: BTreeMap::new(),
            currency: None,
            price_basis: Basis::default(),
            max_cart_value: None,
            max_item_price: None,
            max_quantity: None,
            token_lifetime: Lifetime::MAX,
            price_max_age_s: PRICE_MAX_AGE_S,
            velocity: Limits::default(),
            allow: Vec::new(),
            deny: Vec::new(),
        }
    }

    /// Reads a policy file.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let (doc, problems) = document::read::<PolicyDoc>(text);
        doc.compile(Sha256::of(text.as_bytes()), problems)
    }

    #[must_use]
    pub fn store(&self) -> &StoreId {
        &self.store
    }

    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// SHA-256 of the file's text.
    #[must_use]
    pub fn hash(&self) -> Sha256 {
        self.hash
    }

    /// The rules of a named route.
    #[must_use]
    pub fn route(&self, name: &str) -> RouteRules {
        self.routes.get(name).copied().unwrap_or(self.base)
    }

    /// True when some route of the store is enforced.
    #[must_use]
    pub fn enforces_something(&self) -> bool {
        self.routes.values().chain([&self.base]).any(|rules| rules.mode == Mode::Enforce)
    }

    /// The same with this mode on all routes.
    #[must_use]
    pub fn in_mode(&self, mode: Mode) -> Self {
        let mut other = self.clone();
        other.routes.values_mut().chain([&mut other.base]).for_each(|rules| rules.mode = mode);
        other
    }

    #[must_use]
    pub fn base(&self) -> RouteRules {
        self.base
    }

    #[must_use]
    pub fn token_lifetime(&self) -> Lifetime {
        self.token_lifetime
    }

    /// Whether the unit prices of tokens and of the catalog are with tax.
    #[must_use]
    pub fn price_basis(&self) -> Basis {
        self.price_basis
    }

    /// The only currency that is sold in; there is one wherever money is limited.
    pub(super) fn currency(&self) -> Option<Currency> {
        self.currency
    }

    pub(super) fn max_cart_value(&self) -> Option<Price> {
        self.max_cart_value
    }

    pub(super) fn max_item_price(&self) -> Option<Price> {
        self.max_item_price
    }

    pub(super) fn max_quantity(&self) -> Option<u32> {
        self.max_quantity
    }

    pub(super) fn price_max_age_s(&self) -> i64 {
        self.price_max_age_s
    }

    /// What one agent may order and spend in this store.
    #[must_use]
    pub fn velocity(&self) -> Limits {
        self.velocity
    }

    /// The pattern that denies this variant, if any.
    pub(super) fn denies_variant(&self, variant: &VariantId) -> Option<&str> {
        self.deny.iter().find(|glob| glob.matches(variant)).map(|glob| glob.text.as_str())
    }

    pub(super) fn allows_variant(&self, variant: &VariantId) -> bool {
        self.allow.is_empty() || self.allow.iter().any(|glob| glob.matches(variant))
    }
}

/// An exact variant id, or one that ends in `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Glob {
    text: String,
}

impl Glob {
    fn parse(text: &str) -> Option<Self> {
        let stem = text.strip_suffix('*').unwrap_or(text);
        let legal = stem.is_empty() && text == "*" || VariantId::parse(stem).is_ok();
        legal.then(|| Self { text: text.to_owned() })
    }

    fn matches(&self, variant: &VariantId) -> bool {
        match self.text.strip_suffix('*') {
            Some(stem) => variant.as_str().starts_with(stem),
            None => variant.as_str() == self.text,
        }
    }
}

/// A policy file as it is written.
#[derive(Deserialize, Default, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyDoc {
    /// Free text that names this version in evidence.
    version: String,
    /// The store that the policy is for.
    store: At<String>,
    /// `observe` (default) or `enforce`.
    mode: Option<Mode>,
    /// What happens to a commit without a token; by default as the route's preset says.
    tokenless: Option<Tokenless>,
    /// What happens when ledger or evidence cannot be used.
    on_unavailable: OnUnavailable,
    /// The only currency that is sold in.
    currency: Option<At<String>>,
    /// Whether unit prices are without tax (`net`, the default) or with it (`gross`).
    price_basis: Basis,
    limits: LimitsDoc,
    velocity: VelocityDoc,
    catalog: CatalogDoc,
    /// Overrides for named routes.
    routes: BTreeMap<String, RouteDoc>,
}

#[derive(Deserialize, Default, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct LimitsDoc {
    /// Most that quantity × unit price may be, as `"250.00 USD"`.
    max_cart_value: Option<At<String>>,
    /// Highest unit price.
    max_item_price: Option<At<String>>,
    /// Most pieces of one line.
    max_quantity: Option<At<i64>>,
    /// Lifetime of issued tokens, at most `"120s"`.
    token_ttl: Option<At<String>>,
    /// Oldest price of the catalog that is still taken, by default `"6h"`.
    price_max_age: Option<At<String>>,
}

#[derive(Deserialize, Default, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct VelocityDoc {
    /// Orders that one agent may place within an hour.
    orders_per_hour: Option<At<i64>>,
    /// Most that one agent may spend within an hour, as `"500.00 USD"`.
    spend_per_hour: Option<At<String>>,
    /// Most that one agent may spend within 24 hours.
    spend_per_day: Option<At<String>>,
}

#[derive(Deserialize, Default, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct CatalogDoc {
    /// Variants that may be bought; all, when empty. A `*` may stand at the end.
    allow: Vec<At<String>>,
    /// Variants that may not be bought; wins over `allow`.
    deny: Vec<At<String>>,
}

#[derive(Deserialize, Default, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct RouteDoc {
    mode: Option<Mode>,
    tokenless: Option<Tokenless>,
    on_unavailable: Option<OnUnavailable>,
}

impl PolicyDoc {
    fn compile(self, hash: Sha256, mut problems: Vec<Problem>) -> Result<Policy, Vec<Problem>> {
        let found = &mut problems;
        let store = StoreId::parse(&self.store)
            .map_err(|why| found.push(self.store.problem(format!("`store` {why}"), "add `store = \"…\"`")));
        let base = RouteRules {
            mode: self.mode.unwrap_or(Mode::Observe),
            tokenless: self.tokenless,
            on_unavailable: self.on_unavailable,
        };
        let currency = self.currency.as_ref().and_then(|code| {
            let fix = "write the ISO 4217 code in capitals, like \"USD\"";
            parsed(code, Currency::parse(code), fix, found)
        });
        let limits = self.limits.compile(currency, found);
        let velocity = self.velocity.compile(currency, found);
        let (allow, deny) = (globs(&self.catalog.allow, found), globs(&self.catalog.deny, found));
        let (Ok(store), true) = (store, problems.is_empty()) else { return Err(problems) };
        Ok(Policy {
            store,
            version: self.version,
            hash,
            base,
            routes: self.routes.into_iter().map(|(name, route)| (name, route.over(base))).collect(),
            currency,
            price_basis: self.price_basis,
            max_cart_value: limits.max_cart_value,
            max_item_price: limits.max_item_price,
            max_quantity: limits.max_quantity,
            token_lifetime: limits.token_lifetime.unwrap_or(Lifetime::MAX),
            price_max_age_s: limits.price_max_age_s.unwrap_or(PRICE_MAX_AGE_S),
            velocity,
            allow,
            deny,
        })
    }
}

#[derive(Default)]
struct Caps {
    max_cart_value: Option<Price>,
    max_item_price: Option<Price>,
    max_quantity: Option<u32>,
    token_lifetime: Option<Lifetime>,
    price_max_age_s: Option<i64>,
}

impl LimitsDoc {
    fn compile(&self, currency: Option<Currency>, found: &mut Vec<Problem>) -> Caps {
        let max_cart_value = money(self.max_cart_value.as_ref(), currency, found);
        let max_item_price = money(self.max_item_price.as_ref(), currency, found);
        if let (Some(cart), Some(item), Some(text)) = (max_cart_value, max_item_price, &self.max_item_price)
            && item.minor() > cart.minor()
        {
            found.push(text.problem("`max_item_price` is above `max_cart_value`", "lower it, or raise the cart value"));
        }
        Caps {
            max_cart_value,
            max_item_price,
            max_quantity: self.max_quantity.as_ref().and_then(|count| {
                parsed(count, Quantity::new(**count).map(Quantity::get), "write a whole number from 1 to 50", found)
            }),
            token_lifetime: self.token_ttl.as_ref().and_then(|text| {
                let fix = "write a duration from \"1s\" to \"120s\"";
                parsed(text, seconds(text).and_then(Lifetime::seconds), fix, found)
            }),
            price_max_age_s: self.price_max_age.as_ref().and_then(|text| {
                let valid = seconds(text).filter(|s| (1..=30 * 86_400).contains(s));
                parsed(text, valid, "write a duration from \"1s\" to \"720h\"", found)
            }),
        }
    }
}

impl VelocityDoc {
    fn compile(&self, currency: Option<Currency>, found: &mut Vec<Problem>) -> Limits {
        let orders_per_hour = self.orders_per_hour.as_ref().and_then(|count| {
            let valid = u32::try_from(**count).ok().filter(|n| (1..=ORDERS_PER_HOUR_MAX).contains(n));
            parsed(count, valid, "write a whole number from 1 to 100000", found)
        });
        let spend_per_hour = money(self.spend_per_hour.as_ref(), currency, found).map(Price::minor);
        let spend_per_day = money(self.spend_per_day.as_ref(), currency, found).map(Price::minor);
        if let (Some(hour), Some(day), Some(text)) = (spend_per_hour, spend_per_day, &self.spend_per_hour)
            && hour > day
        {
            found.push(text.problem("`spend_per_hour` is above `spend_per_day`", "lower it, or raise the day's"));
        }
        Limits { orders_per_hour, spend_per_hour, spend_per_day }
    }
}

impl RouteDoc {
    fn over(&self, base: RouteRules) -> RouteRules {
        RouteRules {
            mode: self.mode.unwrap_or(base.mode),
            tokenless: self.tokenless.or(base.tokenless),
            on_unavailable: self.on_unavailable.unwrap_or(base.on_unavailable),
        }
    }
}

fn parsed<T, V: std::fmt::Display>(text: &At<V>, value: Option<T>, fix: &str, found: &mut Vec<Problem>) -> Option<T> {
    if value.is_none() {
        found.push(text.problem(format!("`{}` cannot be used here", text.value), fix));
    }
    value
}

/// An amount in the policy's currency. A money limit without one would compare unlike things.
fn money(text: Option<&At<String>>, currency: Option<Currency>, found: &mut Vec<Problem>) -> Option<Price> {
    let text = text?;
    let fix = "write money as text with a currency, like \"250.00 USD\"";
    let price = parsed(text, Price::parse_text(text), fix, found)?;
    match currency {
        Some(only) if only == price.currency() => Some(price),
        Some(only) => parsed(text, None, &format!("write it in {only}, the policy's `currency`"), found),
        None => parsed(text, None, "add `currency = \"…\"` to the policy: a money limit needs one", found),
    }
}

fn globs(texts: &[At<String>], found: &mut Vec<Problem>) -> Vec<Glob> {
    let fix = "write a variant id; a `*` may stand at its end";
    texts.iter().filter_map(|text| parsed(text, Glob::parse(text), fix, found)).collect()
}

/// `"90s"`, `"5m"`, `"6h"` as seconds.
fn seconds(text: &str) -> Option<i64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    let digits = !number.is_empty() && number.len() <= 9 && number.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| number.parse::<i64>().ok()).flatten().map(|n| n * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_reads_and_routes_override_it() {
        let policy = Policy::parse(
            "version = \"1\"\nstore = \"store-123\"\nmode = \"enforce\"\ncurrency = \"USD\"\n\
             [limits]\nmax_cart_value = \"250.00 USD\"\ntoken_ttl = \"60s\"\n[routes.legacy]\nmode = \"observe\"\n",
        )
        .unwrap();
        assert_eq!(policy.route("checkout").mode, Mode::Enforce);
        assert_eq!(policy.route("legacy").mode, Mode::Observe);
        assert_eq!(policy.token_lifetime().get(), 60);
        assert_eq!(policy.max_cart_value().unwrap().minor(), 25_000);
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let text = "store = \"a|b\"\ncurrency = \"usd\"\n[limits]\nmax_cart_value = \"250\"\nmax_quantity = 51\n\
                    token_ttl = \"121s\"\nprice_max_age = \"6 hours\"\n[velocity]\norders_per_hour = 0\n[catalog]\ndeny = [\"a*b\"]\n";
        let problems = Policy::parse(text).unwrap_err();
        assert_eq!(problems.len(), 8, "{problems:#?}");
        assert!(problems.iter().all(|problem| problem.offset.is_some() && !problem.fix.is_empty()));
    }

    #[test]
    fn spending_is_limited_in_the_policys_currency() {
        let velocity = |text: &str| {
            Policy::parse(&format!("store = \"s\"\ncurrency = \"USD\"\n[velocity]\n{text}")).map(|p| p.velocity())
        };
        let limits = velocity("spend_per_hour = \"5.00 USD\"\nspend_per_day = \"20.00 USD\"").unwrap();
        assert_eq!((limits.spend_per_hour, limits.spend_per_day), (Some(500), Some(2000)));
        for wrong in ["spend_per_day = \"5.00 EUR\"", "spend_per_hour = \"9.00 USD\"\nspend_per_day = \"5.00 USD\""] {
            assert_eq!(velocity(wrong).unwrap_err().len(), 1);
        }
    }

    #[test]
    fn a_cap_below_an_item_is_a_mistake() {
        let text = "store = \"s\"\ncurrency = \"USD\"\n[limits]\nmax_cart_value = \"1.00 USD\"\nmax_item_price = \"2.00 USD\"\n";
        assert_eq!(Policy::parse(text).unwrap_err().len(), 1);
    }
}
