//! A map that knows in which order its entries came, so that the oldest can go first.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

pub(super) struct Aging<K, V> {
    kept: HashMap<K, Aged<V>>,
    order: BTreeMap<u64, K>,
    /// How many came so far.
    came: u64,
}

struct Aged<V> {
    number: u64,
    since_ms: i64,
    value: V,
}

impl<K, V> Default for Aging<K, V> {
    fn default() -> Self {
        Self { kept: HashMap::new(), order: BTreeMap::new(), came: 0 }
    }
}

impl<K: Copy + Eq + Hash, V> Aging<K, V> {
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// The entry, and since when it is here.
    pub(super) fn get(&self, key: &K) -> Option<(&V, i64)> {
        self.kept.get(key).map(|aged| (&aged.value, aged.since_ms))
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.kept.get_mut(key).map(|aged| &mut aged.value)
    }

    /// Puts it in as the youngest; what stood there before.
    pub(super) fn insert(&mut self, key: K, value: V, now_ms: i64) -> Option<V> {
        let before = self.remove(&key);
        self.came += 1;
        self.order.insert(self.came, key);
        self.kept.insert(key, Aged { number: self.came, since_ms: now_ms, value });
        before
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let aged = self.kept.remove(key)?;
        self.order.remove(&aged.number);
        Some(aged.value)
    }

    /// Takes the oldest out if it came at that time or earlier.
    pub(super) fn pop_until(&mut self, then_ms: i64) -> Option<V> {
        let key = *self.order.first_key_value()?.1;
        let old = self.get(&key).is_some_and(|(_, since_ms)| since_ms <= then_ms);
        if old { self.remove(&key) } else { None }
    }
}
