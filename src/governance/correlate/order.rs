//! An order, as the store told of it.

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::evidence::{Body, Clues, LineSeen, SignalSeen, StoredEvent};
use crate::governance::correlate::Judgement;
use crate::governance::rating::Known;
use crate::model::event::{Event, EventKind};
use crate::model::ids::{Correlation, StoreId, TraceId};
use crate::model::money::Price;
use crate::model::signal::{Signal, State};
use crate::model::time::Timestamp;

/// Signals of an order, by the names that are recorded.
const SIGNALS: [&str; 3] = ["sales_channel", "utm_source", "referrer"];

/// An order and what was judged of it so far.
#[derive(Clone, Debug)]
pub struct Order {
    pub store: StoreId,
    pub id: String,
    pub refs: BTreeSet<String>,
    pub carried: BTreeSet<String>,
    pub lines: Option<Vec<LineSeen>>,
    /// It has more lines than are recorded.
    pub cut: bool,
    pub total: Option<Price>,
    pub time: Timestamp,
    pub signals: Vec<Signal>,
    pub channel: Option<String>,
    /// Of the call that told of it first.
    pub(super) trace: TraceId,
    pub(super) correlation: Correlation,
    pub(super) told_by: Option<Uuid>,
    pub(super) judged: Option<Judged>,
}

/// A judgement as it is in the log.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    pub(super) event: Option<Uuid>,
    execution: Option<String>,
    level: String,
    flags: Vec<String>,
    signals: Vec<(String, String, Option<String>)>,
}

impl Judged {
    fn of(body: &Body<'_>, own: &str) -> Self {
        let told = |signal: &SignalSeen<'_>| (signal.name.to_owned(), signal.state.to_owned(), signal.value.clone());
        Self {
            event: Uuid::try_parse(body.id).ok(),
            execution: Some(body.correlation).filter(|correlation| *correlation != own).map(str::to_owned),
            level: body.data.level.unwrap_or_default().to_owned(),
            flags: body.data.flags.clone(),
            signals: body.data.signals.iter().map(told).collect(),
        }
    }

    /// True when the log says this already.
    pub(super) fn says(&self, judgement: &Judgement) -> bool {
        let rating = &judgement.rating;
        let told = |signal: &Signal| {
            let value = signal.value.as_ref().map(|value| value.clone().into_owned());
            (signal.name.to_owned(), signal.state.as_str().to_owned(), value)
        };
        self.execution == judgement.execution
            && self.level == rating.level.as_str()
            && self.flags == rating.flags
            && self.signals == rating.signals.iter().map(told).collect::<Vec<_>>()
    }
}

impl Order {
    /// The order that these events are about; `None` where the store itself never told of it.
    #[must_use]
    pub fn of(events: &[StoredEvent]) -> Option<Self> {
        let bodies: Vec<_> = events.iter().filter_map(StoredEvent::read).collect();
        let told: Vec<_> = bodies.iter().filter(|body| is_told(body)).collect();
        let first = told.first()?;
        let mut order = Self {
            store: StoreId::parse(first.data.store_id?).ok()?,
            id: first.data.order_id.clone()?,
            refs: BTreeSet::new(),
            carried: BTreeSet::new(),
            lines: None,
            cut: false,
            total: None,
            time: Timestamp::parse(first.time)?,
            signals: Vec::new(),
            channel: None,
            trace: TraceId::parse(first.data.trace_id?)?,
            correlation: Correlation::parse(first.correlation)?,
            told_by: told.iter().find(|body| body.kind() != Some(EventKind::AttributionIngested)).and_then(id_of),
            judged: None,
        };
        told.iter().for_each(|body| order.hear(body));
        let judgement = bodies.iter().rev().find(|body| is_judgement(body));
        order.judged = judgement.map(|body| Judged::of(body, first.correlation));
        Some(order)
    }

    fn hear(&mut self, body: &Body<'_>) {
        let data = &body.data;
        self.refs.extend(data.refs.iter().map(|name| (*name).to_owned()));
        self.carried.extend(data.carried.map(str::to_owned));
        // What was bought is what was ordered at first: a later edit is a matter of the store's.
        if self.lines.is_none() {
            self.lines.clone_from(&data.lines);
            self.cut = data.count.is_some();
        }
        self.total = self.total.or_else(|| data.order_total.as_deref().and_then(Price::parse_text));
        if body.kind() == Some(EventKind::AttributionIngested) {
            self.signals = data.signals.iter().filter_map(signal_of).collect();
            self.channel.clone_from(&data.channel);
        }
    }

    /// What could join it to an execution.
    #[must_use]
    pub fn clues(&self) -> Clues {
        let only = self.lines.as_deref().and_then(|lines| if let [only] = lines { Some(only) } else { None });
        let bought = only.and_then(|line| Some((line.variant_id.clone()?, line.quantity, self.time)));
        Clues {
            store: self.store.to_string(),
            order: self.id.clone(),
            refs: self.refs.clone(),
            carried: self.carried.clone(),
            bought,
        }
    }

    /// What is known of it without any execution.
    pub(super) fn alone(&self) -> Known {
        Known { signals: self.signals.clone(), ..Known::default() }
    }

    /// An event about it.
    pub(super) fn event(&self, kind: EventKind, now: Timestamp, trace: TraceId) -> Event {
        let mut event = Event::new(kind, now, trace);
        event.data.store_id = Some(self.store.clone());
        event.data.order_id = Some(self.id.clone().into());
        event.data.stage = Some("reconcile");
        event
    }
}

/// Told by the store itself, and not read from an answer that passed a gateway.
pub(super) fn is_told(body: &Body<'_>) -> bool {
    body.data.stage == Some("webhook")
}

pub(super) fn is_judgement(body: &Body<'_>) -> bool {
    use EventKind::{OrderCorrelated, OrderCorrelationRevised, OrderUnmatched};
    matches!(body.kind(), Some(OrderCorrelated | OrderUnmatched | OrderCorrelationRevised))
}

fn id_of(body: &&Body<'_>) -> Option<Uuid> {
    Uuid::try_parse(body.id).ok()
}

fn signal_of(seen: &SignalSeen<'_>) -> Option<Signal> {
    let name = SIGNALS.into_iter().find(|name| *name == seen.name)?;
    let states = [State::Verified, State::Present, State::Absent, State::Malformed, State::FeatureOff];
    let state = states.into_iter().find(|state| state.as_str() == seen.state)?;
    Some(Signal { value: seen.value.clone().map(Into::into), ..Signal::new(name, state) })
}
