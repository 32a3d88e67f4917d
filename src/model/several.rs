//! One or more of a kind. Most purchases have one token, and one costs no allocation.

/// At least one, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Several<T> {
    first: T,
    more: Vec<T>,
}

impl<T> Several<T> {
    #[must_use]
    pub const fn one(first: T) -> Self {
        Self { first, more: Vec::new() }
    }

    /// `None` when there is none.
    pub fn of(items: impl IntoIterator<Item = T>) -> Option<Self> {
        let mut items = items.into_iter();
        Some(Self { first: items.next()?, more: items.collect() })
    }

    pub fn push(&mut self, item: T) {
        self.more.push(item);
    }

    #[must_use]
    pub const fn first(&self) -> &T {
        &self.first
    }

    /// All but the first.
    #[must_use]
    pub fn more(&self) -> &[T] {
        &self.more
    }

    /// The first, and the others.
    #[must_use]
    pub fn split(self) -> (T, Vec<T>) {
        (self.first, self.more)
    }

    /// How many there are: one or more.
    #[must_use]
    pub fn count(&self) -> usize {
        1 + self.more.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> + Clone {
        std::iter::once(&self.first).chain(&self.more)
    }

    /// The same number of others.
    pub fn map<'a, U>(&'a self, mut make: impl FnMut(&'a T) -> U) -> Several<U> {
        Several { first: make(&self.first), more: self.more.iter().map(make).collect() }
    }

    /// The same number of others, made from these.
    pub fn into_map<U>(self, mut make: impl FnMut(T) -> U) -> Several<U> {
        Several { first: make(self.first), more: self.more.into_iter().map(make).collect() }
    }

    /// The same number of others, or the first error.
    pub fn try_map<'a, U, E>(&'a self, mut make: impl FnMut(&'a T) -> Result<U, E>) -> Result<Several<U>, E> {
        Ok(Several { first: make(&self.first)?, more: self.more.iter().map(make).collect::<Result<_, _>>()? })
    }

    /// The same, the smallest first. What has equal keys stays in order.
    #[must_use]
    pub fn sorted_by_key<K: Ord>(mut self, key: impl Fn(&T) -> K) -> Self {
        if self.more.is_empty() {
            return self;
        }
        self.more.insert(0, self.first);
        self.more.sort_by_key(key);
        let first = self.more.remove(0);
        Self { first, more: self.more }
    }

    /// True when two of them have one key.
    pub fn repeats<'a, K: Ord>(&'a self, key: impl Fn(&'a T) -> K) -> bool {
        if self.more.is_empty() {
            return false;
        }
        let mut seen = std::collections::BTreeSet::new();
        !self.iter().all(|item| seen.insert(key(item)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_several_is_never_none() {
        assert_eq!(Several::of(Vec::<u8>::new()), None);
        let three = Several::of([3, 1, 2]).unwrap();
        assert_eq!((three.count(), Several::one(3).count()), (3, 1));
        assert_eq!(three.map(|n| n * 2), Several::of([6, 2, 4]).unwrap());
        assert_eq!(three.try_map(|n| if *n < 3 { Ok(n) } else { Err(n) }), Err(&3));
        assert_eq!(three.sorted_by_key(|n| *n), Several::of([1, 2, 3]).unwrap());
    }

    #[test]
    fn a_repeated_key_is_seen() {
        assert!(Several::of(["a", "b", "a"]).unwrap().repeats(|text| *text));
        assert!(!Several::of(["a", "b"]).unwrap().repeats(|text| *text));
        assert!(!Several::one("a").repeats(|text| *text));
    }
}
