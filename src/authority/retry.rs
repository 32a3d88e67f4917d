//! What a call says about itself beyond its token, and what becomes of a second call: an honest
//! retry gets the first answer, or is told why there is none; it is never called a theft.

use crate::decide::Denial;
use crate::decide::policy::Mode;
use crate::ledger::front::Mark;
use crate::ledger::retry::{Again, Replay};
use crate::ledger::{Answer, Busy, Digest, Ledger, Namespace, Purpose, Retry, Slot, Spent};
use crate::model::ids::{AgentId, TraceId};
use crate::model::reason::ReasonCode;
use crate::protocol::deny::Refusal;
use crate::token::verify::Verified;

use super::cart::Cart;
use super::{Authority, Call, Refused};

/// Longest Idempotency-Key.
const KEY_MAX: usize = 255;

/// An Idempotency-Key, quoted or bare: both spellings are one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdempotencyKey(String);

/// A key that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an Idempotency-Key has 1 to {KEY_MAX} printable characters, quoted or bare")]
pub struct NotAKey;

impl IdempotencyKey {
    pub fn parse(text: &[u8]) -> Result<Self, NotAKey> {
        let text = std::str::from_utf8(text).map_err(|_| NotAKey)?.trim_matches([' ', '\t']);
        let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
        let printable = bare.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"');
        if bare.is_empty() || bare.len() > KEY_MAX || !printable {
            return Err(NotAKey);
        }
        Ok(Self(bare.to_owned()))
    }

    /// The key of a call, which may send the field once.
    pub fn sent(fields: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<Option<Self>, Refusal> {
        let bad = |message: String| Refusal::malformed(400, "Idempotency-Key", message);
        let mut fields = fields.into_iter();
        match (fields.next(), fields.next()) {
            (None, _) => Ok(None),
            (Some(_), Some(_)) => Err(bad("send one Idempotency-Key".to_owned())),
            (Some(key), None) => Self::parse(key.as_ref()).map(Some).map_err(|why| bad(why.to_string())),
        }
    }
}

/// What a call says about itself beyond its token.
#[derive(Clone, Debug, Default)]
pub struct Asked<'a> {
    pub key: Option<IdempotencyKey>,
    /// Method, path and body: what the call asks for.
    pub request: &'a [&'a [u8]],
    /// The checkout session that the call completes.
    pub session: Option<String>,
    /// The unknown outcome that the caller knows of (`Permyx-Confirm-Retry`).
    pub confirmed: Option<TraceId>,
}

impl Asked<'_> {
    /// The same request has the same tokens, in whichever order they are presented.
    pub(super) fn retry(&self, call: &Call, cart: &Cart) -> Option<Retry> {
        let key = self.key.as_ref()?;
        let turns = cart.in_turn();
        let more = turns.more().iter().map(|held| held.token.jti());
        let tokens = more.fold(turns.first().token.jti().to_string(), |all, jti| format!("{all},{jti}"));
        let ours = [call.store.as_str().as_bytes(), tokens.as_bytes()];
        let parts: Vec<_> = ours.into_iter().chain(self.request.iter().copied()).collect();
        Some(Retry { key: Digest::of(&[key.0.as_bytes()]), request: Digest::of(&parts) })
    }

    /// A session names its purpose whatever the key is: two keys cannot complete it twice.
    pub(super) fn purpose(&self, call: &Call, agent: &AgentId) -> Option<Purpose> {
        let (kind, name) = match (&self.session, &self.key) {
            (Some(session), _) => ("session", session.as_str()),
            (None, Some(key)) => ("key", key.0.as_str()),
            (None, None) => return None,
        };
        let route = call.route.as_deref().unwrap_or_default();
        let parts = [call.store.as_str(), agent.as_str(), route, kind, name].map(str::as_bytes);
        Some(Purpose(Digest::of(&parts)))
    }
}

/// A call that comes second.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Second {
    /// The first is under way.
    InFlight { first: TraceId },
    /// The first was answered, with this, if it was kept.
    Answered { first: TraceId, answer: Option<Answer> },
    /// Nobody knows what came of the first.
    Unknown { first: TraceId },
}

impl Second {
    pub(super) fn refusal(&self, plain: Refusal) -> Refusal {
        match self {
            Self::InFlight { .. } => Refusal { retry_after_s: Some(1), token_state: Some("reserved"), ..plain },
            Self::Answered { first, .. } => {
                let message = format!("this execution was already carried out by {first}; its answer was not kept");
                Refusal { message: Some(message), token_state: Some(Spent::Burned.as_str()), ..plain }
            }
            Self::Unknown { first } => {
                let message = format!(
                    "what came of {first} is not known and it is not sent again; ask the store for the order, or \
                     repeat with `Permyx-Confirm-Retry: {first}` and a new token to buy all the same"
                );
                Refusal { message: Some(message), token_state: Some(Spent::Indeterminate.as_str()), ..plain }
            }
        }
    }

    /// What evidence says of it.
    pub(super) fn told(&self) -> String {
        match self {
            Self::InFlight { first } => format!("IN_FLIGHT since {first}"),
            Self::Answered { first, answer: Some(_) } => format!("answer of {first} given again"),
            Self::Answered { first, answer: None } => format!("ALREADY_EXECUTED by {first}"),
            Self::Unknown { first } => format!("OUTCOME_UNKNOWN of {first}"),
        }
    }
}

impl From<Busy> for Second {
    fn from(busy: Busy) -> Self {
        let first = busy.first;
        if busy.unknown { Self::Unknown { first } } else { Self::InFlight { first } }
    }
}

impl Call {
    /// Whose memory this call's tokens are looked up in.
    pub(super) fn slot(&self, token: &Verified) -> Slot {
        let namespace = match self.rules.mode {
            Mode::Enforce => Namespace::Enforce,
            Mode::Observe => Namespace::Observe,
        };
        Slot { namespace, store: self.store.clone(), jti: token.jti() }
    }
}

/// A token that is known to be burned: what it is, and what its second use is told.
pub struct KnownBurned {
    pub token: Verified,
    pub denial: Denial,
}

impl Authority {
    /// Refuses a token that is known to be burned before anything is asked about it. Not where the
    /// call may be an honest retry, and not where nothing is refused.
    #[must_use]
    pub fn known_burned(&self, call: &Call, mark: Mark, key: Option<&IdempotencyKey>) -> Option<KnownBurned> {
        if key.is_some() || call.rules.mode == Mode::Observe {
            return None;
        }
        let burned = self.front.burned(mark, call.now)?;
        // A key that is no longer trusted says nothing, not even of what it signed before.
        let kid = burned.token.kid();
        if self.keys.snapshot().find(kid).is_none() || self.revocations.snapshot().has_key(kid) {
            return None;
        }
        self.metrics.ledger_operations.with_label_values(&["front", "reserve", "known"]).inc();
        let (token, denial) = (burned.token.clone(), replayed(burned.first, Replay::NoKey));
        Some(KnownBurned { denial: denial.about(&token), token })
    }

    /// The refusal of a second use of a token, by what is remembered of the first.
    pub(super) async fn second(&self, slot: &Slot, again: Again) -> Refused {
        match again {
            Again::InFlight { first } => Refused::Second(Second::InFlight { first }),
            Again::Unknown { first } => Refused::Second(Second::Unknown { first }),
            Again::Answered { first } => {
                // An answer that cannot be read is an answer that was not kept.
                let answer = self.ledger.answer(slot).await.ok().flatten();
                Refused::Second(Second::Answered { first, answer })
            }
            Again::Unexecuted { first } => Denial::by(ReasonCode::TokenExpired, "token.spent_unexecuted")
                .found(format!("given up by {first}, which executed nothing"), "a token of no doubt")
                .into(),
            Again::Replay { first, how } => replayed(first, how).into(),
        }
    }

    /// What a call that is refused anyway is told instead when it is an honest retry: its token may
    /// have expired, or its policy changed, since the first was answered.
    pub async fn retried(&self, call: &Call, cart: &Cart, asked: &Asked<'_>) -> Option<Refused> {
        let retry = asked.retry(call, cart).filter(|_| call.rules.mode == Mode::Enforce)?;
        let slot = call.slot(cart.leader());
        let entry = self.ledger.entry(&slot).await.ok().flatten()?;
        match Again::of(&entry, Some(&retry)) {
            Again::Replay { .. } | Again::Unexecuted { .. } => None,
            again => Some(self.second(&slot, again).await),
        }
    }
}

/// The rule of a key that is used for two requests; it is told with a status of its own.
const KEY_REUSE: &str = "replay.key_reuse";

/// The status of a denial, where it is not the reason's: 422 for a key that is used for two
/// requests (draft-ietf-httpapi-idempotency-key-header-07 §2.7).
pub(super) fn status(denial: &Denial) -> Option<u16> {
    (denial.rule.as_deref() == Some(KEY_REUSE)).then_some(422)
}

fn replayed(first: TraceId, how: Replay) -> Denial {
    let denial = match how {
        Replay::NoKey => Denial::of(ReasonCode::ReplayDetected),
        Replay::OtherKey => Denial::by(ReasonCode::ReplayDetected, "replay.other_key"),
        Replay::KeyReuse => Denial::by(ReasonCode::ReplayDetected, KEY_REUSE),
    };
    denial.found(format!("first used by {first}"), "one use")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_and_bare_are_one_key() {
        let key = |text: &str| IdempotencyKey::parse(text.as_bytes());
        assert_eq!(key("\"a b\""), key("a b"));
        assert_eq!(key(" a1 "), key("a1"));
        for bad in ["", "\"\"", "a\"b", "\"a", "a\nb", "é", &"x".repeat(256)] {
            assert_eq!(key(bad), Err(NotAKey), "{bad:?}");
        }
        assert!(key(&"x".repeat(255)).is_ok());
    }
}
