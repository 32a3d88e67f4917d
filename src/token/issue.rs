//! Issue of a token: an authorised intent, a lifetime and the time in; a signed text out.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::model::ids::{AgentId, Jti, ProductId};
use crate::model::intent::{Intent, sku_hash};
use crate::model::time::Timestamp;

use super::keys::{KeyError, SigningKey};
use super::{ISSUER, LIFETIME_MAX_S, TYPE, VERSION};

/// A token's lifetime in whole seconds, 1 to [`LIFETIME_MAX_S`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lifetime(i64);

impl Lifetime {
    pub const MAX: Self = Self(LIFETIME_MAX_S);

    #[must_use]
    pub fn seconds(seconds: i64) -> Option<Self> {
        (1..=LIFETIME_MAX_S).contains(&seconds).then_some(Self(seconds))
    }

    #[must_use]
    pub fn get(self) -> i64 {
        self.0
    }
}

/// What goes into one token.
pub struct Grant<'a> {
    pub intent: &'a Intent,
    pub agent: &'a AgentId,
    pub product: Option<&'a ProductId>,
    pub jti: Jti,
    pub issued: Timestamp,
    pub lifetime: Lifetime,
}

/// A signed execution token. Its text is a bearer secret until it is burned: it has no `Debug`.
pub struct IssuedToken {
    pub text: String,
    pub expires: Timestamp,
}

/// Signs the token for this grant (claims: contract.md, "the token").
pub fn issue(key: &SigningKey, grant: &Grant<'_>) -> Result<IssuedToken, KeyError> {
    let expires = Timestamp::of_seconds(grant.issued.seconds() + grant.lifetime.get());
    let header = format!(r#"{{"alg":"RS256","kid":"{}","typ":"{TYPE}"}}"#, key.kid());
    let mut text = URL_SAFE_NO_PAD.encode(header);
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(claims(grant, expires), &mut text);
    let signature = key.sign(text.as_bytes())?;
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut text);
    Ok(IssuedToken { text, expires })
}

/// The claims as JSON text. Every part is an id, a number or a hash: none needs escaping.
fn claims(grant: &Grant<'_>, expires: Timestamp) -> String {
    let Intent { store, variant, quantity, price, scope } = grant.intent;
    let product = grant.product.map(|pid| format!(r#""pid":"{pid}","#)).unwrap_or_default();
    format!(
        r#"{{"iss":"{ISSUER}","sub":"{sub}","storeId":"{store}","variantId":"{variant}","qty":{quantity},"price_amount":{amount},"currency":"{currency}","sku_hash":"{sku}","execution_intent_hash":"{intent}","scope":"{scope}","jti":"{jti}","iat":{iat},"exp":{exp},{product}"ver":"{VERSION}"}}"#,
        sub = grant.agent,
        amount = price.major(),
        currency = price.currency(),
        sku = sku_hash(store, variant),
        intent = grant.intent.hash(),
        jti = grant.jti,
        iat = grant.issued.seconds(),
        exp = expires.seconds(),
    )
}
