//! Refusals of one caller beyond ten a second are told as one event with an exact count, so that a
//! flood neither fills the spool nor hides what else happens (README decision 19).
//!
//! Above half of its limit a spool is pressed: then also what passes without a token is folded, and
//! what comes from too many different callers is told as from others.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Placed, Receipt, Spool, SpoolError};
use crate::model::event::{Event, EventKind, Text};
use crate::model::ids::{AgentId, Jti, StoreId};
use crate::model::reason::ReasonCode;
use crate::model::time::Timestamp;

/// Events of one caller and one sort that are written one by one in a window.
const SINGLY: u64 = 10;
/// The same while the spool is pressed.
const SINGLY_PRESSED: u64 = 1;
/// Length of a window.
const WINDOW_MS: i64 = 1000;
/// Callers and sorts that are told apart in one window.
const TOLD_APART: usize = 4096;
/// The same while the spool is pressed: so many folded events, at most, are written in a window.
const TOLD_APART_PRESSED: usize = 256;

/// Whose calls are counted together. It lives in memory alone and for one window.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Caller {
    /// Whoever holds this token; only if it was verified.
    Token(Jti),
    /// Whoever holds this API key.
    Key(AgentId),
    /// Whoever calls from this address; of IPv6, from this network of 64 bits.
    Address(IpAddr),
    /// Nobody knows, or too many to be told apart.
    Others,
}

impl Caller {
    #[must_use]
    pub fn at(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Address(address),
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => Self::Address(v4.into()),
                None => Self::Address(IpAddr::V6((v6.to_bits() >> 64 << 64).into())),
            },
        }
    }
}

/// What makes two events the same but for their number.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Sort {
    caller: Caller,
    kind: EventKind,
    reason: Option<ReasonCode>,
    would_deny: Option<ReasonCode>,
    rule: Option<Text>,
    cause: Option<Text>,
    stage: Option<&'static str>,
    store: Option<StoreId>,
    route: Option<Arc<str>>,
}

impl Sort {
    fn of(event: &Event, caller: Caller) -> Self {
        let data = &event.data;
        Self {
            caller,
            kind: event.kind,
            reason: data.reason_code,
            would_deny: data.would_deny,
            rule: data.rule.clone(),
            cause: data.cause.clone(),
            stage: data.stage,
            store: data.store_id.clone(),
            route: data.route.clone(),
        }
    }
}

/// How many events of a caller and a sort are written one by one.
const fn singly(caller: &Caller, pressed: bool) -> u64 {
    match (caller, pressed) {
        (Caller::Others, true) => 0,
        (_, true) => SINGLY_PRESSED,
        (_, false) => SINGLY,
    }
}

/// What was seen of one sort in the current window.
#[derive(Default)]
struct Count {
    singly: u64,
    folded: u64,
    /// The first that was folded, and when the last was.
    told_by: Option<(Box<Event>, Timestamp)>,
}

impl Count {
    fn take(&mut self, event: &Event, singly: u64, now: Timestamp) -> Fate {
        if self.singly < singly {
            self.singly += 1;
            return Fate::Write;
        }
        self.folded += 1;
        match &mut self.told_by {
            Some((_, last)) => *last = now,
            None => self.told_by = Some((Box::new(event.clone()), now)),
        }
        Fate::Folded
    }
}

/// What is to be done with an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Write,
    /// It is counted, and the count is written when the window ends.
    Folded,
}

/// The counts of one window.
#[derive(Default)]
pub struct Folds {
    since: Option<Timestamp>,
    counts: HashMap<Sort, Count>,
}

impl Folds {
    /// Whether this event is written, or counted. It never loses one: what cannot be counted, because
    /// there are too many sorts, is written.
    pub fn take(&mut self, event: &Event, caller: Caller, now: Timestamp, pressed: bool) -> Fate {
        self.since.get_or_insert(now);
        let room = if pressed { TOLD_APART_PRESSED } else { TOLD_APART };
        let mut sort = Sort::of(event, caller);
        if let Some(count) = self.counts.get_mut(&sort) {
            return count.take(event, singly(&sort.caller, pressed), now);
        }
        if self.counts.len() >= room {
            if !pressed {
                return Fate::Write;
            }
            sort.caller = Caller::Others;
            if !self.counts.contains_key(&sort) && self.counts.len() >= 2 * room {
                return Fate::Write;
            }
        }
        let singly = singly(&sort.caller, pressed);
        self.counts.entry(sort).or_default().take(event, singly, now)
    }

    /// Whether the window is over.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> bool {
        // A clock that was set back ends it too.
        self.since.is_some_and(|since| !(0..WINDOW_MS).contains(&now.millis_since(since)))
    }

    /// The counts of the window as events; the next one begins.
    pub fn end(&mut self) -> Vec<Event> {
        self.since = None;
        let told = self.counts.drain().filter_map(|(sort, count)| told(&sort.caller, count));
        let mut events: Vec<_> = told.collect();
        events.sort_by_key(|event| event.data.since);
        events
    }
}

/// `count` calls as one event. What else stands in it is of the first of them; what only that one
/// found is left out.
fn told(caller: &Caller, count: Count) -> Option<Event> {
    let (first, last) = count.told_by?;
    let since = first.time;
    let mut event = first.at(last);
    let data = &mut event.data;
    data.count = Some(count.folded);
    data.since = Some(since);
    data.diff.clear();
    data.observed = None;
    data.refs.clear();
    // Who the first seemed to be says nothing of the others.
    data.signals.clear();
    data.flags.clear();
    (data.agent_name, data.agent_confidence, data.rating_version, data.channel) = (None, None, None, None);
    if *caller == Caller::Others {
        data.token_id = None;
        data.agent_id = None;
    }
    Some(event)
}

/// Which events are told with others of their sort.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Foldable {
    Always,
    /// Only while the spool is pressed.
    UnderPressure,
}

impl Spool {
    /// Writes an event, or counts it with others of its caller and sort (`None`).
    pub fn append_or_fold(
        &self,
        event: &Event,
        caller: Caller,
        foldable: Foldable,
    ) -> Result<Option<Receipt>, SpoolError> {
        match self.fate(event, caller, foldable)? {
            Fate::Write => self.append(event).map(Some),
            Fate::Folded => Ok(None),
        }
    }

    /// The same, but what is not counted only gets its [place](Spool::place).
    pub fn place_or_fold(
        &self,
        event: &Event,
        caller: Caller,
        foldable: Foldable,
    ) -> Result<Option<Placed>, SpoolError> {
        match self.fate(event, caller, foldable)? {
            Fate::Write => self.place(event).map(Some),
            Fate::Folded => Ok(None),
        }
    }

    fn fate(&self, event: &Event, caller: Caller, foldable: Foldable) -> Result<Fate, SpoolError> {
        let used = {
            let state = self.state.lock();
            state.check()?;
            state.used()
        };
        let pressed = used > self.options.limit_bytes / 2;
        self.tell_folded_when_due();
        if foldable == Foldable::UnderPressure && !pressed {
            return Ok(Fate::Write);
        }
        let fate = self.folds.lock().take(event, caller, self.clock.now(), pressed);
        if fate == Fate::Folded {
            self.metrics.evidence_folded.inc();
        }
        Ok(fate)
    }

    /// Writes what was counted, once its second is over.
    pub(super) fn tell_folded_when_due(&self) {
        if self.has_folded_due() {
            self.tell_folded();
        }
    }

    pub(super) fn has_folded_due(&self) -> bool {
        self.folds.lock().due(self.clock.now())
    }

    pub(super) fn tell_folded(&self) {
        let told = self.folds.lock().end();
        for event in &told {
            // What has no room becomes a gap with the whole count.
            if let Err(error) = self.append(event) {
                tracing::warn!(count = event.data.count, %error, "a count of refusals is not recorded");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::TraceId;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::of_millis(1_795_000_000_123);

    fn refusal(reason: ReasonCode) -> Event {
        let mut event = Event::new(EventKind::ExecutionDenied, NOW, TraceId::random());
        event.data.reason_code = Some(reason);
        event.data.observed = Some("only this one".into());
        event
    }

    fn from(n: u32) -> Caller {
        Caller::at(IpAddr::V4(n.into()))
    }

    #[test]
    fn the_first_ten_of_a_second_are_told_one_by_one_and_the_rest_as_one() {
        let mut folds = Folds::default();
        let event = refusal(ReasonCode::InvalidSignature);
        let fates: Vec<_> = (0..15).map(|_| folds.take(&event, from(1), NOW, false)).collect();
        assert_eq!(fates, [[Fate::Write; 5], [Fate::Write; 5], [Fate::Folded; 5]].concat());
        assert_eq!(folds.take(&event, from(2), NOW, false), Fate::Write);
        assert_eq!(folds.take(&refusal(ReasonCode::NoToken), from(1), NOW, false), Fate::Write);
        assert!(!folds.due(NOW) && folds.due(NOW.plus_seconds(1)) && folds.due(NOW.plus_seconds(-1)));
        let told = folds.end();
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].data.count, told[0].data.since), (Some(5), Some(NOW)));
        assert_eq!(told[0].data.observed, None);
        assert!(folds.end().is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_caller() {
        let at = |text: &str| Caller::at(text.parse().unwrap());
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"));
    }

    #[test]
    fn a_pressed_spool_is_not_filled_from_ever_new_addresses() {
        let mut folds = Folds::default();
        let event = refusal(ReasonCode::NoToken);
        let written = (0..100_000).filter(|n| folds.take(&event, from(*n), NOW, true) == Fate::Write).count();
        assert_eq!(written, TOLD_APART_PRESSED);
        let told = folds.end();
        assert_eq!(told.iter().filter_map(|event| event.data.count).sum::<u64>(), 100_000 - written as u64);
        assert!(told.len() <= 2 * TOLD_APART_PRESSED);
    }

    proptest! {
        /// Whatever comes, from whomever: each is written or counted, exactly once.
        #[test]
        fn nothing_is_lost_and_nothing_is_told_twice(
            calls in prop::collection::vec((0_u32..600, any::<bool>(), any::<bool>(), 0_i64..400), 0..3000),
        ) {
            let (mut folds, mut now) = (Folds::default(), NOW);
            let (mut written, mut told) = (0, 0);
            let mut close = |folds: &mut Folds| told += folds.end().iter().filter_map(|event| event.data.count).sum::<u64>();
            for (caller, kind, pressed, later) in &calls {
                now = Timestamp::of_millis(now.millis() + later / 100);
                if folds.due(now) {
                    close(&mut folds);
                }
                let event = refusal(if *kind { ReasonCode::NoToken } else { ReasonCode::InvalidSignature });
                written += u64::from(folds.take(&event, from(*caller), now, *pressed) == Fate::Write);
            }
            close(&mut folds);
            prop_assert_eq!(written + told, calls.len() as u64);
        }
    }
}
