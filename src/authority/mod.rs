//! Floor 5: the authorization lane. Use cases over the floors below; no HTTP and no files.
//!
//! A denial is a value. [`CannotDecide`] is the lane's only error, and [`Authority::outage`] is the
//! only place that chooses between closed and open when it happens (README decision 7).

pub mod authorize;
pub mod cart;
pub mod execute;
pub mod introspect;
pub mod observe;
pub mod orders;
pub mod policies;
pub mod recover;
mod reserve;
pub mod retry;
pub mod revoke;
pub mod traced;
pub mod validate;

use std::sync::Arc;

use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::decide::policy::{OnUnavailable, Policy, RouteRules};
use crate::decide::velocity::Usage;
use crate::decide::{Denial, Listing};
use crate::detect::Presence;
use crate::evidence::{Caller, Foldable, NotAll, Placed, Receipt, Spool, SpoolError};
use crate::keystore::signing::SigningKeys;
use crate::ledger::front::Front;
use crate::ledger::{AnyLedger, Ledger, LedgerError};
use crate::model::event::{Event, EventKind};
use crate::model::ids::{AgentId, Jti, StoreId, TraceId, VariantId};
use crate::model::intent::Sha256;
use crate::model::reason::{Fault, ReasonCode};
use crate::model::scope::Scope;
use crate::model::time::Timestamp;
use crate::model::trace_parent::TraceParent;
use crate::protocol::deny::{Code, Refusal};
use crate::reload::Reloaded;
use crate::revocation::KillSwitch;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Traces;
use crate::token::keys::KeyRing;
use crate::token::verify::Verified;

use cart::Cart;
use execute::TokenState;
use policies::PolicyBook;
use retry::Second;
use traced::Traced;

/// Everything that judges and records. One for a process, shared by reference.
pub struct Authority {
    pub clock: Clock,
    pub ledger: AnyLedger,
    /// Tokens that are known to be burned, in front of the ledger.
    pub front: Front,
    pub evidence: Arc<Spool>,
    pub metrics: Arc<Metrics>,
    /// Gets each request that is over, where somebody collects them.
    pub traces: Option<Arc<Traces>>,
    /// The keys whose tokens are taken.
    pub keys: Arc<Reloaded<KeyRing>>,
    /// The keys that sign and are published; `None` in a process that issues nothing.
    pub issuer: Option<Arc<Reloaded<SigningKeys>>>,
    pub policies: Arc<PolicyBook>,
    pub catalog: Arc<Catalog>,
    pub revocations: Arc<KillSwitch>,
    /// Told when a token names a key that is not in the ring.
    pub unknown_key: Arc<tokio::sync::Notify>,
}

/// Where a judgement is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    Authorize,
    Validate,
    Gateway,
}

impl Stage {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::Validate => "validate",
            Self::Gateway => "gateway",
        }
    }
}

/// One call: its instant, its store and one snapshot of that store's policy.
#[derive(Clone)]
pub struct Call {
    pub trace: TraceId,
    /// The caller's own name for its trace: recorded, never joined by.
    pub trace_parent: Option<TraceParent>,
    /// Where it is noted how long each step takes, if anybody wants to know.
    pub traced: Option<Traced>,
    /// Whose refusals are counted together when there are very many.
    pub caller: Caller,
    pub now: Timestamp,
    pub stage: Stage,
    pub store: StoreId,
    pub policy: Arc<Policy>,
    /// The rules of the route, or of the store where there is no route.
    pub rules: RouteRules,
    pub route: Option<Arc<str>>,
    /// The scope that this call needs.
    pub needs: Scope,
    /// Who seems to be calling, where somebody looked.
    pub presence: Option<Arc<Presence>>,
    /// Digests of the cart, checkout and session that the call names.
    pub refs: Vec<Sha256>,
}

/// What stood in the way of a judgement. Never a refusal by itself.
#[derive(Debug, thiserror::Error)]
pub enum CannotDecide {
    #[error("the ledger did not answer")]
    Ledger(#[from] LedgerError),
    #[error("evidence cannot be written")]
    Evidence(#[from] SpoolError),
    /// The merchant's session could not be read; the text says why.
    #[error("the checkout session could not be read: {0}")]
    Session(&'static str),
}

impl CannotDecide {
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Ledger(LedgerError::Quarantine { .. }) => Fault::LedgerQuarantine,
            Self::Ledger(_) => Fault::LedgerUnavailable,
            Self::Evidence(_) => Fault::EvidenceUnavailable,
            Self::Session(_) => Fault::SessionUnavailable,
        }
    }

    fn retry_after_s(&self) -> u64 {
        match self {
            Self::Ledger(LedgerError::Quarantine { retry_after_s }) => *retry_after_s,
            _ => 1,
        }
    }
}

/// Why a call does not get what it wants.
#[derive(Debug)]
pub enum Refused {
    Denied(Denial),
    /// Another call came first, and this is no theft.
    Second(Second),
    /// Another call with another token has the same purpose; this token is unused.
    Busy(Second),
    Cannot(CannotDecide),
    /// One token of a cart is refused, and another that was reserved before it could not be given back.
    Spoiled(Box<Self>, TokenState),
}

impl From<Denial> for Refused {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

impl From<LedgerError> for Refused {
    fn from(error: LedgerError) -> Self {
        Self::Cannot(error.into())
    }
}

impl From<SpoolError> for Refused {
    fn from(error: SpoolError) -> Self {
        Self::Cannot(error.into())
    }
}

impl Refused {
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Denied(denial) => Code::Reason(denial.reason),
            Self::Second(Second::InFlight { .. }) | Self::Busy(Second::InFlight { .. }) => Code::Fault(Fault::InFlight),
            Self::Second(Second::Answered { .. }) | Self::Busy(Second::Answered { .. }) => {
                Code::Fault(Fault::AlreadyExecuted)
            }
            Self::Second(Second::Unknown { .. }) | Self::Busy(Second::Unknown { .. }) => {
                Code::Fault(Fault::OutcomeUnknown)
            }
            Self::Cannot(cannot) => Code::Fault(cannot.fault()),
            Self::Spoiled(refused, _) => refused.code(),
        }
    }

    /// What the caller is told.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        let plain = Refusal::of(self.code());
        match self {
            Self::Denied(denial) => Refusal {
                status: retry::status(denial).unwrap_or(plain.status),
                rule: denial.rule.as_ref().map(ToString::to_string),
                observed: denial.observed.as_ref().map(ToString::to_string),
                limit: denial.limit.as_ref().map(ToString::to_string),
                diff: denial.diff.clone(),
                ..plain
            },
            Self::Second(second) => second.refusal(plain),
            Self::Busy(second) => Refusal { token_state: Some("unused"), ..second.refusal(plain) },
            Self::Cannot(cannot) => Refusal { retry_after_s: Some(cannot.retry_after_s()), ..plain },
            Self::Spoiled(refused, state) => Refusal { token_state: Some(state.as_str()), ..refused.refusal() },
        }
    }
}

/// What happens to a call that could not be judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Passage {
    Closed,
    /// It passes unjudged, and that is recorded.
    Bypass,
}

impl Authority {
    /// The one place that chooses between closed and open.
    #[must_use]
    pub fn outage(&self, call: &Call) -> Passage {
        match call.rules.on_unavailable {
            OnUnavailable::Deny => Passage::Closed,
            OnUnavailable::AllowAndRecord => Passage::Bypass,
        }
    }

    fn listing(&self, store: &StoreId, variant: &VariantId) -> Listing {
        self.catalog.listing(store, variant)
    }

    /// What was counted for an agent, and that a token issued now would be taken: asked before a
    /// token is issued.
    async fn usage(&self, call: &Call, agent: &AgentId) -> Result<Usage, LedgerError> {
        let usage = self.ledger.usage(&call.store, agent, call.now).await?;
        // Counts of a policy that was changed since limit nothing.
        Ok(if call.policy.velocity().any() { usage } else { Usage::default() })
    }

    fn count_decision(&self, call: &Call, code: Option<Code>) {
        let decision = if code.is_none() { "allowed" } else { "denied" };
        let reason = code.map_or("none", Code::as_str);
        let labels = [call.stage.as_str(), decision, reason, call.rules.mode.as_str()];
        self.metrics.decisions.with_label_values(&labels).inc();
    }

    /// Writes an event that nothing waits for. A loss is counted by the spool and becomes a
    /// declared gap; the refusal that it tells of stands all the same.
    fn record(&self, event: &Event) -> Option<Receipt> {
        let written = self.evidence.append(event);
        written.inspect_err(|error| tracing::warn!(kind = event.kind.name(), %error, "event not recorded")).ok()
    }

    /// The same of a refusal: many of one caller are told as one.
    fn record_refusal(&self, event: &Event, caller: Caller) {
        if let Err(error) = self.evidence.append_or_fold(event, caller, Foldable::Always) {
            tracing::warn!(kind = event.kind.name(), %error, "refusal not recorded");
        }
    }

    /// As [`Self::record`]; they are written when somebody waits for that, with whatever else waits.
    fn place_all(&self, events: impl IntoIterator<Item = Event>) -> Option<Placed> {
        match self.evidence.place_all(events) {
            Ok(placed) => placed.map(|(last, _written)| last),
            Err(NotAll { error, .. }) => {
                tracing::warn!(%error, "event not recorded");
                None
            }
        }
    }

    /// Waits until it is written, and for the disk where the class of evidence asks for that; without it,
    /// what was executed is told to its caller all the same.
    async fn secured(&self, placed: Option<Placed>) {
        let Some(placed) = placed else { return };
        let secured = match self.evidence.written(placed).await {
            Ok(receipt) => self.evidence.secure(receipt).await,
            Err(error) => Err(error),
        };
        if let Err(error) = secured {
            tracing::warn!(%error, "an outcome is not safe on the disk");
        }
    }
}

impl Call {
    /// An event of this call with what is known of every call. `token` only if it was verified.
    #[must_use]
    pub fn event(&self, kind: EventKind, token: Option<&Verified>) -> Event {
        let mut event = Event::new(kind, self.now, self.trace);
        event.trace_parent = self.trace_parent;
        let data = &mut event.data;
        data.stage = Some(self.stage.as_str());
        data.store_id = Some(self.store.clone());
        data.route = self.route.clone();
        data.enforcement = Some(self.rules.mode.as_str());
        data.policy_hash = Some(self.policy.hash());
        data.refs = self.refs.clone();
        let Some(token) = token else { return event };
        data.agent_id = Some(token.agent().clone());
        data.expires_at = Some(token.expires());
        data.scope = token.scope();
        data.intent_hash = token.intent_hash();
        if let Some(intent) = token.intent() {
            data.variant_id = Some(intent.variant.to_string().into());
            data.quantity = Some(intent.quantity.get());
            data.price = Some(intent.price.to_string().into());
        }
        event.of_token(token.jti())
    }

    /// An event of one token of a cart, in the cart's execution; of its first token where it is about
    /// none of them alone.
    #[must_use]
    fn event_of(&self, kind: EventKind, cart: Option<&Cart>, jti: Option<Jti>) -> Event {
        let Some(cart) = cart else { return self.event(kind, None) };
        let leader = cart.leader();
        let token = jti.map_or(leader, |jti| &cart.held(jti).token);
        self.event(kind, Some(token)).in_execution(leader.jti())
    }

    /// A record of what was decided: an event that also tells who seems to be calling.
    fn decision(&self, kind: EventKind, cart: Option<&Cart>, jti: Option<Jti>) -> Event {
        let mut event = self.event_of(kind, cart, jti);
        if let Some(presence) = self.presence.as_deref() {
            presence.tell(cart.is_some(), &mut event.data);
        }
        event
    }

    /// The decision record of a refusal.
    #[must_use]
    pub fn refused_event(&self, cart: Option<&Cart>, refused: &Refused) -> Event {
        let kind = match (refused, refused.code().reason()) {
            (Refused::Second(_) | Refused::Busy(_), _) => EventKind::ExecutionRetried,
            (_, Some(ReasonCode::ReplayDetected)) => EventKind::ExecutionReplayDetected,
            (_, Some(ReasonCode::TokenExpired)) => EventKind::ExecutionExpired,
            _ => EventKind::ExecutionDenied,
        };
        let mut event = self.decision(kind, cart, refused.token());
        event.data.decision =
            Some(if matches!(refused, Refused::Second(_) | Refused::Busy(_)) { "retried" } else { "denied" });
        event.data.reason_code = refused.code().reason();
        match refused {
            Refused::Denied(denial) => {
                event.data.rule = denial.rule.clone();
                event.data.observed = denial.observed.clone();
                event.data.limit = denial.limit.clone();
                event.data.diff = denial.diff.clone();
            }
            Refused::Second(second) | Refused::Busy(second) => event.data.cause = Some(second.told().into()),
            Refused::Cannot(cannot) => event.data.cause = Some(format!("{}: {cannot}", cannot.fault()).into()),
            Refused::Spoiled(refused, state) => {
                event = self.refused_event(cart, refused);
                event.data.cause = Some(format!("another token of the cart is {}", state.as_str()).into());
            }
        }
        event
    }
}
