//! Orders and spending of each agent in each store within the last hour and the last day: exact
//! sliding windows with running sums.
//!
//! An order is counted when its token is reserved and given back when the reservation is released.
//! Where the policy has no limit nothing is kept: nobody asks.

use std::collections::{HashMap, VecDeque};

use crate::decide::velocity::{Exceeded, Limits, Usage};
use crate::ledger::LedgerError;
use crate::model::ids::{AgentId, StoreId};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Most pairs of store and agent that are counted at once, and moments with an order over all of
/// them (32 bytes each). An order beyond is refused, because what cannot be counted cannot be
/// limited.
const PAIRS_MAX: usize = 100_000;
const MOMENTS_MAX: usize = 4_000_000;
/// Pairs without an order in their window are dropped this often.
const SWEEP_MS: i64 = 60_000;

pub(super) type Pair = (StoreId, AgentId);

/// The counted orders of all stores and agents.
pub(super) struct Windows {
    pairs: HashMap<Pair, Window>,
    /// Over all pairs.
    moments: usize,
    swept_ms: i64,
    pairs_max: usize,
    moments_max: usize,
}

impl Default for Windows {
    fn default() -> Self {
        let (pairs_max, moments_max) = (PAIRS_MAX, MOMENTS_MAX);
        Self { pairs: HashMap::new(), moments: 0, swept_ms: 0, pairs_max, moments_max }
    }
}

/// The orders of one pair, in the order of time.
#[derive(Default)]
struct Window {
    moments: VecDeque<Moment>,
    /// How many of the moments are older than an hour.
    older: usize,
    last_hour: Sum,
    all: Sum,
    /// The latest time that anybody asked about: the windows end here.
    now_ms: i64,
    /// How long an order is kept: a day only where spending of a day is limited.
    kept_ms: i64,
}

/// The orders of one millisecond.
struct Moment {
    at_ms: i64,
    sum: Sum,
}

/// Amounts are not limited where only orders are, so their sum has room.
#[derive(Clone, Copy, Default)]
struct Sum {
    orders: u32,
    spent: i128,
}

impl Sum {
    const fn one(amount: i64) -> Self {
        Self { orders: 1, spent: amount as i128 }
    }

    fn add(&mut self, more: Self) {
        self.orders += more.orders;
        self.spent += more.spent;
    }

    fn take(&mut self, less: Self) {
        self.orders -= less.orders;
        self.spent -= less.spent;
    }
}

impl Windows {
    pub(super) fn usage(&mut self, pair: &Pair, now_ms: i64) -> Usage {
        let Some(window) = self.pairs.get_mut(pair) else { return Usage::default() };
        self.moments -= window.advance(now_ms);
        window.usage()
    }

    /// Whether one more order keeps the limits.
    pub(super) fn admit(
        &mut self,
        pair: &Pair,
        limits: &Limits,
        amount: i64,
        now_ms: i64,
    ) -> Result<Result<(), Exceeded>, LedgerError> {
        self.sweep(now_ms);
        let admitted = limits.admit(self.usage(pair, now_ms), amount);
        let room =
            self.moments < self.moments_max && (self.pairs.len() < self.pairs_max || self.pairs.contains_key(pair));
        if admitted.is_err() || room { Ok(admitted) } else { Err(LedgerError::Full) }
    }

    /// Counts an order that was admitted.
    pub(super) fn count(&mut self, pair: Pair, limits: &Limits, amount: i64, at_ms: i64) {
        let window = self.pairs.entry(pair).or_default();
        window.kept_ms = if limits.spend_per_day.is_some() { DAY_MS } else { HOUR_MS };
        self.moments += usize::from(window.add(at_ms, Sum::one(amount)));
    }

    /// Uncounts an order that was counted at that time and released: nothing was executed.
    pub(super) fn give_back(&mut self, pair: &Pair, amount: i64, at_ms: i64) {
        let Some(window) = self.pairs.get_mut(pair) else { return };
        self.moments -= usize::from(window.take(at_ms, Sum::one(amount)));
        if window.moments.is_empty() {
            self.pairs.remove(pair);
        }
    }

    fn sweep(&mut self, now_ms: i64) {
        if now_ms - self.swept_ms < SWEEP_MS {
            return;
        }
        self.swept_ms = now_ms;
        let moments = &mut self.moments;
        self.pairs.retain(|_, window| {
            let idle = window.moments.back().is_none_or(|last| now_ms - last.at_ms >= window.kept_ms);
            *moments -= if idle { window.moments.len() } else { 0 };
            !idle
        });
    }
}

impl Window {
    /// Lets time pass; how many moments left the window.
    fn advance(&mut self, now_ms: i64) -> usize {
        self.now_ms = self.now_ms.max(now_ms);
        while let Some(moment) = self.moments.get(self.older).filter(|moment| !self.recent(moment.at_ms)) {
            self.last_hour.take(moment.sum);
            self.older += 1;
        }
        let before = self.moments.len();
        while let Some(oldest) = self.moments.front().filter(|oldest| self.now_ms - oldest.at_ms >= self.kept_ms) {
            self.all.take(oldest.sum);
            self.older -= 1;
            self.moments.pop_front();
        }
        before - self.moments.len()
    }

    fn recent(&self, at_ms: i64) -> bool {
        self.now_ms - at_ms < HOUR_MS
    }

    fn usage(&self) -> Usage {
        let money = |spent: i128| i64::try_from(spent).unwrap_or(i64::MAX);
        Usage {
            orders_last_hour: self.last_hour.orders,
            spent_last_hour: money(self.last_hour.spent),
            spent_last_day: money(self.all.spent),
        }
    }

    /// True if that made a new moment. Two threads may come here in another order than they read
    /// the clock.
    fn add(&mut self, at_ms: i64, sum: Sum) -> bool {
        self.all.add(sum);
        if self.recent(at_ms) {
            self.last_hour.add(sum);
        }
        match self.moments.binary_search_by_key(&at_ms, |moment| moment.at_ms) {
            Ok(place) => {
                if let Some(moment) = self.moments.get_mut(place) {
                    moment.sum.add(sum);
                }
                false
            }
            Err(place) => {
                self.older += usize::from(!self.recent(at_ms));
                self.moments.insert(place, Moment { at_ms, sum });
                true
            }
        }
    }

    /// True if no order of that moment is left.
    fn take(&mut self, at_ms: i64, sum: Sum) -> bool {
        let Ok(place) = self.moments.binary_search_by_key(&at_ms, |moment| moment.at_ms) else { return false };
        let Some(moment) = self.moments.get_mut(place) else { return false };
        moment.sum.take(sum);
        let empty = moment.sum.orders == 0;
        self.all.take(sum);
        if place < self.older {
            self.older -= usize::from(empty);
        } else {
            self.last_hour.take(sum);
        }
        if empty {
            self.moments.remove(place);
        }
        empty
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decide::velocity::Rule;

    fn pair(store: &str, agent: &str) -> Pair {
        (StoreId::parse(store).unwrap(), AgentId::parse(agent).unwrap())
    }

    fn orders(limit: u32) -> Limits {
        Limits { orders_per_hour: Some(limit), ..Limits::default() }
    }

    /// As a reservation does it: admitted, then counted.
    fn take(windows: &mut Windows, pair: &Pair, limits: Limits, amount: i64, now: i64) -> Result<(), Exceeded> {
        windows.admit(pair, &limits, amount, now).unwrap()?;
        windows.count(pair.clone(), &limits, amount, now);
        Ok(())
    }

    #[test]
    fn an_order_counts_for_exactly_an_hour_and_its_money_for_a_day() {
        let (mut windows, pair) = (Windows::default(), pair("s", "a"));
        let limits = Limits { orders_per_hour: Some(1), spend_per_day: Some(150), ..Limits::default() };
        take(&mut windows, &pair, limits, 100, 0).unwrap();
        let refused = |windows: &mut Windows, now| {
            take(windows, &pair, limits, 100, now).map_err(|exceeded| (exceeded.rule, exceeded.counted))
        };
        assert_eq!(refused(&mut windows, HOUR_MS - 1), Err((Rule::OrdersPerHour, 1)));
        assert_eq!(refused(&mut windows, HOUR_MS), Err((Rule::SpendPerDay, 100)));
        assert_eq!(refused(&mut windows, DAY_MS - 1), Err((Rule::SpendPerDay, 100)));
        assert_eq!(refused(&mut windows, DAY_MS), Ok(()));
    }

    #[test]
    fn stores_and_agents_do_not_share_a_count() {
        let mut windows = Windows::default();
        for pair in [pair("s", "a"), pair("s", "b"), pair("t", "a")] {
            assert!(take(&mut windows, &pair, orders(1), 5, 0).is_ok());
            assert!(take(&mut windows, &pair, orders(1), 5, 0).is_err());
        }
    }

    #[test]
    fn what_is_given_back_is_free_again_and_only_that() {
        let (mut windows, pair) = (Windows::default(), pair("s", "a"));
        take(&mut windows, &pair, orders(2), 5, 0).unwrap();
        take(&mut windows, &pair, orders(2), 5, 1).unwrap();
        windows.give_back(&pair, 5, 0);
        assert_eq!(windows.usage(&pair, 1).orders_last_hour, 1);
        take(&mut windows, &pair, orders(2), 5, 2).unwrap();
        // The third is an hour old and another counts now: giving it back takes nothing away.
        take(&mut windows, &pair, orders(1), 5, 2 + HOUR_MS).unwrap();
        windows.give_back(&pair, 5, 2);
        assert_eq!(windows.usage(&pair, 2 + HOUR_MS).orders_last_hour, 1);
    }

    #[test]
    fn many_agents_end_in_a_refusal_and_idle_ones_make_room() {
        let mut windows = Windows { pairs_max: 3, moments_max: 5, ..Windows::default() };
        let mut take = |n: i32, now| {
            let pair = pair("s", &format!("a{n}"));
            let admitted = windows.admit(&pair, &orders(9), 5, now);
            if admitted == Ok(Ok(())) {
                windows.count(pair, &orders(9), 5, now);
            }
            (admitted.map(drop), windows.pairs.len(), windows.moments)
        };
        assert_eq!([0, 1, 2].map(|n| take(n, 0).1), [1, 2, 3]);
        assert_eq!((take(3, 1).0, take(2, 1).0), (Err(LedgerError::Full), Ok(())));
        assert_eq!(take(2, 2), (Ok(()), 3, 5));
        assert_eq!(take(2, 3), (Err(LedgerError::Full), 3, 5));
        assert_eq!(take(3, 2 + HOUR_MS), (Ok(()), 1, 1));
    }

    #[test]
    fn amounts_beyond_all_bounds_are_still_counted() {
        let (mut windows, pair) = (Windows::default(), pair("s", "a"));
        for now in 0..3 {
            take(&mut windows, &pair, orders(9), i64::MAX, now).unwrap();
        }
        assert_eq!(windows.usage(&pair, 3).spent_last_hour, i64::MAX);
        windows.give_back(&pair, i64::MAX, 0);
        windows.give_back(&pair, i64::MAX, 1);
        let Usage { orders_last_hour, spent_last_day, .. } = windows.usage(&pair, 3);
        assert_eq!((orders_last_hour, spent_last_day), (1, i64::MAX));
    }

    /// By how much another thread was faster: mostly nothing to speak of.
    fn late() -> impl Strategy<Value = i64> {
        prop_oneof![4 => -2000i64..=0, 1 => -2 * HOUR_MS..=0]
    }

    proptest! {
        /// The plainest possible window, kept as a list of times and amounts, says the same at every
        /// step.
        #[test]
        fn it_counts_as_a_list_does(
            steps in prop::collection::vec(
                (0i64..HOUR_MS, late(), 0i64..100, (1u32..6, 1i64..300, 1i64..900), any::<bool>()),
                1..100,
            ),
        ) {
            let (mut windows, pair) = (Windows::default(), pair("s", "a"));
            let (mut now, mut list, mut held) = (0, Vec::<(i64, i64)>::new(), Vec::new());
            for (forward, jitter, amount, (count, hour, day), give) in steps {
                now += forward;
                if give && let Some((at, amount)) = held.pop() {
                    windows.give_back(&pair, amount, at);
                    let place = list.iter().position(|listed| *listed == (at, amount));
                    place.map(|place| list.remove(place));
                } else {
                    let limits = Limits {
                        orders_per_hour: Some(count),
                        spend_per_hour: Some(hour),
                        spend_per_day: Some(day),
                    };
                    // As of the latest time that anybody told of, even for one who comes late.
                    let expected = limits.admit(in_list(&list, now), amount);
                    let _ = windows.usage(&pair, now);
                    prop_assert_eq!(windows.admit(&pair, &limits, amount, now + jitter), Ok(expected));
                    if expected.is_ok() {
                        windows.count(pair.clone(), &limits, amount, now + jitter);
                        list.push((now + jitter, amount));
                        held.push((now + jitter, amount));
                    }
                }
                prop_assert_eq!(windows.usage(&pair, now), in_list(&list, now));
            }
        }
    }

    fn in_list(list: &[(i64, i64)], now: i64) -> Usage {
        let spent =
            |window: i64| -> i64 { list.iter().filter(|(at, _)| now - at < window).map(|(_, amount)| amount).sum() };
        let orders = list.iter().filter(|(at, _)| now - at < HOUR_MS).count();
        Usage {
            orders_last_hour: u32::try_from(orders).unwrap(),
            spent_last_hour: spent(HOUR_MS),
            spent_last_day: spent(DAY_MS),
        }
    }
}
