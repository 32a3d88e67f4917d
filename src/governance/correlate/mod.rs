//! Which execution an order is, and how sure that is: a pure judgement over what the log holds.

mod execution;
mod order;

#[cfg(test)]
mod tests;

use crate::evidence::StoredEvent;
use crate::model::event::{Event, EventKind};
use crate::model::ids::{Correlation, Jti, TraceId};
use crate::model::time::Timestamp;

use super::rating::{Level, RATING_VERSION, Rating, rate};
use execution::executions;
pub use order::Order;

/// Which execution an order is, as far as the log tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judgement {
    /// `exec_…`; `None`: it could be none.
    pub execution: Option<String>,
    pub rating: Rating,
    /// The execution ended without an answer, and this order shows how: the call that it was, and its
    /// token.
    settles: Option<(TraceId, Jti)>,
}

/// Judges an order by the events of the executions that it may be.
#[must_use]
pub fn judge(order: &Order, candidates: &[StoredEvent]) -> Judgement {
    let rated = executions(candidates).into_iter().filter_map(|execution| {
        let known = execution.known(order);
        let joined = known.carried || known.answered || known.referred || known.sighted;
        joined.then(|| (rate(&known), execution))
    });
    // Of equals the first in the log: `max_by_key` would take the last.
    let best = rated.reduce(|best, next| if preference(&next.0) > preference(&best.0) { next } else { best });
    match best {
        Some((rating, execution)) => {
            let settles = execution.lost.filter(|_| rating.level >= Level::Strong);
            Judgement { execution: Some(execution.name), rating, settles }
        }
        None => Judgement { execution: None, rating: rate(&order.alone()), settles: None },
    }
}

/// A good match first, then a contradiction, which somebody has to look at, then anything else.
fn preference(rating: &Rating) -> (bool, bool, u16) {
    (rating.level >= Level::Strong, rating.level == Level::Contradicted, rating.level.points())
}

impl Judgement {
    /// The events that say so: none, where the log says the same already.
    #[must_use]
    pub fn events(&self, order: &Order, now: Timestamp) -> Vec<Event> {
        if order.judged.as_ref().is_some_and(|before| before.says(self)) {
            return Vec::new();
        }
        let kind = match (&order.judged, &self.execution) {
            (Some(_), _) => EventKind::OrderCorrelationRevised,
            (None, Some(_)) => EventKind::OrderCorrelated,
            (None, None) => EventKind::OrderUnmatched,
        };
        let execution = self.execution.as_deref().and_then(Correlation::parse);
        let mut event = order.event(kind, now, order.trace).in_execution(execution.unwrap_or(order.correlation));
        event.causation = order.judged.as_ref().map_or(order.told_by, |before| before.event);
        event.data.level = Some(self.rating.level.as_str());
        event.data.order_confidence = Some(self.rating.level.points());
        event.data.rating_version = Some(RATING_VERSION);
        event.data.signals.clone_from(&self.rating.signals);
        event.data.flags.clone_from(&self.rating.flags);
        event.data.channel = order.channel.clone().map(Into::into);
        std::iter::once(event).chain(self.resolution(order, now)).collect()
    }

    fn resolution(&self, order: &Order, now: Timestamp) -> Option<Event> {
        let (trace, jti) = self.settles?;
        let execution = self.execution.as_deref().and_then(Correlation::parse)?;
        let mut event = order.event(EventKind::ExecutionResolved, now, trace).of_token(jti).in_execution(execution);
        event.causation = order.told_by;
        event.data.cause = Some("committed".into());
        Some(event)
    }
}
