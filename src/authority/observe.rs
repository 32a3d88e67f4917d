//! The observe lane: what passes without a judgement that blocks, and the record of it.

use crate::decide;
use crate::decide::policy::Mode;
use crate::detect::{AgentSignal, Presence};
use crate::evidence::{Foldable, SpoolError};
use crate::model::event::{Event, EventKind, Text};
use crate::model::money::Price;
use crate::model::reason::ReasonCode;

use super::cart::Cart;
use super::execute::{Ending, order_event};
use super::{Authority, Call, CannotDecide, Refused};

/// What an observation saw.
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    /// The tokens, only if they were verified.
    pub cart: Option<&'a Cart>,
    /// What enforcement would have refused.
    pub would_deny: Option<&'a Refused>,
    /// More about it: `noncanonical`, why nothing could be read.
    pub cause: Option<Text>,
}

impl Authority {
    /// Records a request that passes. On routes that only observe, a full spool never blocks: the
    /// loss is a gap. On enforced routes it is an outage like any other.
    pub async fn observe(&self, call: &Call, observed: &Observed<'_>) -> Result<(), CannotDecide> {
        let event = observed_event(call, observed);
        let written = match observed.cart {
            Some(_) => self.write(&event).await,
            None => self.write_or_fold(call, &event).await,
        };
        if observed.cart.is_none() {
            let route = call.route.as_deref().unwrap_or("none");
            let signal = call.presence.as_deref().map_or(AgentSignal::None, Presence::signal);
            self.metrics.tokenless.with_label_values(&[route, signal.label()]).inc();
        }
        match (written, call.rules.mode) {
            (Ok(()), _) => Ok(()),
            (Err(error), Mode::Enforce) => Err(error.into()),
            (Err(error), Mode::Observe) => {
                self.gap(call, &error);
                Ok(())
            }
        }
    }

    /// Writes an event, and waits for the disk where the class of evidence asks for it.
    pub(super) async fn write(&self, event: &Event) -> Result<(), SpoolError> {
        let receipt = self.evidence.written(self.evidence.place(event)?).await?;
        self.evidence.secure(receipt).await
    }

    /// The same of a request without a token: very many of one caller are told as one while there is
    /// little room.
    async fn write_or_fold(&self, call: &Call, event: &Event) -> Result<(), SpoolError> {
        let Some(placed) = self.evidence.place_or_fold(event, call.caller.clone(), Foldable::UnderPressure)? else {
            return Ok(());
        };
        let receipt = self.evidence.written(placed).await?;
        self.evidence.secure(receipt).await
    }

    /// Records a request that passes unjudged because the policy prefers that to an outage.
    pub fn bypass(&self, call: &Call, cart: Option<&Cart>, cannot: &CannotDecide) {
        self.metrics.bypassed.with_label_values(&[cannot.fault().as_str()]).inc();
        let mut event = call.decision(EventKind::ExecutionBypassed, cart, None);
        event.data.decision = Some("bypassed");
        event.data.cause = Some(format!("{}: {cannot}", cannot.fault()).into());
        self.record(&event);
    }

    /// Records the order that the answer to an unjudged request tells of, if it tells of one.
    pub async fn record_order(&self, call: &Call, cart: Option<&Cart>, ending: &Ending) {
        if let Some(event) = order_event(call, cart, ending) {
            self.secured(self.place_all([event.at(self.clock.now())])).await;
        }
    }

    /// The same of an answer that passes by.
    pub fn observe_order(&self, call: &Call, ending: &Ending) {
        if let Some(event) = order_event(call, None, ending) {
            self.record(&event.at(self.clock.now()));
        }
    }

    /// Compares the order that an answer tells of with what was authorised and read: between a read
    /// and a commit a session can be changed elsewhere (README decision 15).
    pub(super) fn check_order(&self, call: &Call, cart: &Cart, read_total: Option<Price>, ending: &Ending) {
        if ending.order.id.is_none() {
            return;
        }
        let tokens = cart.tokens();
        let intents = tokens.try_map(|token| token.intent().ok_or(()));
        let diff = intents.ok().and_then(|intents| decide::drift(&intents, read_total, &ending.order));
        let result = match &diff {
            None => "not_told",
            Some(diff) if diff.is_empty() => "same",
            Some(_) => "drifted",
        };
        self.metrics.order_checks.with_label_values(&[result]).inc();
        let Some(diff) = diff.filter(|diff| !diff.is_empty()) else { return };
        let mut event = call.event_of(EventKind::OrderDrifted, Some(cart), None);
        event.data.order_id = ending.order.id.clone().map(Into::into);
        event.data.diff = diff;
        self.record(&event.at(self.clock.now()));
    }

    /// The `observe` call of the execution API: an agent tells of what it does without a token.
    pub async fn observe_call(&self, call: &Call, mut event: Event) -> Result<(), CannotDecide> {
        event.data.decision = Some("observed");
        event.data.stage = Some("observe");
        event.data.store_id = Some(call.store.clone());
        self.write(&event).await.map_err(Into::into)
    }

    fn gap(&self, call: &Call, error: &SpoolError) {
        self.metrics.evidence_gaps.with_label_values(&["observe_spool"]).inc();
        tracing::error!(trace = %call.trace, %error, "observed request not recorded");
    }
}

fn observed_event(call: &Call, observed: &Observed<'_>) -> Event {
    let about = observed.would_deny.and_then(Refused::token);
    let mut event = call.decision(EventKind::ExecutionObserved, observed.cart, about);
    let data = &mut event.data;
    data.decision = Some("observed");
    data.cause.clone_from(&observed.cause);
    match observed.would_deny {
        Some(Refused::Denied(denial)) => {
            data.would_deny = Some(denial.reason);
            data.rule = denial.rule.clone();
            data.observed = denial.observed.clone();
            data.limit = denial.limit.clone();
            data.diff = denial.diff.clone();
        }
        Some(other) => data.cause = Some(other.code().as_str().into()),
        None if observed.cart.is_none() => data.would_deny = Some(ReasonCode::NoToken),
        None => {}
    }
    event
}
