//! Orders of one agent in one store within the last hour: an exact sliding window.
//!
//! An order is counted when its token is reserved and given back when the reservation is released.
//! Where the policy has no limit nothing is kept: nobody asks.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;

use crate::clock::Monotonic;
use crate::model::ids::{AgentId, StoreId};

/// The length of the window.
const HOUR_MS: i64 = 3_600_000;
/// Most pairs of store and agent that are counted at once. A new pair beyond is refused, because
/// what cannot be counted cannot be limited.
const PAIRS_MAX: usize = 100_000;
/// Pairs without an order in the last hour are dropped this often.
const SWEEP_MS: i64 = 60_000;

/// Why an order is not counted and must not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    #[error("{orders} orders in the last hour, {limit} are allowed")]
    Limit { orders: u32, limit: u32 },
    #[error("too many agents order at once to count them all")]
    NoRoom,
}

/// One counted order. Whoever holds it may give it back, once.
#[derive(Debug)]
#[must_use]
pub struct Taken(Option<Counted>);

#[derive(Debug)]
struct Counted {
    pair: Pair,
    order: Order,
}

type Pair = (StoreId, AgentId);

/// When, and a number that tells it from the others of that moment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Order {
    at: Monotonic,
    number: u64,
}

/// The counted orders of all stores and agents.
pub struct Velocity {
    inner: Mutex<Inner>,
    pairs_max: usize,
}

#[derive(Default)]
struct Inner {
    /// Orders in the order of time.
    orders: HashMap<Pair, VecDeque<Order>>,
    number: u64,
    swept: Option<Monotonic>,
}

impl Default for Velocity {
    fn default() -> Self {
        Self { inner: Mutex::default(), pairs_max: PAIRS_MAX }
    }
}

impl Velocity {
    /// Orders of this agent in this store within the last hour.
    #[must_use]
    pub fn peek(&self, store: &StoreId, agent: &AgentId, now: Monotonic) -> u32 {
        let inner = self.inner.lock();
        let orders = inner.orders.get(&(store.clone(), agent.clone()));
        orders.map_or(0, |orders| count(orders.iter().filter(|order| recent(order, now)).count()))
    }

    /// Counts one order if that keeps the limit: checking and counting are one step.
    pub fn take(
        &self,
        store: &StoreId,
        agent: &AgentId,
        limit: Option<u32>,
        now: Monotonic,
    ) -> Result<Taken, Exceeded> {
        let Some(limit) = limit else { return Ok(Taken(None)) };
        let pair = (store.clone(), agent.clone());
        let mut inner = self.inner.lock();
        inner.sweep(now);
        if inner.orders.len() >= self.pairs_max && !inner.orders.contains_key(&pair) {
            return Err(Exceeded::NoRoom);
        }
        inner.number += 1;
        let order = Order { at: now, number: inner.number };
        let orders = inner.orders.entry(pair.clone()).or_default();
        while orders.front().is_some_and(|oldest| !recent(oldest, now)) {
            orders.pop_front();
        }
        let counted = count(orders.len());
        if counted >= limit {
            return Err(Exceeded::Limit { orders: counted, limit });
        }
        // Two threads may come here in another order than they read the clock.
        let place = orders.partition_point(|earlier| *earlier < order);
        orders.insert(place, order);
        Ok(Taken(Some(Counted { pair, order })))
    }

    /// Uncounts an order that was released: nothing was executed.
    pub fn give_back(&self, taken: Taken) {
        let Some(Counted { pair, order }) = taken.0 else { return };
        let mut inner = self.inner.lock();
        let Some(orders) = inner.orders.get_mut(&pair) else { return };
        if let Ok(place) = orders.binary_search(&order) {
            orders.remove(place);
        }
        if orders.is_empty() {
            inner.orders.remove(&pair);
        }
    }
}

impl Inner {
    fn sweep(&mut self, now: Monotonic) {
        if self.swept.is_some_and(|last| now.millis_since(last) < SWEEP_MS) {
            return;
        }
        self.swept = Some(now);
        self.orders.retain(|_, orders| orders.back().is_some_and(|newest| recent(newest, now)));
    }
}

fn recent(order: &Order, now: Monotonic) -> bool {
    now.millis_since(order.at) < HOUR_MS
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::model::time::Timestamp;
    use proptest::prelude::*;

    fn start() -> Monotonic {
        Clock::manual(Timestamp::of_seconds(1_800_000_000)).monotonic()
    }

    fn pair(store: &str, agent: &str) -> Pair {
        (StoreId::parse(store).unwrap(), AgentId::parse(agent).unwrap())
    }

    #[test]
    fn an_order_counts_for_exactly_an_hour() {
        let (velocity, (store, agent), now) = (Velocity::default(), pair("s", "a"), start());
        let _ = velocity.take(&store, &agent, Some(1), now).unwrap();
        let (just, later) = (now.plus_millis(HOUR_MS - 1), now.plus_millis(HOUR_MS));
        let refused = velocity.take(&store, &agent, Some(1), just).unwrap_err();
        assert_eq!(refused, Exceeded::Limit { orders: 1, limit: 1 });
        assert_eq!((velocity.peek(&store, &agent, just), velocity.peek(&store, &agent, later)), (1, 0));
        assert!(velocity.take(&store, &agent, Some(1), later).is_ok());
    }

    #[test]
    fn stores_and_agents_do_not_share_a_count() {
        let (velocity, now) = (Velocity::default(), start());
        for (store, agent) in [pair("s", "a"), pair("s", "b"), pair("t", "a")] {
            assert!(velocity.take(&store, &agent, Some(1), now).is_ok());
            assert!(velocity.take(&store, &agent, Some(1), now).is_err());
        }
    }

    #[test]
    fn what_is_given_back_is_free_again_and_only_that() {
        let (velocity, (store, agent), now) = (Velocity::default(), pair("s", "a"), start());
        let first = velocity.take(&store, &agent, Some(2), now).unwrap();
        let _second = velocity.take(&store, &agent, Some(2), now).unwrap();
        velocity.give_back(first);
        assert_eq!(velocity.peek(&store, &agent, now), 1);
        let third = velocity.take(&store, &agent, Some(2), now).unwrap();
        // The third is an hour old and another counts now: giving it back takes nothing away.
        let later = now.plus_millis(HOUR_MS);
        let _fourth = velocity.take(&store, &agent, Some(1), later).unwrap();
        velocity.give_back(third);
        assert_eq!(velocity.peek(&store, &agent, later), 1);
    }

    #[test]
    fn no_limit_keeps_nothing() {
        let (velocity, (store, agent), now) = (Velocity::default(), pair("s", "a"), start());
        velocity.give_back(velocity.take(&store, &agent, None, now).unwrap());
        assert!(velocity.inner.lock().orders.is_empty());
    }

    #[test]
    fn many_agents_end_in_a_refusal_and_idle_ones_make_room() {
        let velocity = Velocity { pairs_max: 3, ..Velocity::default() };
        let now = start();
        let take = |n: i32, now| {
            let (store, agent) = pair("s", &format!("a{n}"));
            velocity.take(&store, &agent, Some(9), now).map(|_| ())
        };
        assert_eq!((0..3).find_map(|n| take(n, now).err()), None);
        assert_eq!((take(3, now), take(2, now)), (Err(Exceeded::NoRoom), Ok(())));
        assert_eq!(take(3, now.plus_millis(HOUR_MS)), Ok(()));
        assert_eq!(velocity.inner.lock().orders.len(), 1);
    }

    #[test]
    fn racing_takers_never_pass_the_limit() {
        let (velocity, (store, agent), now) = (Velocity::default(), pair("s", "a"), start());
        let passed: usize = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| (0..100).filter(|_| velocity.take(&store, &agent, Some(50), now).is_ok()).count())
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).sum()
        });
        assert_eq!(passed, 50);
    }

    proptest! {
        /// The plainest possible window, kept as a list of times, says the same at every step.
        #[test]
        fn it_counts_as_a_list_does(
            steps in prop::collection::vec((0i64..HOUR_MS / 2, -2000i64..=0, 0u32..6, any::<bool>()), 1..60),
        ) {
            let (velocity, (store, agent)) = (Velocity::default(), pair("s", "a"));
            let (mut now, mut list, mut held) = (start(), Vec::new(), Vec::new());
            for (forward, jitter, limit, give) in steps {
                now = now.plus_millis(forward);
                let at = now.plus_millis(jitter);
                if give && let Some((taken, at)) = held.pop() {
                    velocity.give_back(taken);
                    let place = list.iter().rposition(|listed| *listed == at);
                    place.map(|place| list.remove(place));
                } else {
                    list.retain(|listed| at.millis_since(*listed) < HOUR_MS);
                    let taken = velocity.take(&store, &agent, Some(limit), at);
                    prop_assert_eq!(taken.is_ok(), list.len() < limit as usize);
                    if let Ok(taken) = taken {
                        list.push(at);
                        held.push((taken, at));
                    }
                }
                let expected = list.iter().filter(|listed| now.millis_since(**listed) < HOUR_MS).count();
                prop_assert_eq!(velocity.peek(&store, &agent, now) as usize, expected);
            }
        }
    }
}
