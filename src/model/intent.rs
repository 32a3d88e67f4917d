//! What was authorised, and the two hashes that bind a token to it (contract.md, "the token").

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256, digest};

use super::ids::{StoreId, VariantId};
use super::money::{Decimal, Price};
use super::scope::Scope;
use super::spell::{Spelled, spelled};

/// Pieces of one variant: 1–50 (contract.md).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Quantity(u32);

impl Quantity {
    pub const MAX: u32 = 50;

    #[must_use]
    pub fn new(count: i64) -> Option<Self> {
        let count = u32::try_from(count).ok()?;
        (1..=Self::MAX).contains(&count).then_some(Self(count))
    }

    /// The text of a JSON number whose value is a whole number from 1 to 50.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::new(Decimal::parse(text)?.integer()?)
    }

    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One authorised purchase: this many of this variant, in this store, at this unit price.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Intent {
    pub store: StoreId,
    pub variant: VariantId,
    pub quantity: Quantity,
    /// Unit price on the basis that the store declares.
    pub price: Price,
    pub scope: Scope,
}

impl Intent {
    /// `storeId|variantId|qty|amount|currency|scope`. No part can hold `|`, so it is injective.
    #[must_use]
    pub fn canonical(&self) -> String {
        let Self { store, variant, quantity, price, scope } = self;
        let (count, amount) = (Spelled::<10>::of("").number(quantity.get().into()), price.major().spelled());
        let parts = [store.as_str(), variant.as_str(), count.as_str(), amount.as_str(), price.currency().code()];
        let mut text = String::with_capacity(parts.iter().map(|part| part.len() + 1).sum::<usize>() + 16);
        for part in parts {
            text.push_str(part);
            text.push('|');
        }
        text.push_str(scope.as_str());
        text
    }

    /// `execution_intent_hash` of the token.
    #[must_use]
    pub fn hash(&self) -> Sha256 {
        Sha256::of(self.canonical().as_bytes())
    }
}

/// `sku_hash` of the token: SHA-256 of `storeId|variantId`.
#[must_use]
pub fn sku_hash(store: &StoreId, variant: &VariantId) -> Sha256 {
    Sha256::of([store.as_str(), variant.as_str()].join("|").as_bytes())
}

/// A SHA-256 value; prints as `sha256:` and lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut value = [0; 32];
        value.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self(value)
    }

    /// Reads the 32 bytes of a value.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The hash of a leaf of the log (RFC 6962 §2.1): it also chains the events of one producer.
    #[must_use]
    pub fn of_leaf(bytes: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(&[0]);
        context.update(bytes);
        let mut value = [0; 32];
        value.copy_from_slice(context.finish().as_ref());
        Self(value)
    }

    /// Lower-case hex without the prefix.
    #[must_use]
    pub fn hex(&self) -> String {
        Spelled::<64>::of("").hex(&self.0).as_str().to_owned()
    }

    /// As it is written.
    #[must_use]
    pub fn spelled(&self) -> Spelled<71> {
        Spelled::of("sha256:").hex(&self.0)
    }

    /// True when `text` is exactly this value's printed form.
    #[must_use]
    pub fn is_printed_as(&self, text: &str) -> bool {
        text == self.spelled().as_str()
    }
}

spelled!(Sha256);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::money::Currency;
    use proptest::prelude::*;

    fn intent(store: &str, variant: &str, quantity: i64, minor: i64, code: &str) -> Intent {
        Intent {
            store: StoreId::parse(store).unwrap(),
            variant: VariantId::parse(variant).unwrap(),
            quantity: Quantity::new(quantity).unwrap(),
            price: Price::of_minor(minor, Currency::parse(code).unwrap()).unwrap(),
            scope: Scope::AgentExec,
        }
    }

    #[test]
    fn the_canonical_text_is_the_contract() {
        let at = |minor, code| intent("store-123", "shopify:variant:123456", 1, minor, code).canonical();
        assert_eq!(at(2990, "USD"), "store-123|shopify:variant:123456|1|29.90|USD|agent_exec");
        assert_eq!(at(5000, "JPY"), "store-123|shopify:variant:123456|1|5000|JPY|agent_exec");
        assert_eq!(at(1250, "KWD"), "store-123|shopify:variant:123456|1|1.250|KWD|agent_exec");
    }

    proptest! {
        #[test]
        fn different_intents_have_different_texts(
            // So few that the same intent is drawn twice, too.
            a in ("[a:]{1,2}", "[a:]{1,2}", 1i64..=2, 0i64..2),
            b in ("[a:]{1,2}", "[a:]{1,2}", 1i64..=2, 0i64..2),
        ) {
            let left = intent(&a.0, &a.1, a.2, a.3, "USD");
            let right = intent(&b.0, &b.1, b.2, b.3, "USD");
            prop_assert_eq!(left == right, left.canonical() == right.canonical());
        }
    }
}
