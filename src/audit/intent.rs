//! The hash of an intent, from the facts that stand beside it.

use super::facts::DataFacts;
use crate::model::intent::Sha256;

/// `None` where the event does not tell a whole intent; else whether its hash is that of its facts:
/// SHA-256 of `storeId|variantId|quantity|amount|currency|scope`.
pub(super) fn holds(data: &DataFacts<'_>) -> Option<bool> {
    let (hash, store, variant) = (data.intent_hash?, data.store?, data.variant?);
    let (quantity, price, scope) = (data.quantity?, data.price?, data.scope?);
    let Some((amount, currency)) = price.split_once(' ') else { return Some(false) };
    let text = format!("{store}|{variant}|{quantity}|{amount}|{currency}|{scope}");
    Some(is_id(store) && is_id(variant) && Sha256::of(text.as_bytes()).is_printed_as(hash))
}

/// No part of an intent can hold `|`, or two intents had one text.
fn is_id(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'/' | b'-');
    (1..=128).contains(&text.len()) && text.bytes().all(legal)
}
