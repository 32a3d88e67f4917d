//! The heart: `Presented → Verified → Permit → Clearance → settled`. Shared by `/validate` and the
//! gateway. Burn last: every pure check comes before the irreversible step.

use crate::decide::policy::Mode;
use crate::decide::velocity::Usage;
use crate::decide::{self, Bid, Decision, Denial, Facts, Permit, Question};
use crate::evidence::{Caller, NOT_IN_LEDGER, NotAll};
use crate::ledger::{Answer, LedgerError, Reservation, Settlement, Spent, Standing};
use crate::model::event::{Event, EventKind, Text};
use crate::model::ids::{AgentId, Jti};
use crate::model::money::Price;
use crate::model::reason::ReasonCode;
use crate::model::revocation::Kind;
use crate::model::several::Several;
use crate::protocol::order::OrderFacts;
use crate::telemetry::traces::Part;
use crate::token::verify::{Presented, TokenFault, Verified};

use super::cart::{Cart, Held};
use super::reserve::Settled;
use super::retry::Asked;
use super::{Authority, Call, Refused};

/// Who presents the token.
#[derive(Clone, Copy)]
pub enum Holder<'a> {
    /// An agent's own key: it may use its own tokens only.
    Agent(&'a AgentId),
    /// The merchant, or a request that the merchant's gateway sees: any agent's token.
    Merchant,
}

/// The right to pass. Only [`Authority::clear`] makes one. It carries the reservations of all
/// tokens of its cart and has to be settled with [`Authority::settle`], once.
#[must_use = "a clearance has to be settled"]
#[derive(Debug)]
pub struct Clearance {
    price_verified: bool,
    /// One for each token, in turn.
    reservations: Several<Reservation>,
    /// What the session said that everything costs, just before.
    read_total: Option<Price>,
}

/// How a cleared execution ended.
#[derive(Clone, Debug)]
pub struct Ending {
    pub settlement: Settlement,
    /// Status of the merchant's answer.
    pub status: Option<u16>,
    /// What the answer means, or why there is none.
    pub cause: Text,
    pub order: OrderFacts,
    pub client_gone: bool,
}

/// Where a token stands once its execution is settled; of several, the one that is worst off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenState {
    /// It can buy again.
    Unused,
    Spent(Spent),
    /// The ledger did not say: it stays reserved until its lease lapses.
    Reserved,
}

impl TokenState {
    /// `tokenState` of a refusal.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unused => "unused",
            Self::Spent(spent) => spent.as_str(),
            Self::Reserved => "reserved",
        }
    }

    /// Of several tokens, where the one stands that is worst off.
    pub(super) fn worst(ended: &Several<Settled>) -> Self {
        let states = ended.iter().map(|(_, settled)| Self::from(*settled));
        states.fold(Self::Unused, |worst, state| match (worst, state) {
            (Self::Reserved, _) | (_, Self::Unused) | (Self::Spent(_), Self::Spent(_)) => worst,
            (Self::Unused | Self::Spent(_), state) => state,
        })
    }
}

impl From<Result<Standing, LedgerError>> for TokenState {
    fn from(settled: Result<Standing, LedgerError>) -> Self {
        match settled {
            Ok(Standing::Unused) => Self::Unused,
            Ok(Standing::Spent(spent)) => Self::Spent(spent),
            Err(_) => Self::Reserved,
        }
    }
}

impl Authority {
    /// Reads and verifies a token. The second value is what may be said of it in evidence: an
    /// expired token is known, a forged one is not.
    pub fn verify(&self, token: Presented<'_>, call: &Call) -> Result<Verified, (Denial, Option<Box<Verified>>)> {
        let began = self.clock.monotonic();
        let read = self.read(token, call.now);
        self.took(call, Part::Verify, began);
        read.map_err(|fault| match fault {
            TokenFault::Expired(token) => (Denial::by(ReasonCode::TokenExpired, "token.exp"), Some(token)),
            TokenFault::RevokedKey => (Denial::by(ReasonCode::InvalidSignature, Kind::Key.rule()), None),
            TokenFault::Invalid(_) => (Denial::of(ReasonCode::InvalidSignature), None),
            TokenFault::UnknownKey => {
                self.unknown_key.notify_one();
                (Denial::by(ReasonCode::InvalidSignature, "token.kid"), None)
            }
        })
    }

    /// The judgements that need no facts; asked before a session is read.
    pub fn screen(&self, call: &Call, cart: &Cart) -> Result<(), Denial> {
        decide::screen(&self.question(call, &cart.tokens(), Usage::default()))
    }

    /// Decides, reserves and records. What comes back may pass and must be settled.
    pub async fn clear(
        &self,
        call: &Call,
        cart: &Cart,
        facts: Facts<'_>,
        holder: Holder<'_>,
        asked: &Asked<'_>,
    ) -> Result<Clearance, Refused> {
        // What was counted is the ledger's to know: it judges the limits in the step that reserves.
        let began = self.clock.monotonic();
        let decision = decide::decide(&self.question(call, &cart.tokens(), Usage::default()), facts);
        self.took(call, Part::Policy, began);
        let permit = match decision {
            Decision::Allow(permit) => permit,
            Decision::Deny(denial) => return Err(denial.into()),
        };
        own_token(holder, &permit)?;
        let reservations = self.reserve(call, cart, &permit, asked).await?;
        let read_total = match facts {
            Facts::Known(facts) => facts.total.stated().copied(),
            Facts::Unknown(_) | Facts::NotVisible => None,
        };
        let clearance = Clearance { price_verified: permit.price_verified(), reservations, read_total };
        self.record_reserved(call, cart, clearance).await
    }

    /// Records how a cleared execution ended and the order that came of it, in the ledger and then in
    /// evidence, and keeps the answer for a retry. In observe mode the observation was the record; the ledger's own
    /// namespace is settled all the same.
    pub async fn settle(
        &self,
        call: &Call,
        cart: &Cart,
        clearance: Clearance,
        ending: &Ending,
        answer: Option<Answer>,
    ) -> TokenState {
        let ended = self.end(call, clearance.reservations, ending.settlement, answer).await;
        self.check_order(call, cart, clearance.read_total, ending);
        self.count_settlement(call, ending.settlement, ended.count());
        // Whatever may fail in recording it fails before any of it is recorded.
        let (now, enforced) = (self.clock.now(), call.rules.mode == Mode::Enforce);
        let outcomes = ended.iter().filter(|_| enforced);
        let outcomes = outcomes.map(|&(jti, settled)| settled_event(call, cart, jti, ending, settled).at(now));
        let placed = self.place_all(outcomes.chain(order_event(call, Some(cart), ending).map(|event| event.at(now))));
        for &(jti, settled) in ended.iter().filter(|_| enforced) {
            if settled == Ok(Standing::Spent(Spent::Burned)) {
                let Held { token, mark } = cart.held(jti);
                self.front.remember(*mark, token, call.trace);
            }
        }
        self.secured(placed).await;
        TokenState::worst(&ended)
    }

    /// The decision record of a refusal that stands (enforce), with its counters.
    pub fn refuse(&self, call: &Call, cart: Option<&Cart>, refused: &Refused) {
        self.count_decision(call, Some(refused.code()));
        if refused.is_replay() {
            self.metrics.replays.inc();
        }
        let caller = cart.map_or_else(|| call.caller.clone(), |cart| Caller::Token(cart.leader().jti()));
        self.record_refusal(&call.refused_event(cart, refused), caller);
    }

    pub(super) fn question<'a>(&self, call: &'a Call, tokens: &Several<&'a Verified>, counted: Usage) -> Question<'a> {
        let listing = |token: &Verified| {
            token.intent().map_or(decide::Listing::NoCatalog, |intent| self.listing(&call.store, &intent.variant))
        };
        let bid = |token: &&'a Verified| Bid { token, listing: listing(token), revoked: self.revoked(call, token) };
        Question {
            bids: tokens.map(bid),
            store: &call.store,
            needs: call.needs,
            policy: &call.policy,
            counted,
            now: call.now,
        }
    }

    /// The reserved records are durable before anything is sent. If one cannot be written, nothing
    /// is sent and all reservations go back.
    async fn record_reserved(&self, call: &Call, cart: &Cart, clearance: Clearance) -> Result<Clearance, Refused> {
        if call.rules.mode == Mode::Observe {
            // Observing writes its one record itself, with what it found.
            return Ok(clearance);
        }
        let began = self.clock.monotonic();
        let events =
            clearance.reservations.iter().map(|reservation| reserved_event(call, cart, &clearance, reservation));
        let recorded = self.evidence.place_all(events);
        let recorded = match recorded {
            Ok(None) => Ok(()),
            Ok(Some((placed, written))) => match self.evidence.written(placed).await {
                Ok(receipt) => self.evidence.secure(receipt).await.map_err(|error| (usize::MAX, error)),
                Err(error) => Err((written, error)),
            },
            Err(NotAll { written, error }) => Err((written, error)),
        };
        self.took(call, Part::Evidence, began);
        if let Err((written, error)) = recorded {
            self.take_back(call, cart, clearance, written).await;
            return Err(error.into());
        }
        self.count_decision(call, None);
        Ok(clearance)
    }

    /// Gives all reservations back; that is told of those whose reservation was `written`.
    async fn take_back(&self, call: &Call, cart: &Cart, clearance: Clearance, written: usize) {
        let ending = Ending {
            settlement: Settlement::Released,
            status: None,
            cause: "not_recorded".into(),
            order: OrderFacts::default(),
            client_gone: false,
        };
        let ended = self.end(call, clearance.reservations, ending.settlement, None).await;
        for &(jti, settled) in ended.iter().take(written) {
            let _ = self.record(&settled_event(call, cart, jti, &ending, settled).at(self.clock.now()));
        }
    }

    fn count_settlement(&self, call: &Call, settlement: Settlement, reservations: usize) {
        if call.rules.mode == Mode::Observe {
            return;
        }
        match settlement {
            Settlement::Burned => {}
            Settlement::Released => self.metrics.released.inc_by(reservations as u64),
            Settlement::Indeterminate => self.metrics.indeterminate.inc(),
        }
    }
}

impl Holder<'_> {
    /// Whether a token of this agent may be used.
    pub(super) fn may_use(self, agent: &AgentId) -> bool {
        match self {
            Self::Agent(caller) => caller == agent,
            Self::Merchant => true,
        }
    }
}

fn own_token(holder: Holder<'_>, permit: &Permit) -> Result<(), Denial> {
    if holder.may_use(permit.agent()) { Ok(()) } else { Err(Denial::by(ReasonCode::PolicyDenied, "token.subject")) }
}

fn reserved_event(call: &Call, cart: &Cart, clearance: &Clearance, reservation: &Reservation) -> Event {
    let mut event = call.decision(EventKind::ExecutionReserved, Some(cart), Some(reservation.slot().jti));
    event.data.decision = Some("allowed");
    event.data.cause = match (clearance.price_verified, reservation.attempts()) {
        (false, 1) => Some("price:unverified".into()),
        (false, attempts) => Some(format!("price:unverified; ledger_attempts:{attempts}").into()),
        (true, 1) => None,
        (true, attempts) => Some(format!("ledger_attempts:{attempts}").into()),
    };
    event
}

fn settled_event(call: &Call, cart: &Cart, jti: Jti, ending: &Ending, settled: Result<Standing, LedgerError>) -> Event {
    let kind = match ending.settlement {
        Settlement::Burned => EventKind::ExecutionValidated,
        Settlement::Released => EventKind::ExecutionReleased,
        Settlement::Indeterminate => EventKind::ExecutionIndeterminate,
    };
    let mut event = call.event_of(kind, Some(cart), Some(jti));
    let data = &mut event.data;
    data.decision = Some("allowed");
    data.http_status = ending.status;
    data.client_gone = ending.client_gone;
    data.cause = Some(match settled {
        Ok(Standing::Spent(Spent::Unexecuted)) => format!("{}; the token stays spent", ending.cause).into(),
        Ok(_) => ending.cause.clone(),
        Err(_) => format!("{}{NOT_IN_LEDGER}", ending.cause).into(),
    });
    data.order_id = ending.order.id.clone().map(Into::into);
    event
}

/// The order that a merchant's answer tells of.
pub(super) fn order_event(call: &Call, cart: Option<&Cart>, ending: &Ending) -> Option<Event> {
    let order = ending.order.id.clone()?;
    let mut event = call.event_of(EventKind::OrderObserved, cart, None);
    event.data.order_id = Some(order.into());
    event.data.order_total = ending.order.total.clone().map(Into::into);
    event.data.order_status = ending.order.status.clone().map(Into::into);
    event.data.http_status = ending.status;
    Some(event)
}
