//! The tokens of one purchase: a cart of one, or of several that are burned together. One path for
//! both.

use crate::decide::Denial;
use crate::ledger::front::Mark;
use crate::model::ids::Jti;
use crate::model::reason::ReasonCode;
use crate::model::several::Several;
use crate::token::verify::{Presented, Verified};

use super::retry::IdempotencyKey;
use super::{Authority, Call, Refused};

/// A token that a trusted key signed, and what its bytes are known by once it is burned.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) token: Verified,
    pub(super) mark: Mark,
}

/// Well signed tokens that were presented together, none of them twice.
#[derive(Clone, Debug)]
pub struct Cart(Several<Held>);

/// Why tokens that were presented together may buy nothing.
pub enum NoCart {
    /// With all of them, where each is well signed.
    Refused(Refused, Option<Box<Cart>>),
    /// Two of them have one id.
    Repeated,
}

impl Cart {
    pub(super) const fn one(token: Verified, mark: Mark) -> Self {
        Self(Several::one(Held { token, mark }))
    }

    /// `None` when an id is there twice.
    fn of(held: Several<Held>) -> Option<Self> {
        if held.repeats(|held| held.token.jti()) { None } else { Some(Self(held)) }
    }

    /// In the order in which they were presented.
    #[must_use]
    pub fn tokens(&self) -> Several<&Verified> {
        self.0.map(|held| &held.token)
    }

    /// In the order of their ids: in this order they are reserved.
    pub(super) fn in_turn(&self) -> Several<&Held> {
        self.0.map(|held| held).sorted_by_key(|held| held.token.jti())
    }

    /// The token whose id is the execution's: the first in turn.
    #[must_use]
    pub fn leader(&self) -> &Verified {
        &self.leading().token
    }

    fn leading(&self) -> &Held {
        self.0.iter().min_by_key(|held| held.token.jti()).unwrap_or(self.0.first())
    }

    /// The token with this id; the leader where none of them has it.
    pub(super) fn held(&self, jti: Jti) -> &Held {
        self.0.iter().find(|held| held.token.jti() == jti).unwrap_or_else(|| self.leading())
    }
}

impl Authority {
    /// Reads tokens that were presented together. The first reason in the order of reasons is told;
    /// a signature that is not good ends it at once.
    pub fn present(
        &self,
        call: &Call,
        presented: &Several<Presented<'_>>,
        key: Option<&IdempotencyKey>,
    ) -> Result<Cart, NoCart> {
        let read = presented.try_map(|token| self.read_held(call, *token, key));
        let read = read.map_err(|denial| NoCart::Refused(denial.into(), None))?;
        let refused = read.iter().filter_map(|(_, denial)| denial.as_ref()).min_by_key(|denial| denial.reason).cloned();
        let cart = Cart::of(read.into_map(|(held, _)| held)).ok_or(NoCart::Repeated)?;
        match refused {
            None => Ok(cart),
            Some(denial) => Err(NoCart::Refused(denial.into(), Some(Box::new(cart)))),
        }
    }

    /// A well signed token, and why it buys nothing all the same. `Err`: not well signed.
    fn read_held(
        &self,
        call: &Call,
        token: Presented<'_>,
        key: Option<&IdempotencyKey>,
    ) -> Result<(Held, Option<Denial>), Denial> {
        let mark = self.front.mark(token);
        if let Some(known) = self.known_burned(call, mark, key) {
            return Ok((Held { token: known.token, mark }, Some(known.denial)));
        }
        match self.verify(token, call) {
            Ok(token) => Ok((Held { token, mark }, None)),
            Err((denial, Some(token))) => {
                let denial = denial.about(&token);
                Ok((Held { token: *token, mark }, Some(denial)))
            }
            Err((denial, None)) => Err(denial),
        }
    }

    /// Refuses what is revoked where nothing else can be judged: an outage opens no gate to it.
    pub fn unrevoked(&self, call: &Call, cart: &Cart) -> Result<(), Denial> {
        let revoked = |token| crate::decide::unrevoked(self.revoked(call, token)).map_err(|denial| denial.about(token));
        cart.tokens().iter().try_for_each(|token| revoked(token))
    }
}

impl Refused {
    /// The token that it is about, where it is about one of several.
    pub(super) fn token(&self) -> Option<Jti> {
        match self {
            Self::Denied(denial) => denial.token,
            Self::Second(_) | Self::Busy(_) | Self::Cannot(_) => None,
            Self::Spoiled(refused, _) => refused.token(),
        }
    }

    /// True for a use of a token that was used up before.
    pub(super) fn is_replay(&self) -> bool {
        self.code().reason() == Some(ReasonCode::ReplayDetected)
    }
}
