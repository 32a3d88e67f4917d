//! The heart: `Presented → Verified → Permit → Clearance → settled`. Shared by `/validate` and the
//! gateway. Burn last: every pure check comes before the irreversible step.

use crate::decide::policy::Mode;
use crate::decide::velocity::{Limits, Usage};
use crate::decide::{self, Decision, Denial, Facts, Permit, Question};
use crate::evidence::NOT_IN_LEDGER;
use crate::ledger::front::Mark;
use crate::ledger::retry::Again;
use crate::ledger::{Answer, Claim, Ledger, LedgerError, Reservation, Reserve, Settlement, Spent, Standing, State};
use crate::model::event::{Event, EventKind, Text};
use crate::model::ids::AgentId;
use crate::model::reason::ReasonCode;
use crate::model::revocation::Kind;
use crate::protocol::deny::Code;
use crate::protocol::extract::OrderFacts;
use crate::token::verify::{Presented, TokenFault, Verified};

use super::retry::{Asked, Second};
use super::{Authority, Call, Passage, Refused};

/// Who presents the token.
#[derive(Clone, Copy)]
pub enum Holder<'a> {
    /// An agent's own key: it may use its own tokens only.
    Agent(&'a AgentId),
    /// The merchant, or a request that the merchant's gateway sees: any agent's token.
    Merchant,
}

/// The right to pass. Only [`Authority::clear`] makes one. It carries the reservation and has to
/// be settled with [`Authority::settle`].
#[must_use = "a clearance has to be settled"]
#[derive(Debug)]
pub struct Clearance {
    permit: Permit,
    reservation: Reservation,
    mark: Option<Mark>,
}

impl Clearance {
    #[must_use]
    pub fn permit(&self) -> &Permit {
        &self.permit
    }
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

/// Where a token stands once its execution is settled.
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
}

impl Authority {
    /// Reads and verifies a token. The second value is what may be said of it in evidence: an
    /// expired token is known, a forged one is not.
    pub fn verify(&self, token: Presented<'_>, call: &Call) -> Result<Verified, (Denial, Option<Box<Verified>>)> {
        self.read(token, call.now).map_err(|fault| match fault {
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
    pub fn screen(&self, call: &Call, token: &Verified) -> Result<(), Denial> {
        decide::screen(&self.question(call, token, Usage::default()))
    }

    /// Decides, reserves and records. What comes back may pass and must be settled.
    pub async fn clear(
        &self,
        call: &Call,
        token: &Verified,
        facts: Facts<'_>,
        holder: Holder<'_>,
        asked: &Asked<'_>,
    ) -> Result<Clearance, Refused> {
        // What was counted is the ledger's to know: it judges the limits in the step that reserves.
        let permit = match decide::decide(&self.question(call, token, Usage::default()), facts) {
            Decision::Allow(permit) => permit,
            Decision::Deny(denial) => return Err(denial.into()),
        };
        own_token(holder, &permit)?;
        let reservation = self.reserve(call, token, &permit, asked).await?;
        self.record_reserved(call, token, Clearance { permit, reservation, mark: asked.mark }).await
    }

    /// Records how a cleared execution ended, in the ledger and then in evidence, and keeps the
    /// answer for a retry. In observe mode the observation was the record; the ledger's own
    /// namespace is settled all the same.
    pub async fn settle(
        &self,
        call: &Call,
        token: &Verified,
        clearance: Clearance,
        ending: &Ending,
        answer: Option<Answer>,
    ) -> TokenState {
        let settled = self.ledger.settle(clearance.reservation, ending.settlement, answer).await;
        self.count_settlement(call, ending.settlement);
        if let Err(error) = &settled {
            tracing::error!(trace = %call.trace, %error, settlement = ending.settlement.as_str(), "settlement not in the ledger");
        }
        if call.rules.mode == Mode::Enforce {
            self.record(&settled_event(call, token, ending, settled).at(self.clock.now()));
        }
        if let (Ok(Standing::Spent(Spent::Burned)), Some(mark), Mode::Enforce) =
            (settled, clearance.mark, call.rules.mode)
        {
            self.front.remember(mark, token, call.trace);
        }
        match settled {
            Ok(Standing::Unused) => TokenState::Unused,
            Ok(Standing::Spent(spent)) => TokenState::Spent(spent),
            Err(_) => TokenState::Reserved,
        }
    }

    /// The decision record of a refusal that stands (enforce), with its counters.
    pub fn refuse(&self, call: &Call, token: Option<&Verified>, refused: &Refused) {
        self.count_decision(call, Some(refused.code()));
        if refused.code() == Code::Reason(ReasonCode::ReplayDetected) {
            self.metrics.replays.inc();
        }
        self.record(&call.refused_event(token, refused));
    }

    pub(super) fn question<'a>(&self, call: &'a Call, token: &'a Verified, counted: Usage) -> Question<'a> {
        let listing =
            token.intent().map_or(decide::Listing::NoCatalog, |intent| self.listing(&call.store, &intent.variant));
        let revoked = self.revoked(call, token);
        Question {
            token,
            store: &call.store,
            needs: call.needs,
            policy: &call.policy,
            listing,
            revoked,
            counted,
            now: call.now,
        }
    }

    async fn reserve(
        &self,
        call: &Call,
        token: &Verified,
        permit: &Permit,
        asked: &Asked<'_>,
    ) -> Result<Reservation, Refused> {
        // In observe mode nothing is refused, so nothing may use up what enforcement counts.
        let enforced = call.rules.mode == Mode::Enforce;
        let (slot, retry) = (call.slot(token), asked.retry(call, token));
        let claim = Claim {
            slot: slot.clone(),
            trace: call.trace,
            issued: permit.issued(),
            agent: permit.agent().clone(),
            retry,
            purpose: asked.purpose(call, token).filter(|_| enforced),
            confirmed: asked.confirmed,
            limits: if enforced { permit.limits() } else { Limits::default() },
            amount: permit.amount(),
            // A call that passes unjudged all the same executes something nobody can tell of.
            if_unanswered: match self.outage(call) {
                Passage::Closed => Settlement::Released,
                Passage::Bypass => Settlement::Indeterminate,
            },
        };
        let started = self.clock.monotonic();
        let found = self.ledger.reserve(claim).await;
        self.count_reserve(&found, started);
        match found? {
            Reserve::First(reservation) => Ok(reservation),
            Reserve::Known(entry) => {
                if let (State::Spent(Spent::Burned), Some(mark), true) = (entry.state, asked.mark, enforced) {
                    self.front.remember(mark, token, entry.first);
                }
                Err(self.second(&slot, Again::of(&entry, retry.as_ref())).await)
            }
            Reserve::Busy(busy) => Err(Refused::Busy(Second::from(busy))),
            Reserve::Exceeded(exceeded) => Err(decide::over_limit(exceeded, permit, &call.policy).into()),
        }
    }

    /// The reserved record is durable before anything is sent. If it cannot be written, nothing is
    /// sent and the reservation goes back.
    async fn record_reserved(&self, call: &Call, token: &Verified, clearance: Clearance) -> Result<Clearance, Refused> {
        let written = match call.rules.mode {
            Mode::Enforce => self.evidence.append(&reserved_event(call, token, &clearance)),
            // Observing writes its one record itself, with what it found.
            Mode::Observe => return Ok(clearance),
        };
        match written {
            Ok(_receipt) => {
                self.count_decision(call, None);
                Ok(clearance)
            }
            Err(error) => {
                if let Err(lost) = self.ledger.settle(clearance.reservation, Settlement::Released, None).await {
                    tracing::warn!(trace = %call.trace, error = %lost, "reservation not given back");
                }
                Err(error.into())
            }
        }
    }

    fn count_reserve(&self, found: &Result<Reserve, LedgerError>, started: crate::clock::Monotonic) {
        let backend = self.ledger.backend();
        let result = match found {
            Ok(Reserve::First(_)) => "first",
            Ok(Reserve::Known(_)) => "known",
            Ok(Reserve::Busy(_)) => "busy",
            Ok(Reserve::Exceeded(_)) => "exceeded",
            Err(_) => "error",
        };
        self.metrics.ledger_operations.with_label_values(&[backend, "reserve", result]).inc();
        let seconds = self.clock.monotonic().seconds_since(started);
        self.metrics.ledger_duration.with_label_values(&[backend, "reserve"]).observe(seconds);
    }

    fn count_settlement(&self, call: &Call, settlement: Settlement) {
        let backend = self.ledger.backend();
        self.metrics.ledger_operations.with_label_values(&[backend, "settle", settlement.as_str()]).inc();
        if call.rules.mode == Mode::Observe {
            return;
        }
        match settlement {
            Settlement::Burned => {}
            Settlement::Released => self.metrics.released.inc(),
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

fn reserved_event(call: &Call, token: &Verified, clearance: &Clearance) -> Event {
    let mut event = call.event(EventKind::ExecutionReserved, Some(token));
    event.data.decision = Some("allowed");
    event.data.cause = match (clearance.permit.price_verified(), clearance.reservation.attempts()) {
        (false, 1) => Some("price:unverified".into()),
        (false, attempts) => Some(format!("price:unverified; ledger_attempts:{attempts}").into()),
        (true, 1) => None,
        (true, attempts) => Some(format!("ledger_attempts:{attempts}").into()),
    };
    event
}

fn settled_event(call: &Call, token: &Verified, ending: &Ending, settled: Result<Standing, LedgerError>) -> Event {
    let kind = match ending.settlement {
        Settlement::Burned => EventKind::ExecutionValidated,
        Settlement::Released => EventKind::ExecutionReleased,
        Settlement::Indeterminate => EventKind::ExecutionIndeterminate,
    };
    let mut event = call.event(kind, Some(token));
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
pub(super) fn order_event(call: &Call, token: Option<&Verified>, ending: &Ending) -> Option<Event> {
    let order = ending.order.id.clone()?;
    let mut event = call.event(EventKind::OrderObserved, token);
    event.data.order_id = Some(order.into());
    event.data.order_total = ending.order.total.clone().map(Into::into);
    event.data.order_status = ending.order.status.clone().map(Into::into);
    event.data.http_status = ending.status;
    Some(event)
}
