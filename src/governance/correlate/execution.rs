//! An execution that an order may be, and how the two compare.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::{Body, LineSeen, StoredEvent};
use crate::governance::rating::{Agreement, Known};
use crate::model::event::EventKind;
use crate::model::ids::{Jti, TraceId};
use crate::model::money::Price;
use crate::model::signal::{Signal, State};
use crate::model::time::Timestamp;

use super::order::{Order, is_judgement, is_told};

/// How far apart in time a sighting and an order may be, in milliseconds.
const NEAR_MS: i64 = 600_000;

/// What the log holds about one execution.
#[derive(Debug, Default)]
pub(super) struct Execution {
    /// `exec_…`.
    pub(super) name: String,
    /// What its tokens allow, by their ids.
    tokens: BTreeMap<String, Allowed>,
    /// A token was used up, or may have been.
    used: bool,
    /// The call whose answer was lost, while no order shows how it ended.
    pub(super) lost: Option<(TraceId, Jti)>,
    traces: BTreeSet<String>,
    refs: BTreeSet<String>,
    /// Orders that the store's own answers named.
    answered: BTreeSet<String>,
    /// Orders that it was judged to be, and was not denied to be later.
    judged: BTreeSet<String>,
    /// What a caller without a token said that it buys.
    sighting: Option<(String, u32, Timestamp)>,
    signals: Vec<Signal>,
}

#[derive(Debug)]
struct Allowed {
    variant: String,
    quantity: u32,
    price: Price,
}

/// The executions of these events, in the order in which they were first heard of.
pub(super) fn executions(events: &[StoredEvent]) -> Vec<Execution> {
    let mut found: Vec<Execution> = Vec::new();
    let bodies: Vec<_> = events.iter().filter_map(StoredEvent::read).filter(|body| !is_told(body)).collect();
    for body in &bodies {
        let known = found.iter_mut().find(|execution| execution.name == body.correlation);
        match known {
            Some(execution) => execution.hear(body),
            None => {
                let mut execution = Execution { name: body.correlation.to_owned(), ..Execution::default() };
                execution.hear(body);
                found.push(execution);
            }
        }
    }
    // A token is issued in an execution of its own name; what was said then counts where it was used.
    let of_tokens: Vec<_> = bodies.iter().filter_map(|body| Some((body.data.token_id?, &body.data.refs))).collect();
    for execution in &mut found {
        let own = of_tokens.iter().filter(|(token, _)| execution.tokens.contains_key(*token));
        execution.refs.extend(own.flat_map(|(_, refs)| refs.iter().map(|name| (*name).to_owned())));
    }
    found.retain(|execution| !execution.traces.is_empty());
    found
}

impl Execution {
    fn hear(&mut self, body: &Body<'_>) {
        use EventKind::{
            ExecutionIndeterminate, ExecutionObserved, ExecutionResolved, ExecutionValidated, OrderObserved,
        };
        let data = &body.data;
        if is_judgement(body) {
            self.remember_judgement(body);
            return;
        }
        self.traces.extend(data.trace_id.map(str::to_owned));
        self.refs.extend(data.refs.iter().map(|name| (*name).to_owned()));
        self.allow(body);
        self.signals.extend(caller(body));
        match body.kind() {
            Some(ExecutionValidated) => self.used = true,
            Some(ExecutionIndeterminate) => {
                self.used = true;
                let call = data.trace_id.and_then(TraceId::parse).zip(data.token_id.and_then(Jti::parse));
                self.lost = self.lost.or(call);
            }
            Some(ExecutionResolved) => self.lost = None,
            Some(ExecutionObserved) if data.token_id.is_none() => {
                let bought = data.variant_id.clone().zip(data.quantity).zip(Timestamp::parse(body.time));
                self.sighting = bought.map(|((variant, quantity), time)| (variant, quantity, time));
            }
            _ => {}
        }
        if matches!(body.kind(), Some(ExecutionValidated | OrderObserved)) {
            self.answered.extend(data.order_id.clone());
        }
    }

    fn allow(&mut self, body: &Body<'_>) {
        let data = &body.data;
        let told = data.token_id.zip(data.variant_id.clone()).zip(data.quantity);
        let price = data.price.as_deref().and_then(Price::parse_text);
        if let Some((((token, variant), quantity), price)) = told.zip(price) {
            self.tokens.entry(token.to_owned()).or_insert(Allowed { variant, quantity, price });
        }
    }

    fn remember_judgement(&mut self, body: &Body<'_>) {
        let Some(order) = body.data.order_id.clone() else { return };
        if matches!(body.data.level, Some("proven" | "strong" | "probable")) {
            self.judged.insert(order);
        } else {
            self.judged.remove(&order);
        }
    }

    /// What is known of this order being this execution.
    pub(super) fn known(&self, order: &Order) -> Known {
        let lines = order.lines.as_deref().filter(|_| !self.tokens.is_empty());
        let others = self.answered.iter().chain(&self.judged).any(|other| *other != order.id);
        let answered = self.answered.contains(&order.id);
        Known {
            used: self.used,
            carried: order.carried.contains(&self.name) || !order.carried.is_disjoint(&self.traces),
            answered,
            referred: !order.refs.is_disjoint(&self.refs),
            items: lines.map_or(Agreement::Untold, |lines| self.items(lines, order.cut)),
            price: lines.map_or(Agreement::Untold, |lines| self.price(lines)),
            currency: self.currency(order),
            above: lines.is_some_and(|lines| self.is_exceeded(lines)),
            of_another_order: self.used && others && !answered,
            sighted: self.is_sighting(order),
            signals: order.signals.iter().chain(&self.signals).cloned().collect(),
        }
    }

    /// Lines of the same variant are one purchase, on either side.
    fn items(&self, lines: &[LineSeen], cut: bool) -> Agreement {
        let mut bought = BTreeMap::new();
        for line in lines {
            let variant = line.variant_id.as_deref().unwrap_or_default();
            *bought.entry(variant).or_insert(0_u64) += u64::from(line.quantity);
        }
        let mut allowed = BTreeMap::new();
        for token in self.tokens.values() {
            *allowed.entry(token.variant.as_str()).or_insert(0_u64) += u64::from(token.quantity);
        }
        if bought == allowed && !cut { Agreement::Same } else { Agreement::Differs }
    }

    fn price(&self, lines: &[LineSeen]) -> Agreement {
        let agrees = |line: &LineSeen| {
            let prices: Vec<_> = line.prices.iter().filter_map(|price| Price::parse_text(price)).collect();
            let token = self.tokens.values().find(|token| Some(&token.variant) == line.variant_id.as_ref());
            match token {
                _ if prices.is_empty() => Agreement::Untold,
                Some(token) if prices.contains(&token.price) => Agreement::Same,
                _ => Agreement::Differs,
            }
        };
        let each: Vec<_> = lines.iter().map(agrees).collect();
        let worst = [Agreement::Differs, Agreement::Untold].into_iter().find(|found| each.contains(found));
        worst.unwrap_or(if each.is_empty() { Agreement::Untold } else { Agreement::Same })
    }

    fn currency(&self, order: &Order) -> Agreement {
        let stated = order.lines.iter().flatten().flat_map(|line| &line.prices);
        let mut stated = stated.filter_map(|price| Price::parse_text(price)).chain(order.total).peekable();
        let allowed: Vec<_> = self.tokens.values().map(|token| token.price.currency()).collect();
        if allowed.is_empty() || stated.peek().is_none() {
            return Agreement::Untold;
        }
        if stated.all(|price| allowed.contains(&price.currency())) { Agreement::Same } else { Agreement::Differs }
    }

    /// Whether what was ordered costs more than all its tokens allow. Shipping and tax are no part of
    /// it, so a total says nothing here; of two prices of a line the lower one counts.
    fn is_exceeded(&self, lines: &[LineSeen]) -> bool {
        let lowest = |line: &LineSeen| {
            let prices = line.prices.iter().filter_map(|price| Price::parse_text(price));
            prices.min_by_key(|price| price.minor()).and_then(|price| price.times(line.quantity))
        };
        let sum = |costs: Vec<Option<Price>>| costs.into_iter().reduce(|sum, cost| sum?.plus(cost?)).flatten();
        let ordered = sum(lines.iter().map(lowest).collect());
        let allowed = sum(self.tokens.values().map(|token| token.price.times(token.quantity)).collect());
        ordered.zip(allowed).is_some_and(|(ordered, allowed)| {
            ordered.currency() == allowed.currency() && ordered.minor() > allowed.minor()
        })
    }

    fn is_sighting(&self, order: &Order) -> bool {
        let Some((variant, quantity, time)) = &self.sighting else { return false };
        let [only] = order.lines.as_deref().unwrap_or_default() else { return false };
        let near = order.time.millis_since(*time).abs() <= NEAR_MS;
        near && only.variant_id.as_deref() == Some(variant) && only.quantity == *quantity
    }
}

/// Who the caller seemed to be.
fn caller(body: &Body<'_>) -> Option<Signal> {
    let data = &body.data;
    let signed = data.signals.iter().any(|signal| signal.name == "signature_agent" && signal.state == "verified");
    if signed {
        return Some(Signal::new("signature_agent", State::Verified));
    }
    let name = data.agent_name.clone().filter(|_| data.agent_signal == Some("ua"))?;
    Some(Signal::new("user_agent", State::Present).known_as(name))
}
