//! Reconciliation: which orders were bought under authority, which authority came to no order, and what
//! does not fit. A fold over events; every share stands beside the counts that it is of.

mod text;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::say::plain;
use crate::evidence::{Body, StoredEvent};
use crate::model::event::EventKind;

/// Most events that one report looks at; then it says that it is cut off.
pub const EVENTS_MAX: usize = 200_000;
/// Most cases that are named of each kind; their number is told in any case.
const NAMED_MAX: usize = 100;

/// How much of what was sold passed under authority.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    pub orders: Shares,
    pub commits: Shares,
    pub orders_without_authority: Cases,
    pub burns_without_order: Cases,
    /// Orders that are not what was read just before.
    pub drifted: Cases,
    pub contradicted: Cases,
    pub replays: Cases,
    /// True when there are more events than one report looks at.
    pub cut_off: bool,
}

/// Of how many, how many in which way. Shares are in basis points, rounded down.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shares {
    pub all: u64,
    pub enforced: u64,
    pub enforced_points: u64,
    pub observed: u64,
    pub observed_points: u64,
    /// Orders: told of by the store alone. Commits: passed unjudged.
    pub rest: u64,
    pub rest_points: u64,
}

impl Shares {
    fn of(ways: impl Iterator<Item = Way>) -> Self {
        let mut shares = Self::default();
        for way in ways {
            shares.all += 1;
            match way {
                Way::Enforced => shares.enforced += 1,
                Way::Observed => shares.observed += 1,
                Way::Rest => shares.rest += 1,
            }
        }
        let points = |some: u64| (some * 10_000).checked_div(shares.all).unwrap_or(0);
        let (enforced_points, observed_points) = (points(shares.enforced), points(shares.observed));
        Self { enforced_points, observed_points, rest_points: points(shares.rest), ..shares }
    }
}

/// Some cases by name, and how many there are.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Cases {
    pub count: usize,
    pub first: Vec<Case>,
}

/// One case: what to ask a timeline for, and what is the matter.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Case {
    pub id: String,
    pub store: String,
    pub about: String,
}

impl FromIterator<Case> for Cases {
    fn from_iter<I: IntoIterator<Item = Case>>(cases: I) -> Self {
        let mut all = Self::default();
        for case in cases {
            all.count += 1;
            if all.first.len() < NAMED_MAX {
                all.first.push(case);
            }
        }
        all
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Rest,
    Observed,
    Enforced,
}

#[derive(Default)]
struct OrderSeen {
    /// Executions whose answer named it, and the one that it was judged to be.
    executions: BTreeSet<String>,
    level: Option<String>,
    flags: Vec<String>,
    channel: Option<String>,
}

#[derive(Default)]
struct Commit {
    store: String,
    way: Option<Way>,
    burned_at: Option<String>,
    route: Option<String>,
    agent: Option<String>,
    has_order: bool,
}

/// What was heard so far.
#[derive(Default)]
pub struct Accounts {
    heard: usize,
    orders: BTreeMap<(String, String), OrderSeen>,
    commits: BTreeMap<String, Commit>,
    drifted: Vec<Case>,
    /// Token, store, execution.
    replays: Vec<(String, String, String)>,
}

impl Accounts {
    #[must_use]
    pub fn heard(&self) -> usize {
        self.heard
    }

    /// Takes events in the order of the log.
    pub fn hear(&mut self, events: &[StoredEvent]) {
        self.heard += events.len();
        for body in events.iter().filter_map(StoredEvent::read) {
            let Some(store) = body.data.store_id else { continue };
            self.hear_commit(store, &body);
            if let Some(order) = body.data.order_id.as_deref() {
                self.hear_order(store, order, &body);
            }
        }
    }

    fn hear_commit(&mut self, store: &str, body: &Body<'_>) {
        let data = &body.data;
        let way = match body.kind() {
            Some(EventKind::ExecutionValidated | EventKind::ExecutionIndeterminate) => Way::Enforced,
            Some(EventKind::ExecutionObserved) => Way::Observed,
            Some(EventKind::ExecutionBypassed) => Way::Rest,
            Some(EventKind::ExecutionReplayDetected) => {
                let token = data.token_id.unwrap_or_default();
                self.replays.push((plain(token), plain(store), body.correlation.to_owned()));
                return;
            }
            _ => return,
        };
        let commit = self.commits.entry(body.correlation.to_owned()).or_default();
        store.clone_into(&mut commit.store);
        commit.way = commit.way.max(Some(way));
        if way == Way::Enforced && commit.burned_at.is_none() {
            commit.burned_at = Some(plain(body.time));
            commit.route = data.route.as_deref().map(plain);
            commit.agent = data.agent_id.map(plain);
        }
        commit.has_order |= data.order_id.is_some();
    }

    fn hear_order(&mut self, store: &str, id: &str, body: &Body<'_>) {
        let data = &body.data;
        if body.kind() == Some(EventKind::OrderDrifted) {
            let about = data.diff.iter().map(|diff| plain(&diff.path)).collect::<Vec<_>>().join(", ");
            self.drifted.push(Case { id: plain(id), store: plain(store), about: format!("differs at {about}") });
        }
        let order = self.orders.entry((plain(store), plain(id))).or_default();
        order.channel = data.channel.as_deref().map(plain).or(order.channel.take());
        match (data.level, data.stage) {
            (Some(level), _) => {
                order.level = Some(plain(level));
                order.flags.clone_from(&data.flags);
                order.executions.insert(body.correlation.to_owned());
            }
            (None, Some("webhook")) => {}
            (None, _) => {
                order.executions.insert(body.correlation.to_owned());
            }
        }
    }

    /// The report.
    #[must_use]
    pub fn balance(mut self) -> Coverage {
        let mut ways = Vec::new();
        for order in self.orders.values() {
            let mine = order.executions.iter().filter_map(|name| self.commits.get(name)?.way);
            let way = if order.is_contradicted() { Way::Rest } else { mine.max().unwrap_or(Way::Rest) };
            ways.push(way);
            for name in order.executions.iter().filter(|_| !order.is_contradicted()) {
                if let Some(commit) = self.commits.get_mut(name) {
                    commit.has_order = true;
                }
            }
        }
        let orders = || self.orders.iter().zip(&ways);
        Coverage {
            orders: Shares::of(ways.iter().copied()),
            commits: Shares::of(self.commits.values().filter_map(|commit| commit.way)),
            orders_without_authority: orders()
                .filter(|(_, way)| **way != Way::Enforced)
                .map(|(of, _)| of.case())
                .collect(),
            burns_without_order: self.burns_without_order(),
            contradicted: orders().filter(|((_, order), _)| order.is_contradicted()).map(|(of, _)| of.case()).collect(),
            replays: self.replays.iter().map(|replay| self.replay(replay)).collect(),
            cut_off: self.heard >= EVENTS_MAX,
            drifted: std::mem::take(&mut self.drifted).into_iter().collect(),
        }
    }

    fn burns_without_order(&self) -> Cases {
        let lonely = self.commits.iter().filter(|(_, commit)| commit.burned_at.is_some() && !commit.has_order);
        let case = |(name, commit): (&String, &Commit)| Case {
            id: plain(name),
            store: plain(&commit.store),
            about: commit.use_(),
        };
        lonely.map(case).collect()
    }

    fn replay(&self, (token, store, execution): &(String, String, String)) -> Case {
        let first = self.commits.get(execution).filter(|commit| commit.burned_at.is_some());
        let about = first.map_or_else(|| "its first use is not in this period".to_owned(), Commit::use_);
        Case { id: token.clone(), store: store.clone(), about }
    }
}

impl Commit {
    /// `used on … on route …, by agent …`.
    fn use_(&self) -> String {
        let at = self.burned_at.as_deref().unwrap_or_default();
        let route = self.route.as_deref().map(|route| format!(" on route {route}")).unwrap_or_default();
        let agent = self.agent.as_deref().map(|agent| format!(" by agent {agent}")).unwrap_or_default();
        format!("used at {at}{route}{agent}")
    }
}

impl OrderSeen {
    fn is_contradicted(&self) -> bool {
        self.level.as_deref() == Some("contradicted")
    }
}

/// An order as a case.
trait AsCase {
    fn case(self) -> Case;
}

impl AsCase for (&(String, String), &OrderSeen) {
    fn case(self) -> Case {
        let ((store, id), order) = self;
        let level = order.level.as_deref().unwrap_or("not judged");
        let flags = order.flags.iter().map(|flag| format!(", {}", super::say::contradiction(flag))).collect::<String>();
        let channel = order.channel.as_deref().map(|channel| format!(", from {channel}")).unwrap_or_default();
        Case { id: id.clone(), store: store.clone(), about: format!("{level}{flags}{channel}") }
    }
}
