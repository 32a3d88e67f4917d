//! The exact map of one shard: a queue of tokens in the order of their reservation, which is the
//! order in which they expire, and an index into it. 64 bytes for a token and 6 to 23 for its place
//! in the index; 48 more for one that came with an Idempotency-Key.

use hashbrown::HashTable;

use super::queue::{CHUNK, Queue};
use crate::ledger::{Entry, Fate, Lapsed, Namespace, Purpose, RETENTION_MS, Retry, Slot, Spent, Standing, State};
use crate::model::ids::{Jti, StoreId, TraceId};

/// Expired tokens that one reservation clears away at most: it never pays for a flood before it.
const CLEARED_PER_STEP: usize = 8;

/// One token in one memory. Its store is no part of it: a token is signed for one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Key {
    namespace: Namespace,
    jti: Jti,
}

impl Key {
    pub(super) const fn of(slot: &Slot) -> Self {
        Self { namespace: slot.namespace, jti: slot.jti }
    }

    /// A jti is random and signed: nobody chooses it to make keys collide.
    #[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
    fn hash(self) -> u64 {
        let id = self.jti.as_u128();
        let folded = (id as u64) ^ ((id >> 64) as u64) ^ u64::from(self.namespace == Namespace::Observe);
        folded.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

/// Owned by whoever holds the lock of its shard: a few steps, never a wait. Times are milliseconds
/// of the ledger, and never go back.
#[derive(Default)]
pub(super) struct Table {
    queue: Queue<Held>,
    /// From keys to numbers of the queue.
    index: HashTable<u32>,
    /// How many of the queue's first tokens [`Self::lapse`] has seen.
    seen: usize,
}

/// One token.
struct Held {
    key: Key,
    first: TraceId,
    since_ms: i64,
    /// Its lease lapsed, and that was told.
    told: bool,
    stage: Stage,
}

enum Stage {
    Reserved(Box<UnderWay>),
    Spent(Spent, Option<Box<Retry>>),
    /// In no index any more; it only waits for its turn to leave the queue.
    Forgotten,
}

/// What is of interest only until the execution is settled.
pub(super) struct UnderWay {
    pub(super) store: StoreId,
    pub(super) retry: Option<Retry>,
    pub(super) purpose: Option<Purpose>,
}

/// A reservation that is settled now.
pub(super) struct Settled {
    pub(super) since_ms: i64,
    pub(super) was: UnderWay,
}

impl Held {
    fn expired(&self, now_ms: i64) -> bool {
        now_ms - self.since_ms >= RETENTION_MS
    }

    fn entry(&self) -> Option<Entry> {
        let (state, retry) = match &self.stage {
            Stage::Reserved(under_way) => (State::Reserved, under_way.retry),
            Stage::Spent(spent, retry) => (State::Spent(*spent), retry.as_deref().copied()),
            Stage::Forgotten => return None,
        };
        Some(Entry { state, first: self.first, retry })
    }

    /// Ends the reservation, if it is one.
    fn spend(&mut self, spent: Spent) -> Option<UnderWay> {
        match std::mem::replace(&mut self.stage, Stage::Forgotten) {
            Stage::Reserved(under_way) => {
                self.stage = Stage::Spent(spent, under_way.retry.map(Box::new));
                Some(*under_way)
            }
            other => {
                self.stage = other;
                None
            }
        }
    }
}

impl Table {
    /// Tokens that are remembered.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn entry(&self, key: Key, now_ms: i64) -> Option<Entry> {
        self.queue.get(self.number(key)?).filter(|held| !held.expired(now_ms))?.entry()
    }

    /// Reserves a token that [`Self::entry`] does not know, after [`Self::clear`].
    pub(super) fn reserve(&mut self, key: Key, first: TraceId, under_way: UnderWay, now_ms: i64) {
        self.push(Held { key, first, since_ms: now_ms, told: false, stage: Stage::Reserved(Box::new(under_way)) });
    }

    /// Settles the reservation of this call; `None` if the token is not reserved by it.
    pub(super) fn settle(&mut self, key: Key, trace: TraceId, standing: Standing, now_ms: i64) -> Option<Settled> {
        let number = self.number(key)?;
        let held = self.queue.get_mut(number).filter(|held| held.first == trace && !held.expired(now_ms))?;
        let spent = match standing {
            Standing::Spent(spent) => spent,
            Standing::Unused => Spent::Unexecuted,
        };
        let settled = Settled { since_ms: held.since_ms, was: held.spend(spent)? };
        if standing == Standing::Unused {
            self.forget(number);
            self.compact();
        }
        Some(settled)
    }

    /// What became of the reservation of this call.
    pub(super) fn fate(&self, key: Key, trace: TraceId, now_ms: i64) -> Fate {
        let held = self.number(key).and_then(|number| self.queue.get(number));
        match held.filter(|held| held.first == trace && !held.expired(now_ms)) {
            Some(held) if held.told => Fate::Told,
            Some(Held { stage: Stage::Spent(Spent::Burned, _), .. }) => Fate::Burned,
            Some(Held { stage: Stage::Spent(Spent::Unexecuted, _), .. }) => Fate::Unexecuted,
            Some(_) => Fate::Indeterminate,
            None => Fate::Unknown,
        }
    }

    /// Clears away some expired tokens, and this one if it is; how many.
    pub(super) fn clear(&mut self, key: Key, now_ms: i64) -> usize {
        let before = self.len();
        for _ in 0..CLEARED_PER_STEP {
            if self.queue.first().is_none_or(|held| !held.expired(now_ms)) {
                break;
            }
            self.forget(self.queue.number(0));
            self.queue.drop_first();
            self.seen = self.seen.saturating_sub(1);
        }
        if let Some(number) = self.number(key)
            && self.queue.get(number).is_some_and(|held| held.expired(now_ms))
        {
            self.forget(number);
        }
        self.shrink();
        before - self.len()
    }

    /// Settles as indeterminate what is reserved since that time or longer, and tells it, until
    /// `told` holds `most`. Sees every token once.
    pub(super) fn lapse(&mut self, then_ms: i64, most: usize, told: &mut Vec<Lapsed>) {
        while told.len() < most {
            let number = self.queue.number(self.seen);
            let Some(held) = self.queue.get_mut(number).filter(|held| held.since_ms <= then_ms) else { return };
            if let Some(UnderWay { store, .. }) = held.spend(Spent::Indeterminate) {
                let slot = Slot { namespace: held.key.namespace, store, jti: held.key.jti };
                told.push(Lapsed { slot, trace: held.first });
                held.told = true;
            }
            self.seen += 1;
        }
    }

    fn number(&self, key: Key) -> Option<u32> {
        let is_it = |number: &u32| self.queue.get(*number).is_some_and(|held| held.key == key);
        self.index.find(key.hash(), is_it).copied()
    }

    fn push(&mut self, held: Held) {
        let hash = held.key.hash();
        let number = self.queue.push(held);
        let Self { queue, index, .. } = self;
        index.insert_unique(hash, number, |number| hash_of(queue, *number));
    }

    /// Takes a token out of the index. It stays in the queue until its turn.
    fn forget(&mut self, number: u32) {
        let Some(held) = self.queue.get_mut(number) else { return };
        held.stage = Stage::Forgotten;
        if let Ok(place) = self.index.find_entry(held.key.hash(), |known| *known == number) {
            place.remove();
        }
    }

    /// Closes the gaps in the queue once they are more than the tokens: one that is released again
    /// and again must not fill the memory. Costs what a growing index costs.
    fn compact(&mut self) {
        if self.queue.len() <= 2 * self.len() + CHUNK {
            return;
        }
        let (old, seen) = (std::mem::take(&mut self.queue), std::mem::take(&mut self.seen));
        self.index.clear();
        for (at, held) in old.into_entries().enumerate() {
            if !matches!(held.stage, Stage::Forgotten) {
                self.seen += usize::from(at < seen);
                self.push(held);
            }
        }
    }

    /// After a flood the index gives its memory back.
    fn shrink(&mut self) {
        let Self { queue, index, .. } = self;
        if index.capacity() > CHUNK && index.capacity() > 8 * index.len() {
            index.shrink_to(2 * index.len(), |number| hash_of(queue, *number));
        }
    }
}

fn hash_of(queue: &Queue<Held>, number: u32) -> u64 {
    queue.get(number).map_or(0, |held| held.key.hash())
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Reserve(usize),
        /// Of the token, by a reservation that was made so many ago.
        Settle(usize, usize, Standing),
        Lapse,
        Pass(i64),
    }

    const LEASE_MS: i64 = RETENTION_MS - 30_000;

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let standing = prop_oneof![
            4 => Just(Standing::Unused),
            1 => Just(Standing::Spent(Spent::Burned)),
            1 => Just(Standing::Spent(Spent::Indeterminate)),
        ];
        let step = prop_oneof![
            6 => (0usize..12).prop_map(Step::Reserve),
            6 => (0usize..12, 0usize..2, standing).prop_map(|(token, ago, to)| Step::Settle(token, ago, to)),
            1 => Just(Step::Lapse),
            2 => (0..RETENTION_MS / 3).prop_map(Step::Pass),
        ];
        prop::collection::vec(step, 1..400)
    }

    fn key(number: usize) -> Key {
        let jti = Jti::parse(&format!("00000000-0000-4000-8000-{number:012x}")).unwrap();
        Key { namespace: Namespace::Enforce, jti }
    }

    fn under_way() -> UnderWay {
        UnderWay { store: StoreId::parse("s").unwrap(), retry: None, purpose: None }
    }

    /// The plainest possible ledger.
    #[derive(Default)]
    struct Model(HashMap<usize, (State, TraceId, i64)>);

    impl Model {
        fn get(&self, token: usize, now_ms: i64) -> Option<(State, TraceId)> {
            let (state, first, since_ms) = self.0.get(&token)?;
            (now_ms - since_ms < RETENTION_MS).then_some((*state, *first))
        }

        fn settle(&mut self, token: usize, trace: TraceId, to: Standing, now_ms: i64) -> bool {
            let reserved = self.get(token, now_ms) == Some((State::Reserved, trace));
            match to {
                _ if !reserved => {}
                Standing::Unused => drop(self.0.remove(&token)),
                Standing::Spent(spent) => self.0.get_mut(&token).unwrap().0 = State::Spent(spent),
            }
            reserved
        }

        fn expired(&self, now_ms: i64) -> impl Iterator<Item = TraceId> {
            self.0.values().filter(move |(_, _, since)| now_ms - since >= RETENTION_MS).map(|(_, first, _)| *first)
        }

        fn lapse(&mut self, then_ms: i64) -> Vec<TraceId> {
            let late = |(state, _, since): &&mut (State, TraceId, i64)| *state == State::Reserved && *since <= then_ms;
            let late = self.0.values_mut().filter(late);
            late.map(|held| std::mem::replace(held, (State::Spent(Spent::Indeterminate), held.1, held.2)).1).collect()
        }
    }

    proptest! {
        #[test]
        fn it_remembers_as_a_plain_map_does(steps in steps()) {
            let (mut table, mut model, mut now) = (Table::default(), Model::default(), 0);
            let mut made: HashMap<usize, Vec<TraceId>> = HashMap::new();
            for step in steps {
                match step {
                    Step::Reserve(token) => {
                        table.clear(key(token), now);
                        if table.entry(key(token), now).is_none() {
                            let trace = TraceId::random();
                            table.reserve(key(token), trace, under_way(), now);
                            model.0.insert(token, (State::Reserved, trace, now));
                            made.entry(token).or_default().push(trace);
                        }
                    }
                    Step::Settle(token, ago, to) => {
                        let Some(trace) = made.get(&token).and_then(|made| made.iter().rev().nth(ago)) else { continue };
                        let settled = table.settle(key(token), *trace, to, now).is_some();
                        prop_assert_eq!(settled, model.settle(token, *trace, to, now));
                    }
                    Step::Lapse => {
                        let (mut told, then) = (Vec::new(), now - LEASE_MS);
                        table.lapse(then, 100, &mut told);
                        let told: HashSet<_> = told.iter().map(|lapsed| lapsed.trace).collect();
                        // What expired may be cleared away untold.
                        let expired: HashSet<_> = model.expired(now).collect();
                        let late: HashSet<_> = model.lapse(then).into_iter().collect();
                        prop_assert!(told.is_subset(&late));
                        prop_assert!(late.difference(&told).all(|trace| expired.contains(trace)));
                        model.0.retain(|_, (_, first, _)| !expired.contains(first));
                    }
                    Step::Pass(millis) => now += millis,
                }
                for token in 0..12 {
                    let found = table.entry(key(token), now).map(|entry| (entry.state, entry.first));
                    prop_assert_eq!(found, model.get(token, now));
                }
            }
        }
    }

    #[test]
    fn one_that_is_released_for_ever_fills_nothing() {
        let mut table = Table::default();
        for now in 0..10_000 {
            let trace = TraceId::random();
            table.clear(key(1), now);
            table.reserve(key(1), trace, under_way(), now);
            assert!(table.settle(key(1), trace, Standing::Unused, now).is_some());
        }
        assert!(table.queue.len() <= CHUNK && table.len() == 0);
    }

    #[test]
    fn a_flood_leaves_no_memory_behind() {
        let mut table = Table::default();
        for token in 0..10_000 {
            table.reserve(key(token), TraceId::random(), under_way(), 0);
        }
        assert!(table.index.capacity() >= 10_000);
        for token in 10_000..12_000 {
            table.clear(key(token), RETENTION_MS);
            table.reserve(key(token), TraceId::random(), under_way(), RETENTION_MS);
        }
        assert_eq!((table.len(), table.queue.len()), (2000, 2000));
        assert!(table.index.capacity() < 10_000);
    }
}
