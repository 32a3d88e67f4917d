//! A queue in chunks of one size. It grows without moving what it holds, gives memory back as it
//! drains, and names every entry by a number that stays the same.

use std::collections::VecDeque;

/// Entries of a chunk: small, because every shard holds one or two that are not full.
pub(super) const CHUNK: usize = 64;

pub(super) struct Queue<T> {
    /// All but the last are full.
    chunks: VecDeque<Vec<T>>,
    /// The number of the first entry of the first chunk. Numbers begin anew after 2³².
    base: u32,
    /// Entries at the start of the first chunk that have left the queue.
    gone: usize,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { chunks: VecDeque::new(), base: 0, gone: 0 }
    }
}

impl<T> Queue<T> {
    pub(super) fn len(&self) -> usize {
        let full = self.chunks.len().saturating_sub(1) * CHUNK;
        full + self.chunks.back().map_or(0, Vec::len) - self.gone
    }

    /// Adds at the end; the number of the entry.
    pub(super) fn push(&mut self, entry: T) -> u32 {
        let number = self.number(self.len());
        match self.chunks.back_mut().filter(|chunk| chunk.len() < CHUNK) {
            Some(chunk) => chunk.push(entry),
            None => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(entry);
                self.chunks.push_back(chunk);
            }
        }
        number
    }

    pub(super) fn get(&self, number: u32) -> Option<&T> {
        let at = number.wrapping_sub(self.base) as usize;
        self.chunks.get(at / CHUNK)?.get(at % CHUNK)
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let at = number.wrapping_sub(self.base) as usize;
        self.chunks.get_mut(at / CHUNK)?.get_mut(at % CHUNK)
    }

    /// The number of the entry that stands so far behind the first.
    #[expect(clippy::cast_possible_truncation, reason = "numbers begin anew after 2³²")]
    pub(super) fn number(&self, behind: usize) -> u32 {
        self.base.wrapping_add((self.gone + behind) as u32)
    }

    pub(super) fn first(&self) -> Option<&T> {
        self.get(self.number(0))
    }

    /// Lets the first entry go. Its memory follows when its chunk is through, so it should hold
    /// nothing by now.
    pub(super) fn drop_first(&mut self) {
        if self.len() == 0 {
            return;
        }
        self.gone += 1;
        if self.gone == CHUNK {
            self.chunks.pop_front();
            self.base = self.base.wrapping_add(CHUNK as u32);
            self.gone = 0;
        }
    }

    /// Everything in the queue, first to last.
    pub(super) fn into_entries(self) -> impl Iterator<Item = T> {
        self.chunks.into_iter().flatten().skip(self.gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_and_memory_goes_as_it_drains() {
        let mut queue = Queue { base: u32::MAX - 100, ..Queue::default() };
        let mut numbers: VecDeque<(u32, usize)> = VecDeque::new();
        for n in 0..1000 {
            numbers.push_back((queue.push(n), n));
            if n % 3 == 0 {
                assert_eq!(queue.first(), numbers.front().map(|(_, n)| n));
                queue.drop_first();
                numbers.pop_front();
            }
            assert_eq!(queue.len(), numbers.len());
        }
        assert!(numbers.iter().all(|(number, n)| queue.get(*number) == Some(n)));
        assert!(queue.chunks.len() <= queue.len() / CHUNK + 2);
        assert!(queue.into_entries().eq(numbers.iter().map(|(_, n)| *n)));
    }
}
