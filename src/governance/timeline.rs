//! The story of one execution, told from events in the order of the log.

use std::collections::BTreeSet;

use serde::Serialize;

use super::say::{plain, sentence};
use crate::evidence::{Body, Data, Difference, StoredEvent};
use crate::model::event::EventKind;

/// Everything that the log holds about one execution, or about several that share a token or an order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeline {
    /// `exec_…`, in the order in which they were first heard of.
    pub executions: Vec<String>,
    pub stores: Vec<String>,
    pub authorised: Vec<Authorised>,
    pub outcome: Outcome,
    pub orders: Vec<Order>,
    pub steps: Vec<Step>,
    /// What one would expect and the log does not hold.
    pub missing: Vec<Missing>,
    /// What must never be in the log.
    pub alarms: Vec<Alarm>,
}

/// What one token allows, and who may do it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Authorised {
    pub token_id: String,
    pub agent_id: Option<String>,
    pub variant_id: Option<String>,
    pub quantity: Option<u32>,
    /// Unit price with its currency.
    pub price: Option<String>,
    pub scope: Option<String>,
    pub expires_at: Option<String>,
}

/// How it ended. Of several, the greatest: what was executed is not undone by a later refusal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The log holds nothing about it.
    Nothing,
    /// An order of the store, on a path that nothing of ours saw.
    OrderOnly,
    /// Authorised, and no use was seen.
    Unused,
    Refused,
    /// It passed on a path that only observes.
    Observed,
    /// Tried, and nothing was executed; the token is unused.
    Released,
    /// It passed unjudged during an outage.
    Bypassed,
    /// Reserved, and no outcome is recorded yet.
    Unsettled,
    /// It was sent, and no complete answer came back.
    Unknown,
    /// The token is used up, and the store's answer shows no purchase.
    Spent,
    /// The token is used up, and the store has not decided yet.
    Pending,
    Executed,
}

/// An order that the store told of, and how sure it is that it is this purchase.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    pub id: String,
    pub status: Option<String>,
    pub total: Option<String>,
    /// Level of the rating table; `None` while nothing was judged.
    pub level: Option<String>,
    /// The same in basis points.
    pub confidence: Option<u16>,
    /// How it contradicts what was authorised.
    pub flags: Vec<String>,
    /// The agent's channel that it came from.
    pub channel: Option<String>,
}

/// One event of the timeline.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Place in the log.
    pub index: u64,
    /// RFC 3339.
    pub time: String,
    /// Short name of the type.
    pub event: String,
    /// What happened, in a sentence or two.
    pub says: String,
    /// `exec_…`.
    pub execution: String,
    pub store_id: Option<String>,
    pub decision: Option<String>,
    pub reason_code: Option<String>,
    pub would_deny: Option<String>,
    pub rule: Option<String>,
    pub observed: Option<String>,
    pub limit: Option<String>,
    pub diff: Vec<Difference>,
    pub stage: Option<String>,
    pub route: Option<String>,
    pub agent_id: Option<String>,
    pub token_id: Option<String>,
    pub trace_id: Option<String>,
    pub policy_hash: Option<String>,
    /// Of a replay: who used the token first.
    pub first_use: Option<FirstUse>,
}

/// The use of a token that a later one replays.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FirstUse {
    /// RFC 3339.
    pub time: String,
    pub route: Option<String>,
    pub agent_id: Option<String>,
    pub order_id: Option<String>,
    pub trace_id: Option<String>,
}

/// Something that one would expect in the log and that is not there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Missing {
    /// Nobody authorised what passed.
    Token,
    /// The token was used, and its issue is not in this log.
    #[serde(rename_all = "camelCase")]
    Issue { token_id: String },
    /// A request reserved the token, and how it ended is not recorded.
    #[serde(rename_all = "camelCase")]
    Settlement { trace_id: String },
    /// Whether the store executed it.
    Outcome,
    /// An order of the store.
    Order,
    /// The execution that the order came of.
    Execution,
    /// Events after the longest timeline that is told.
    LaterEvents,
    /// Events that this version cannot read.
    Unreadable { count: usize },
}

/// A broken promise.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Alarm {
    /// Two requests were sent, or may have been, with one token.
    #[serde(rename_all = "camelCase")]
    UsedTwice { token_id: String },
}

impl Timeline {
    /// Tells the story of these events. `more` says that the log holds more of them.
    #[must_use]
    pub fn of(events: &[StoredEvent], more: bool) -> Self {
        let mut read: Vec<_> = events.iter().filter_map(|event| Some((event.index, event.read()?))).collect();
        let unreadable = events.len() - read.len();
        read.sort_by_key(|(index, _)| *index);
        let bodies: Vec<&Body<'_>> = read.iter().map(|(_, body)| body).collect();
        let authorised = authorised(&bodies);
        let orders = orders(&bodies);
        let unsettled = unsettled(&bodies);
        let outcome = outcome(&bodies, &unsettled);
        let mut missing = missing(&bodies, outcome, orders.is_empty());
        missing.extend(unsettled.into_iter().map(|trace_id| Missing::Settlement { trace_id }));
        missing.extend(more.then_some(Missing::LaterEvents));
        missing.extend((unreadable > 0).then_some(Missing::Unreadable { count: unreadable }));
        Self {
            executions: distinct(bodies.iter().map(|body| body.correlation)),
            stores: distinct(bodies.iter().filter_map(|body| body.data.store_id)),
            authorised,
            outcome,
            orders,
            steps: read
                .iter()
                .map(|(index, body)| Step { first_use: first_use(&bodies, body), ..step(*index, body) })
                .collect(),
            missing,
            alarms: used_twice(&bodies).into_iter().map(|token_id| Alarm::UsedTwice { token_id }).collect(),
        }
    }
}

fn distinct<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    texts.filter(|text| seen.insert(*text)).map(plain).collect()
}

fn is(body: &Body<'_>, kind: EventKind) -> bool {
    body.kind() == Some(kind)
}

/// The first event that names a token tells what the token allows.
fn authorised(bodies: &[&Body<'_>]) -> Vec<Authorised> {
    let mut seen = BTreeSet::new();
    let named = bodies.iter().filter_map(|body| Some((body.data.token_id?, &body.data)));
    let firsts = named.filter(|(token, data)| data.variant_id.is_some() && seen.insert(*token));
    firsts.map(|(token, data)| authority_of(token, data)).collect()
}

fn authority_of(token: &str, data: &Data<'_>) -> Authorised {
    Authorised {
        token_id: plain(token),
        agent_id: data.agent_id.map(plain),
        variant_id: data.variant_id.as_deref().map(plain),
        quantity: data.quantity,
        price: data.price.as_deref().map(plain),
        scope: data.scope.map(plain),
        expires_at: data.expires_at.map(plain),
    }
}

/// One for each id, with what was last said of it.
fn orders(bodies: &[&Body<'_>]) -> Vec<Order> {
    let mut orders: Vec<Order> = Vec::new();
    for data in bodies.iter().map(|body| &body.data) {
        let Some(id) = data.order_id.as_deref().map(plain) else { continue };
        let known = orders.iter().position(|order| order.id == id);
        let mut order = known.map(|at| orders.remove(at)).unwrap_or_else(|| Order { id, ..Order::default() });
        order.hear(data);
        orders.insert(known.unwrap_or(orders.len()), order);
    }
    orders
}

impl Order {
    fn hear(&mut self, data: &Data<'_>) {
        self.status = data.order_status.as_deref().map(plain).or(self.status.take());
        self.total = data.order_total.as_deref().map(plain).or(self.total.take());
        self.channel = data.channel.as_deref().map(plain).or(self.channel.take());
        if let Some(level) = data.level {
            self.level = Some(plain(level));
            self.confidence = data.order_confidence;
            self.flags = data.flags.iter().map(|flag| plain(flag)).collect();
        }
    }
}

/// Of a replay, the use that came first.
fn first_use(bodies: &[&Body<'_>], replay: &Body<'_>) -> Option<FirstUse> {
    let token = replay.data.token_id.filter(|_| is(replay, EventKind::ExecutionReplayDetected))?;
    let uses = |body: &&&Body<'_>| {
        let used = is(body, EventKind::ExecutionValidated) || is(body, EventKind::ExecutionIndeterminate);
        used && body.data.token_id == Some(token)
    };
    let first = bodies.iter().find(uses)?;
    let order = bodies
        .iter()
        .filter(|body| body.correlation == first.correlation)
        .find_map(|body| body.data.order_id.as_deref());
    Some(FirstUse {
        time: plain(first.time),
        route: first.data.route.as_deref().map(plain),
        agent_id: first.data.agent_id.map(plain),
        order_id: order.map(plain),
        trace_id: first.data.trace_id.map(plain),
    })
}

/// Which token was named by which call, in events of these kinds.
fn calls<'a>(bodies: &[&Body<'a>], kinds: &[EventKind]) -> BTreeSet<(&'a str, &'a str)> {
    let some = bodies.iter().filter(|body| body.kind().is_some_and(|kind| kinds.contains(&kind)));
    some.filter_map(|body| Some((body.data.token_id?, body.data.trace_id?))).collect()
}

/// The traces of the reservations without an outcome.
fn unsettled(bodies: &[&Body<'_>]) -> Vec<String> {
    use EventKind::{ExecutionIndeterminate, ExecutionReleased, ExecutionReserved, ExecutionValidated};
    let settled = calls(bodies, &[ExecutionValidated, ExecutionReleased, ExecutionIndeterminate]);
    let reserved = calls(bodies, &[ExecutionReserved]);
    distinct(reserved.difference(&settled).map(|(_, trace)| *trace))
}

/// The tokens that more than one call used up.
fn used_twice(bodies: &[&Body<'_>]) -> Vec<String> {
    let used = calls(bodies, &[EventKind::ExecutionValidated, EventKind::ExecutionIndeterminate]);
    let mut first_uses = BTreeSet::new();
    distinct(used.iter().map(|(token, _)| *token).filter(|token| !first_uses.insert(*token)))
}

fn outcome(bodies: &[&Body<'_>], unsettled: &[String]) -> Outcome {
    let told = bodies.iter().map(|body| outcome_of(body)).max().unwrap_or(Outcome::Nothing);
    if unsettled.is_empty() { told } else { told.max(Outcome::Unsettled) }
}

fn outcome_of(body: &Body<'_>) -> Outcome {
    match body.kind() {
        Some(EventKind::ExecutionAuthorized) => Outcome::Unused,
        Some(EventKind::ExecutionDenied | EventKind::ExecutionExpired | EventKind::ExecutionReplayDetected) => {
            Outcome::Refused
        }
        Some(EventKind::ExecutionObserved) => Outcome::Observed,
        Some(EventKind::ExecutionReleased) => Outcome::Released,
        Some(EventKind::ExecutionBypassed) => Outcome::Bypassed,
        Some(EventKind::ExecutionIndeterminate) => Outcome::Unknown,
        Some(EventKind::ExecutionResolved) if body.data.cause.as_deref() == Some("committed") => Outcome::Executed,
        Some(EventKind::OrderObserved | EventKind::OrderCancelled | EventKind::OrderRefunded) => Outcome::OrderOnly,
        Some(EventKind::ExecutionValidated) => match body.data.cause.as_deref() {
            Some("committed" | "validated") => Outcome::Executed,
            Some("pending") => Outcome::Pending,
            _ => Outcome::Spent,
        },
        _ => Outcome::Nothing,
    }
}

fn missing(bodies: &[&Body<'_>], outcome: Outcome, no_order: bool) -> Vec<Missing> {
    let issued: BTreeSet<_> = bodies
        .iter()
        .filter(|body| is(body, EventKind::ExecutionAuthorized))
        .filter_map(|body| body.data.token_id)
        .collect();
    let used = distinct(bodies.iter().filter_map(|body| body.data.token_id).filter(|token| !issued.contains(token)));
    let mut missing: Vec<_> = used.into_iter().map(|token_id| Missing::Issue { token_id }).collect();
    let passed = |body: &&&Body<'_>| is(body, EventKind::ExecutionObserved) || is(body, EventKind::ExecutionBypassed);
    if bodies.iter().filter(passed).any(|body| body.data.token_id.is_none()) {
        missing.push(Missing::Token);
    }
    if outcome == Outcome::Unknown {
        missing.push(Missing::Outcome);
    }
    if outcome == Outcome::OrderOnly {
        missing.push(Missing::Execution);
    }
    if no_order && outcome >= Outcome::Unknown {
        missing.push(Missing::Order);
    }
    missing
}

impl Step {
    /// One event by itself; `None` when its bytes are no event.
    #[must_use]
    pub fn of(event: &StoredEvent) -> Option<Self> {
        event.read().map(|body| step(event.index, &body))
    }
}

fn step(index: u64, body: &Body<'_>) -> Step {
    let data = &body.data;
    let owned = |text: &Option<String>| text.as_deref().map(plain);
    let difference = |found: &Difference| Difference {
        actual: plain(&found.actual),
        authorized: plain(&found.authorized),
        path: plain(&found.path),
    };
    Step {
        index,
        time: plain(body.time),
        event: plain(body.name()),
        says: sentence(body),
        execution: plain(body.correlation),
        store_id: data.store_id.map(plain),
        decision: data.decision.map(plain),
        reason_code: data.reason_code.map(plain),
        would_deny: data.would_deny.map(plain),
        rule: owned(&data.rule),
        observed: owned(&data.observed),
        limit: owned(&data.limit),
        diff: data.diff.iter().map(difference).collect(),
        stage: data.stage.map(plain),
        route: owned(&data.route),
        agent_id: data.agent_id.map(plain),
        token_id: data.token_id.map(plain),
        trace_id: data.trace_id.map(plain),
        policy_hash: data.policy_hash.map(plain),
        first_use: None,
    }
}
