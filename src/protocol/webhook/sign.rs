//! Whether the store sent it: a keyed hash over the raw bytes, compared in constant time.
//!
//! | platform | header | what is hashed | written in |
//! |---|---|---|---|
//! | Shopify | `X-Shopify-Hmac-Sha256` | body | base64 |
//! | WooCommerce | `X-WC-Webhook-Signature` | body | base64 |
//! | ACP | `Merchant-Signature: t=…,v1=…` | `t.body` | hex |
//! | UCP | `Webhook-Signature: v1,…` (Standard Webhooks 1.0) | `id.timestamp.body` | base64 |
//! | our own | `X-Permyx-Signature: t=…,v1=…` | `t.body` | hex |
//!
//! Sources: shopify.dev "HTTPS webhooks", developer.woocommerce.com "Webhooks", ACP 2026-04-17
//! `openapi.agentic_checkout_webhook.yaml`, standardwebhooks.com.

use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key, Tag};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use subtle::ConstantTimeEq;

use super::{Platform, only};
use crate::model::time::Timestamp;

/// How far the time of a signature may be from ours, in seconds (ACP and Standard Webhooks).
const SKEW_MAX_S: u64 = 300;
/// Signatures of one delivery that are tried: while a secret is changed there are two.
const TRIED_MAX: usize = 4;
/// How a secret of Standard Webhooks begins; base64 follows.
const ENCODED: &str = "whsec_";

/// Why a delivery is not the store's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unsigned {
    #[error("`{0}` is missing, stands twice or is not a signature of its kind")]
    Unreadable(&'static str),
    #[error("`{0}` was made more than {SKEW_MAX_S} seconds before or after now")]
    Stale(&'static str),
    #[error("`{0}` is not the signature of this body with the secret of this store")]
    Forged(&'static str),
}

/// Checks the signature of a delivery.
pub fn verify(
    platform: Platform,
    secret: &[u8],
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<(), Unsigned> {
    let header = header_of(platform);
    let unreadable = Unsigned::Unreadable(header);
    let signature = only(headers, header).ok_or(unreadable)?;
    let (told, parts) = match platform {
        Platform::Shopify | Platform::WooCommerce => (vec![decoded(signature).ok_or(unreadable)?], vec![body]),
        Platform::Acp | Platform::Generic => {
            let (time, told) = stamped(signature).ok_or(unreadable)?;
            (told, vec![time.as_bytes(), b".", body])
        }
        Platform::Ucp => {
            let id = only(headers, WEBHOOK_ID).ok_or(Unsigned::Unreadable(WEBHOOK_ID))?;
            let time = only(headers, WEBHOOK_TIME).ok_or(Unsigned::Unreadable(WEBHOOK_TIME))?;
            let told = listed(signature).ok_or(unreadable)?;
            (told, vec![id.as_bytes(), b".", time.as_bytes(), b".", body])
        }
    };
    if matches!(platform, Platform::Acp | Platform::Generic | Platform::Ucp) {
        let made = signed_at(platform, headers).ok_or(unreadable)?;
        if now.seconds().abs_diff(made.seconds()) > SKEW_MAX_S {
            return Err(Unsigned::Stale(header));
        }
    }
    let tag = tag_of(&key(platform, secret).ok_or(Unsigned::Forged(header))?, &parts);
    let same = told.iter().any(|told| bool::from(told.as_slice().ct_eq(tag.as_ref())));
    if same { Ok(()) } else { Err(Unsigned::Forged(header)) }
}

const WEBHOOK_ID: &str = "webhook-id";
const WEBHOOK_TIME: &str = "webhook-timestamp";

/// The header that the signature stands in.
const fn header_of(platform: Platform) -> &'static str {
    match platform {
        Platform::Shopify => "x-shopify-hmac-sha256",
        Platform::WooCommerce => "x-wc-webhook-signature",
        Platform::Acp => "merchant-signature",
        Platform::Ucp => "webhook-signature",
        Platform::Generic => "x-permyx-signature",
    }
}

/// The time of a signature, where the signature covers one.
pub(super) fn signed_at(platform: Platform, headers: &HeaderMap) -> Option<Timestamp> {
    let text = match platform {
        Platform::Shopify | Platform::WooCommerce => None,
        Platform::Acp | Platform::Generic => stamped(only(headers, header_of(platform))?).map(|(time, _)| time),
        Platform::Ucp => only(headers, WEBHOOK_TIME),
    }?;
    // Fewer digits than any that could overflow, and no sign.
    let plain = text.len() <= 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten().map(Timestamp::of_seconds)
}

/// `t=<seconds>,v1=<hex>`: the time, and every signature of this version.
fn stamped(text: &str) -> Option<(&str, Vec<Vec<u8>>)> {
    let mut parts = text.split(',').map(str::trim);
    let time = parts.next()?.strip_prefix("t=").filter(|time| !time.is_empty())?;
    let told: Vec<_> = parts.map(|part| hex(part.strip_prefix("v1=")?)).collect::<Option<_>>()?;
    (1..=TRIED_MAX).contains(&told.len()).then_some((time, told))
}

/// `v1,<base64> v1,<base64>`; other versions are passed over.
fn listed(text: &str) -> Option<Vec<Vec<u8>>> {
    let ours = text.split(' ').filter_map(|part| part.strip_prefix("v1,"));
    let told: Vec<_> = ours.take(TRIED_MAX).map(decoded).collect::<Option<_>>()?;
    (!told.is_empty()).then_some(told)
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text.trim()).ok().filter(|bytes| bytes.len() == 32)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let digits: Vec<u8> = text.as_bytes().iter().map(digit).collect::<Option<_>>()?;
    let bytes = digits.chunks_exact(2).filter_map(|pair| Some(pair.first()? << 4 | pair.get(1)?));
    (digits.len() == 64).then(|| bytes.collect())
}

fn key(platform: Platform, secret: &[u8]) -> Option<Key> {
    let encoded = std::str::from_utf8(secret).ok().and_then(|text| text.strip_prefix(ENCODED));
    match encoded.filter(|_| platform == Platform::Ucp) {
        Some(encoded) => STANDARD.decode(encoded).ok().map(|bytes| Key::new(HMAC_SHA256, &bytes)),
        None => Some(Key::new(HMAC_SHA256, secret)),
    }
}

fn tag_of(key: &Key, parts: &[&[u8]]) -> Tag {
    let mut context = Context::with_key(key);
    parts.iter().for_each(|part| context.update(part));
    context.sign()
}
