//! Connections to one merchant that wait for their next request. Each thread keeps its own, so that
//! taking one waits for nobody; where a thread has none it takes another's.

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pingora::protocols::Stream;
use tokio::io::AsyncReadExt;

/// More threads than this share their places.
const SHARES: usize = 16;
/// Connections of one share. Beyond it the oldest is closed.
const SHARE_MAX: usize = 256;
/// Connections older than this may be closed at the other end without our knowing it.
pub const IDLE_MAX: Duration = Duration::from_secs(2);

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static OWN: usize = THREADS.fetch_add(1, Ordering::Relaxed) % SHARES;
}

/// See the module.
#[derive(Default)]
pub struct Pool {
    shares: [Mutex<VecDeque<Idle>>; SHARES],
}

struct Idle {
    stream: Stream,
    to: SocketAddr,
    since: Instant,
}

impl Pool {
    /// A connection to this address that is open as far as is known, the one that was used last.
    pub fn take(&self, to: SocketAddr) -> Option<Stream> {
        let (own, now) = (OWN.with(|own| *own), Instant::now());
        (own..own + SHARES).find_map(|share| {
            loop {
                let mut idle = self.shares.get(share % SHARES)?.lock().pop_back()?;
                if idle.to == to && idle.is_fresh(now) && is_open(&mut idle.stream) {
                    return Some(idle.stream);
                }
            }
        })
    }

    /// Keeps a connection whose last answer is read to its end.
    pub fn give(&self, stream: Stream, to: SocketAddr) {
        let idle = Idle { stream, to, since: Instant::now() };
        let Some(share) = self.shares.get(OWN.with(|own| *own)) else { return };
        let mut share = share.lock();
        let oldest = if share.len() >= SHARE_MAX { share.pop_front() } else { None };
        share.push_back(idle);
        // Closed after the lock is free.
        drop(share);
        drop(oldest);
    }

    /// Closes what nobody wanted in time.
    pub fn sweep(&self) {
        let now = Instant::now();
        for share in &self.shares {
            let mut share = share.lock();
            let stale = share.iter().take_while(|idle| !idle.is_fresh(now)).count();
            let stale: Vec<_> = share.drain(..stale).collect();
            drop(share);
            drop(stale);
        }
    }
}

impl Idle {
    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < IDLE_MAX
    }
}

/// False where the other end closed it, or said something that nobody asked for.
fn is_open(stream: &mut Stream) -> bool {
    let mut byte = [0];
    let read = pin!(tokio::task::unconstrained(stream.read(&mut byte)));
    read.poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    async fn pair(listener: &TcpListener) -> (Stream, TcpStream) {
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (theirs, _) = listener.accept().await.unwrap();
        (Box::new(pingora::protocols::l4::stream::Stream::from(ours)), theirs)
    }

    /// Until what happened at the other end is known here.
    async fn until_unusable(pool: &Pool, to: SocketAddr) {
        let known = async {
            while let Some(stream) = pool.take(to) {
                pool.give(stream, to);
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), known).await.expect("it is noticed");
    }

    #[tokio::test]
    async fn a_connection_is_taken_again_until_the_other_end_closes_it_or_speaks() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (to, pool) = (listener.local_addr().unwrap(), Pool::default());
        assert!(pool.take(to).is_none());
        let (ours, theirs) = pair(&listener).await;
        pool.give(ours, to);
        let ours = pool.take(to).expect("it is open");
        assert!(pool.take(to).is_none(), "it was taken");
        pool.give(ours, to);
        drop(theirs);
        until_unusable(&pool, to).await;
        let (ours, mut theirs) = pair(&listener).await;
        pool.give(ours, to);
        theirs.write_all(b"unasked").await.unwrap();
        until_unusable(&pool, to).await;
    }

    #[tokio::test]
    async fn what_goes_to_another_address_is_not_taken_and_what_is_stale_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (to, pool) = (listener.local_addr().unwrap(), Pool::default());
        let (ours, _theirs) = pair(&listener).await;
        pool.give(ours, to);
        assert!(pool.take("127.0.0.1:1".parse().unwrap()).is_none());
        let (ours, mut theirs) = pair(&listener).await;
        let since = Instant::now().checked_sub(IDLE_MAX).unwrap();
        pool.shares[0].lock().push_back(Idle { stream: ours, to, since });
        pool.sweep();
        assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0, "it is closed");
    }
}
