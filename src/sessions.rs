//! Floor 4: commits of one checkout session come one after the other, so that what was read from a
//! session is what is committed, as far as this gateway is on the way (README decision 15).

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, oneshot};

use crate::model::ids::Jti;
use crate::model::percent;

/// Sessions and tokens that are remembered at once. Beyond it the longest unused is forgotten:
/// its next request no longer waits for the one before, which costs order, never a burn.
const REMEMBERED: u64 = 100_000;
const IDLE: Duration = Duration::from_secs(300);
/// Session reads that one token may have under way.
const READS_PER_TOKEN: usize = 2;

/// Whose turn it is, by session; and how many reads a token has under way.
pub struct Sessions {
    turns: Cache<String, Arc<Mutex<()>>>,
    reads: Cache<Jti, Arc<Semaphore>>,
}

/// The right to change one session. Dropping it lets the next one in.
pub struct Turn(#[expect(dead_code, reason = "held for its drop")] OwnedMutexGuard<()>);

/// A turn that ends by itself, however slow its holder is.
pub struct BoundedTurn(#[expect(dead_code, reason = "held for its drop")] oneshot::Sender<()>);

impl Turn {
    /// Gives the turn up after this time, or when the value is dropped.
    #[must_use]
    pub fn for_at_most(self, time: Duration) -> BoundedTurn {
        let (held, released) = oneshot::channel::<()>();
        tokio::spawn(async move {
            let _ = tokio::time::timeout(time, released).await;
            drop(self);
        });
        BoundedTurn(held)
    }
}

/// The right to read for the tokens of one purchase.
pub struct Reading(#[expect(dead_code, reason = "held for its drop")] Vec<OwnedSemaphorePermit>);

impl Default for Sessions {
    fn default() -> Self {
        Self {
            turns: Cache::builder().max_capacity(REMEMBERED).time_to_idle(IDLE).build(),
            reads: Cache::builder().max_capacity(REMEMBERED).time_to_idle(IDLE).build(),
        }
    }
}

impl Sessions {
    /// Waits for the session's turn, at most `patience`. `gid%3A1` and `gid:1` are one session.
    pub async fn turn(&self, route: &str, session: &str, patience: Duration) -> Option<Turn> {
        let turn = self.turns.get_with(format!("{route} {}", percent::decoded(session)), Arc::default);
        tokio::time::timeout(patience, turn.lock_owned()).await.ok().map(Turn)
    }

    /// Waits until each of these tokens has a read to spare, at most `patience` altogether.
    pub async fn reading(&self, tokens: impl Iterator<Item = Jti>, patience: Duration) -> Option<Reading> {
        let all = async {
            let mut held = Vec::with_capacity(1);
            for jti in tokens {
                let reads = self.reads.get_with(jti, || Arc::new(Semaphore::new(READS_PER_TOKEN)));
                held.push(reads.acquire_owned().await.ok()?);
            }
            Some(Reading(held))
        };
        tokio::time::timeout(patience, all).await.ok()?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_session_has_one_turn_and_sessions_do_not_wait_for_each_other() {
        let sessions = Sessions::default();
        let turn = sessions.turn("ucp", "a", SOON).await.unwrap();
        assert!(sessions.turn("ucp", "a", SOON).await.is_none());
        assert!(sessions.turn("ucp", "b", SOON).await.is_some());
        assert!(sessions.turn("ucp", "%61", SOON).await.is_none());
        drop(turn);
        assert!(sessions.turn("ucp", "a", SOON).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_holder_loses_its_turn() {
        let sessions = Sessions::default();
        let _held = sessions.turn("ucp", "a", SOON).await.unwrap().for_at_most(Duration::from_secs(5));
        assert!(sessions.turn("ucp", "a", SOON).await.is_none());
        assert!(sessions.turn("ucp", "a", Duration::from_secs(6)).await.is_some());
    }

    #[tokio::test]
    async fn a_token_has_two_reads() {
        let (sessions, jti) = (Sessions::default(), Jti::random());
        let first = sessions.reading(std::iter::once(jti), SOON).await.unwrap();
        let _second = sessions.reading(std::iter::once(jti), SOON).await.unwrap();
        assert!(sessions.reading(std::iter::once(jti), SOON).await.is_none());
        drop(first);
        assert!(sessions.reading(std::iter::once(jti), SOON).await.is_some());
    }
}
