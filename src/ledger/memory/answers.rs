//! Answers that are kept for whoever lost them: the youngest, up to a number of bytes.

use bytes::Bytes;

use super::aging::Aging;
use super::table::Key;
use crate::ledger::{Answer, RETENTION_MS};

/// A longer answer is not kept.
const ANSWER_MAX: usize = 64 << 10;
/// What an answer takes beside its texts, about.
const OVERHEAD: usize = 256;
/// Answers of forgotten tokens that one answer drops at most.
const DROPPED_PER_STEP: usize = 8;

pub(super) struct Answers {
    kept: Aging<Key, Answer>,
    bytes: usize,
    max: usize,
}

impl Answers {
    pub(super) fn new(max: usize) -> Self {
        Self { kept: Aging::default(), bytes: 0, max }
    }

    pub(super) fn keep(&mut self, key: Key, answer: Answer, now_ms: i64) {
        let bytes = size(&answer);
        if bytes > ANSWER_MAX.min(self.max) {
            return;
        }
        // A slice of a buffer would keep the whole buffer.
        let answer = Answer { body: Bytes::copy_from_slice(&answer.body), ..answer };
        self.bytes += bytes;
        if let Some(before) = self.kept.insert(key, answer, now_ms) {
            self.bytes -= size(&before);
        }
        for _ in 0..DROPPED_PER_STEP {
            self.drop_until(now_ms - RETENTION_MS);
        }
        while self.bytes > self.max && self.drop_until(now_ms) {}
    }

    /// Drops the oldest if it came at that time or earlier.
    fn drop_until(&mut self, then_ms: i64) -> bool {
        let old = self.kept.pop_until(then_ms);
        self.bytes -= old.as_ref().map_or(0, size);
        old.is_some()
    }

    /// The answer, which may be older than its token is remembered.
    pub(super) fn get(&self, key: Key) -> Option<Answer> {
        self.kept.get(&key).map(|(answer, _)| answer.clone())
    }
}

fn size(answer: &Answer) -> usize {
    let headers = answer.headers.iter().map(|(name, value)| name.len() + value.len() + 64);
    answer.body.len() + headers.sum::<usize>() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Namespace, Slot};
    use crate::model::ids::{Jti, StoreId};

    fn key() -> Key {
        let store = StoreId::parse("s").unwrap();
        Key::of(&Slot { namespace: Namespace::Enforce, store, jti: Jti::random() })
    }

    fn answer(len: usize) -> Answer {
        Answer {
            status: 200,
            headers: vec![("content-type".into(), "text/plain".into())],
            body: vec![b'x'; len].into(),
        }
    }

    #[test]
    fn the_oldest_make_room_for_the_youngest() {
        let mut answers = Answers::new(3 * size(&answer(1000)));
        let keys: Vec<_> = (0..5).map(|_| key()).collect();
        for key in &keys {
            answers.keep(*key, answer(1000), 0);
        }
        let kept: Vec<_> = keys.iter().map(|key| answers.get(*key).is_some()).collect();
        assert_eq!(kept, [false, false, true, true, true]);
        assert_eq!(answers.bytes, answers.max);
        answers.keep(keys[0], answer(1000), RETENTION_MS);
        assert_eq!((answers.kept.len(), answers.bytes), (1, size(&answer(1000))));
    }

    #[test]
    fn a_long_answer_is_not_kept_and_displaces_none() {
        let (mut answers, short, long) = (Answers::new(1 << 20), key(), key());
        answers.keep(short, answer(1000), 0);
        answers.keep(long, answer(ANSWER_MAX), 0);
        assert_eq!((answers.get(short), answers.get(long)), (Some(answer(1000)), None));
    }
}
