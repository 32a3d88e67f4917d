//! The strict reading of a token: compact JWS, RS256 and nothing else (README decision 4).
//!
//! `Presented` is a text that may be a token; `Verified` is one that a trusted key signed for a
//! time that includes now. Nothing of a `Presented` is ever shown, logged or used as a key.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::model::ids::{AgentId, Jti, StoreId, VariantId};
use crate::model::intent::{Intent, Quantity, Sha256, sku_hash};
use crate::model::json::{Object, Value, read_object};
use crate::model::money::{Currency, Price};
use crate::model::scope::Scope;
use crate::model::time::Timestamp;

use super::keys::{KID_MAX, KeyRing};
use super::{ISSUER, LEEWAY_S, LIFETIME_MAX_S, TOKEN_MAX, TYPE, VERSION};

/// A text that was sent as a token: not longer than [`TOKEN_MAX`], nothing else is known of it.
#[derive(Clone, Copy)]
pub struct Presented<'a>(&'a str);

/// The text is longer than [`TOKEN_MAX`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an execution token has at most {TOKEN_MAX} bytes")]
pub struct TooLong;

impl<'a> Presented<'a> {
    pub fn new(text: &'a str) -> Result<Self, TooLong> {
        if text.len() > TOKEN_MAX { Err(TooLong) } else { Ok(Self(text)) }
    }

    /// The exact text: a secret until it is burned.
    pub(crate) fn text(&self) -> &'a str {
        self.0
    }
}

impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Presented(redacted)")
    }
}

/// What a trusted key signed. Only [`verify`] makes one.
#[derive(Clone, Debug)]
pub struct Verified {
    kid: Arc<str>,
    jti: Jti,
    agent: AgentId,
    store: StoreId,
    scope: Option<Scope>,
    intent: Option<(Intent, Sha256)>,
    issued: Timestamp,
    expires: Timestamp,
}

impl Verified {
    /// The key that signed it.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    #[must_use]
    pub fn jti(&self) -> Jti {
        self.jti
    }

    #[must_use]
    pub fn agent(&self) -> &AgentId {
        &self.agent
    }

    #[must_use]
    pub fn store(&self) -> &StoreId {
        &self.store
    }

    /// `None` when the signed scope is not a published one.
    #[must_use]
    pub fn scope(&self) -> Option<Scope> {
        self.scope
    }

    /// `None` when quantity, price or variant are out of range, or the signed hashes are not
    /// those of the signed members: such a token authorises nothing.
    #[must_use]
    pub fn intent(&self) -> Option<&Intent> {
        self.intent.as_ref().map(|(intent, _)| intent)
    }

    /// The hash of its intent, as it was signed.
    #[must_use]
    pub fn intent_hash(&self) -> Option<Sha256> {
        self.intent.as_ref().map(|(_, hash)| *hash)
    }

    #[must_use]
    pub fn issued(&self) -> Timestamp {
        self.issued
    }

    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.expires
    }
}

/// Why a presented text is not authority.
#[derive(Debug, Clone)]
pub enum TokenFault {
    /// Malformed, or not signed by a trusted key. The text says which, for the operator.
    Invalid(&'static str),
    /// No trusted key has this `kid`: the key set may be old.
    UnknownKey,
    /// Well signed, by a key that was revoked. Said by whoever knows what is revoked.
    RevokedKey,
    /// Well signed, but its time is over. What it says may be recorded, not acted on.
    Expired(Box<Verified>),
}

/// Reads a token strictly and checks signature and time. `now` is the request's one instant.
pub fn verify(token: Presented<'_>, keys: &KeyRing, now: Timestamp) -> Result<Verified, TokenFault> {
    let (message, signature) = token.0.rsplit_once('.').ok_or(TokenFault::Invalid("not three parts"))?;
    let (header, payload) = message.split_once('.').ok_or(TokenFault::Invalid("not three parts"))?;
    let header = decode(header)?;
    let header = read_object(&header).map_err(|_| TokenFault::Invalid("header is not strict JSON"))?;
    let kid = key_id(&header)?;
    let payload = decode(payload)?;
    let signature = decode(signature)?;
    let key = keys.find(kid).ok_or(TokenFault::UnknownKey)?;
    if !key.verifies(message.as_bytes(), &signature) {
        return Err(TokenFault::Invalid("signature"));
    }
    let claims = read_object(&payload).map_err(|_| TokenFault::Invalid("claims are not strict JSON"))?;
    in_time(read_claims(&claims, key.kid(), now)?, now)
}

fn decode(part: &str) -> Result<Vec<u8>, TokenFault> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenFault::Invalid("a part is not canonical base64url"))
}

/// The header may hold `alg`, `kid` and `typ` and nothing else, so `crit`, `b64`, `zip`, `jku`,
/// `x5u`, `x5c` and `jwk` are refused with whatever comes next.
fn key_id<'o>(header: &'o Object<'_>) -> Result<&'o str, TokenFault> {
    if header.iter().any(|(name, _)| !matches!(name, "alg" | "kid" | "typ")) {
        return Err(TokenFault::Invalid("header member"));
    }
    if text(header, "alg") != Some("RS256") {
        return Err(TokenFault::Invalid("alg"));
    }
    if text(header, "typ") != Some(TYPE) {
        return Err(TokenFault::Invalid("typ"));
    }
    text(header, "kid").filter(|kid| !kid.is_empty() && kid.len() <= KID_MAX).ok_or(TokenFault::Invalid("kid"))
}

/// The claims that are read here. A further claim is no matter, but a twin of one of these in
/// other letters (`QTY`) is: a reader that does not mind case could take it for the claim.
const CLAIMS: [&str; 16] = [
    "iss",
    "sub",
    "storeId",
    "variantId",
    "qty",
    "price_amount",
    "currency",
    "sku_hash",
    "execution_intent_hash",
    "scope",
    "jti",
    "iat",
    "exp",
    "nbf",
    "pid",
    "ver",
];

fn is_twin(name: &str) -> bool {
    CLAIMS.iter().any(|claim| claim.eq_ignore_ascii_case(name) && *claim != name)
}

fn read_claims(claims: &Object<'_>, kid: &Arc<str>, now: Timestamp) -> Result<Verified, TokenFault> {
    let invalid = TokenFault::Invalid;
    if claims.iter().any(|(name, _)| is_twin(name)) {
        return Err(invalid("twin of a claim"));
    }
    if text(claims, "iss") != Some(ISSUER) {
        return Err(invalid("iss"));
    }
    if text(claims, "ver") != Some(VERSION) {
        return Err(invalid("ver"));
    }
    let jti = text(claims, "jti").and_then(Jti::parse).ok_or(invalid("jti"))?;
    let agent = text(claims, "sub").and_then(|sub| AgentId::parse(sub).ok()).ok_or(invalid("sub"))?;
    let store = text(claims, "storeId").and_then(|id| StoreId::parse(id).ok()).ok_or(invalid("storeId"))?;
    let scope = Scope::parse(text(claims, "scope").ok_or(invalid("scope"))?);
    let (issued, expires) = times(claims, now)?;
    let intent = intent(claims, &store, scope);
    Ok(Verified { kid: kid.clone(), jti, agent, store, scope, intent, issued, expires })
}

fn times(claims: &Object<'_>, now: Timestamp) -> Result<(Timestamp, Timestamp), TokenFault> {
    let invalid = TokenFault::Invalid;
    let issued = seconds(claims, "iat").ok_or(invalid("iat"))?;
    let expires = seconds(claims, "exp").ok_or(invalid("exp"))?;
    let latest = now.seconds() + LEEWAY_S;
    if issued > latest {
        return Err(invalid("iat is in the future"));
    }
    if !(1..=LIFETIME_MAX_S).contains(&(expires - issued)) {
        return Err(invalid("lifetime"));
    }
    if claims.get("nbf").is_some() && seconds(claims, "nbf").is_none_or(|from| from > latest) {
        return Err(invalid("nbf"));
    }
    Ok((Timestamp::of_seconds(issued), Timestamp::of_seconds(expires)))
}

fn in_time(token: Verified, now: Timestamp) -> Result<Verified, TokenFault> {
    if now.seconds() >= token.expires.seconds() + LEEWAY_S {
        return Err(TokenFault::Expired(Box::new(token)));
    }
    Ok(token)
}

/// The authorised purchase and its hash, if the members and both signed hashes agree.
fn intent(claims: &Object<'_>, store: &StoreId, scope: Option<Scope>) -> Option<(Intent, Sha256)> {
    let variant = VariantId::parse(text(claims, "variantId")?).ok()?;
    let quantity = Quantity::parse(number(claims, "qty")?)?;
    let currency = Currency::parse(text(claims, "currency")?)?;
    let price = Price::parse_major(number(claims, "price_amount")?, currency).ok()?;
    let intent = Intent { store: store.clone(), variant, quantity, price, scope: scope? };
    let signed = |name, hash: Sha256| text(claims, name).is_some_and(|text| hash.is_printed_as(text));
    let hash = intent.hash();
    let bound = signed("sku_hash", sku_hash(store, &intent.variant)) && signed("execution_intent_hash", hash);
    bound.then_some((intent, hash))
}

fn text<'o>(object: &'o Object<'_>, name: &str) -> Option<&'o str> {
    object.get(name).and_then(Value::as_str)
}

fn number<'o>(object: &'o Object<'_>, name: &str) -> Option<&'o str> {
    object.get(name).and_then(Value::as_number)
}

/// A NumericDate written as a plain whole number of seconds, not beyond the year 9999.
fn seconds(claims: &Object<'_>, name: &str) -> Option<i64> {
    let text = number(claims, name)?;
    let plain = text.len() <= 12 && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten().filter(|at| (1..253_402_300_800).contains(at))
}
