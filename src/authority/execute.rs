//! The heart: `Presented → Verified → Permit → Clearance → settled`. Shared by `/validate` and the
//! gateway. Burn last: every pure check comes before the irreversible step.

use crate::decide::policy::Mode;
use crate::decide::{self, Decision, Denial, Facts, Permit, Question};
use crate::evidence::Spool;
use crate::ledger::{Claim, Ledger, LedgerError, Namespace, Reservation, Reserve, Settlement};
use crate::model::event::{Event, EventKind, Text};
use crate::model::ids::{AgentId, TraceId};
use crate::model::reason::ReasonCode;
use crate::model::revocation::Kind;
use crate::protocol::deny::Code;
use crate::protocol::extract::OrderFacts;
use crate::quota::velocity::{Exceeded, Taken};
use crate::token::verify::{Presented, TokenFault, Verified};

use super::{Authority, Call, Refused};

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
    taken: Taken,
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
        decide::screen(&self.question(call, token))
    }

    /// Decides, reserves and records. What comes back may pass and must be settled.
    pub async fn clear(
        &self,
        call: &Call,
        token: &Verified,
        facts: Facts<'_>,
        holder: Holder<'_>,
    ) -> Result<Clearance, Refused> {
        let permit = match decide::decide(&self.question(call, token), facts) {
            Decision::Allow(permit) => permit,
            Decision::Deny(denial) => return Err(denial.into()),
        };
        own_token(holder, &permit)?;
        let taken = self.count_order(call, &permit)?;
        match self.reserve(call, &permit).await {
            Ok(reservation) => self.record_reserved(call, token, Clearance { permit, reservation, taken }).await,
            Err(refused) => {
                self.velocity.give_back(taken);
                Err(refused)
            }
        }
    }

    /// Records how a cleared execution ended, in the ledger and then in evidence. In observe mode
    /// the observation was the record; the ledger's own namespace is settled all the same.
    pub async fn settle(&self, call: &Call, token: &Verified, clearance: Clearance, ending: &Ending) {
        let Clearance { reservation, taken, .. } = clearance;
        let settled = self.ledger.settle(reservation, ending.settlement).await;
        if ending.settlement == Settlement::Released {
            self.velocity.give_back(taken);
        }
        self.count_settlement(call, ending.settlement);
        if let Err(error) = settled {
            tracing::error!(trace = %call.trace, %error, settlement = ending.settlement.as_str(), "settlement not in the ledger");
        }
        if call.rules.mode == Mode::Enforce {
            self.record(&settled_event(call, token, ending, settled.is_ok()).at(self.clock.now()));
        }
        self.observe_order(call, Some(token), ending);
    }

    /// The decision record of a refusal that stands (enforce), with its counters.
    pub fn refuse(&self, call: &Call, token: Option<&Verified>, refused: &Refused) {
        self.count_decision(call, Some(refused.code()));
        if refused.code() == Code::Reason(ReasonCode::ReplayDetected) {
            self.metrics.replays.inc();
        }
        self.record(&call.refused_event(token, refused));
    }

    pub(super) fn question<'a>(&self, call: &'a Call, token: &'a Verified) -> Question<'a> {
        let listing =
            token.intent().map_or(decide::Listing::NoCatalog, |intent| self.listing(&call.store, &intent.variant));
        Question {
            token,
            store: &call.store,
            needs: call.needs,
            policy: &call.policy,
            listing,
            revoked: self.revoked(call, token),
            orders_last_hour: self.orders_last_hour(call, token.agent()),
            now: call.now,
        }
    }

    fn count_order(&self, call: &Call, permit: &Permit) -> Result<Taken, Denial> {
        // In observe mode nothing is refused, so nothing may use up what enforcement counts.
        let limit = call.policy.orders_per_hour().filter(|_| call.rules.mode == Mode::Enforce);
        self.velocity.take(&call.store, permit.agent(), limit, self.clock.monotonic()).map_err(|exceeded| {
            let (orders, limit) = match exceeded {
                Exceeded::Limit { orders, limit } => (orders.to_string(), limit.to_string()),
                Exceeded::NoRoom => ("too many agents at once".to_owned(), limit.unwrap_or_default().to_string()),
            };
            Denial::by(ReasonCode::PolicyDenied, "velocity.orders_per_hour").found(orders, limit)
        })
    }

    async fn reserve(&self, call: &Call, permit: &Permit) -> Result<Reservation, Refused> {
        let namespace = match call.rules.mode {
            Mode::Enforce => Namespace::Enforce,
            Mode::Observe => Namespace::Observe,
        };
        let claim = Claim {
            namespace,
            store: call.store.clone(),
            jti: permit.jti(),
            issued: permit.issued(),
            trace: call.trace,
        };
        let started = self.clock.monotonic();
        let found = self.ledger.reserve(claim).await;
        self.count_reserve(&found, started);
        match found? {
            Reserve::First(reservation) => Ok(reservation),
            Reserve::InFlight { first } => Err(Refused::InFlight { first }),
            Reserve::Spent { first, .. } => Err(replayed(first).into()),
        }
    }

    /// The reserved record is durable before anything is sent. If it cannot be written, nothing is
    /// sent and the reservation goes back.
    async fn record_reserved(&self, call: &Call, token: &Verified, clearance: Clearance) -> Result<Clearance, Refused> {
        let written = match call.rules.mode {
            Mode::Enforce => self.evidence.append(&reserved_event(call, token, &clearance.permit)),
            // Observing writes its one record itself, with what it found.
            Mode::Observe => return Ok(clearance),
        };
        match written {
            Ok(_receipt) => {
                self.count_decision(call, None);
                Ok(clearance)
            }
            Err(error) => {
                let Clearance { reservation, taken, .. } = clearance;
                self.velocity.give_back(taken);
                if let Err(lost) = self.ledger.settle(reservation, Settlement::Released).await {
                    tracing::warn!(trace = %call.trace, error = %lost, "reservation not given back");
                }
                Err(error.into())
            }
        }
    }

    fn count_reserve(&self, found: &Result<Reserve, LedgerError>, started: crate::clock::Monotonic) {
        let health = self.ledger.health();
        let result = match found {
            Ok(Reserve::First(_)) => "first",
            Ok(Reserve::InFlight { .. }) => "in_flight",
            Ok(Reserve::Spent { .. }) => "spent",
            Err(_) => "error",
        };
        self.metrics.ledger_operations.with_label_values(&[health.backend, "reserve", result]).inc();
        let seconds = self.clock.monotonic().seconds_since(started);
        self.metrics.ledger_duration.with_label_values(&[health.backend, "reserve"]).observe(seconds);
    }

    fn count_settlement(&self, call: &Call, settlement: Settlement) {
        let backend = self.ledger.health().backend;
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

fn own_token(holder: Holder<'_>, permit: &Permit) -> Result<(), Denial> {
    match holder {
        Holder::Agent(caller) if caller != permit.agent() => Err(Denial::by(ReasonCode::PolicyDenied, "token.subject")),
        Holder::Agent(_) | Holder::Merchant => Ok(()),
    }
}

fn replayed(first: TraceId) -> Denial {
    Denial::of(ReasonCode::ReplayDetected).found(format!("first used by {first}"), "one use")
}

fn reserved_event(call: &Call, token: &Verified, permit: &Permit) -> Event {
    let mut event = call.event(EventKind::ExecutionReserved, Some(token));
    event.data.decision = Some("allowed");
    if !permit.price_verified() {
        event.data.cause = Some("price:unverified".into());
    }
    event
}

fn settled_event(call: &Call, token: &Verified, ending: &Ending, in_ledger: bool) -> Event {
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
    data.cause =
        Some(if in_ledger { ending.cause.clone() } else { format!("{}; not in the ledger", ending.cause).into() });
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

impl Authority {
    /// `/validate`: the whole execution without a request to send. The burn is the execution.
    pub async fn validate(&self, call: &Call, token: Presented<'_>, holder: Holder<'_>) -> Result<Verified, Refused> {
        let token = match self.verify(token, call) {
            Ok(token) => token,
            Err((denial, known)) => {
                let refused = denial.into();
                self.refuse(call, known.as_deref(), &refused);
                return Err(refused);
            }
        };
        match self.clear(call, &token, Facts::NotVisible, holder).await {
            Ok(clearance) => {
                let ending = Ending {
                    settlement: Settlement::Burned,
                    status: None,
                    cause: "validated".into(),
                    order: OrderFacts::default(),
                    client_gone: false,
                };
                self.settle(call, &token, clearance, &ending).await;
                Ok(token)
            }
            Err(refused) => {
                self.refuse(call, Some(&token), &refused);
                Err(refused)
            }
        }
    }

    #[must_use]
    pub fn evidence(&self) -> &Spool {
        &self.evidence
    }
}
