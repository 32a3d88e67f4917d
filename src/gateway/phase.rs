//! Where a connection stands between the requests that it carries, and whether more of it was read than they have.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

tokio::task_local! {
    static PHASE: Phase;
}

/// Where a connection stands between the requests that it carries. Told by its socket, and by whoever judges
/// requests, in the connection's own task.
#[derive(Clone, Debug, Default)]
pub struct Phase(Arc<Place>);

#[derive(Debug, Default)]
struct Place {
    /// Even while it waits for the head of a request, odd while it has one that is not over yet.
    turn: AtomicU32,
    /// Bytes that were read.
    read: AtomicU64,
    /// Bytes of the head that was read last, as they came; 0 where nobody knows.
    head: AtomicU64,
    /// Bytes of the requests that were begun; [`UNKNOWN`] once one was that does not say how long it is.
    asked: AtomicU64,
}

const UNKNOWN: u64 = u64::MAX;

impl Phase {
    /// Runs what serves the connection.
    pub async fn scope<T>(self, serving: impl Future<Output = T>) -> T {
        PHASE.scope(self, serving).await
    }

    /// The head of a request is whole. `head`: how long it was, where whoever read it knows; `body`: how many bytes
    /// follow, if that is known.
    pub fn begin(head: Option<u64>, body: impl FnOnce() -> Option<u64>) {
        Self::turn(0);
        let _ = PHASE.try_with(|Self(place)| {
            let scanned = Some(place.head.swap(0, Ordering::Relaxed)).filter(|head| *head > 0);
            let more = head.or(scanned).zip(body()).and_then(|(head, body)| head.checked_add(body));
            let asked = more.and_then(|more| place.asked.load(Ordering::Relaxed).checked_add(more));
            place.asked.store(asked.unwrap_or(UNKNOWN), Ordering::Relaxed);
        });
    }

    /// These bytes were read.
    pub(super) fn heard(&self, scan: &mut HeadScan, bytes: &[u8]) {
        if self.is_between() {
            *scan = HeadScan { open: true, ..HeadScan::default() };
        }
        if let Some(head) = scan.end_in(bytes) {
            self.0.head.store(head, Ordering::Relaxed);
        }
        self.0.read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }

    /// Nothing was read that is not of a request that was begun: no request counts for more than it has.
    pub fn is_between(&self) -> bool {
        self.0.read.load(Ordering::Relaxed) == self.0.asked.load(Ordering::Relaxed)
    }

    /// The request is over; another may follow.
    pub fn end() {
        Self::turn(1);
    }

    /// To the next phase, if this is one of such a parity.
    fn turn(parity: u32) {
        // Requests of HTTP/2 have tasks of their own, and limits of their own.
        let _ = PHASE.try_with(|phase| {
            let turn = &phase.0.turn;
            if turn.load(Ordering::Relaxed) % 2 == parity {
                turn.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    /// Which wait for a head it is; `None` while there is a request.
    pub(super) fn wait(&self) -> Option<u32> {
        Some(self.0.turn.load(Ordering::Relaxed)).filter(|count| count % 2 == 0)
    }
}

/// Looks for the end of a head that began between two requests: the first empty line but the first one. What comes behind
/// it is not looked at, and begins none: where requests come together nobody counts. Nor where a line ends in a bare line
/// feed: some take two of them for the end.
#[derive(Debug, Default)]
pub(super) struct HeadScan {
    open: bool,
    seen: u64,
    /// A line of it is over.
    begun: bool,
    /// Bytes of the line that is not, and the last of them.
    line: usize,
    last: u8,
}

impl HeadScan {
    /// How long the head is, if it ends in these bytes.
    fn end_in(&mut self, bytes: &[u8]) -> Option<u64> {
        if !self.open {
            return None;
        }
        let mut begins = 0;
        for at in memchr::memchr_iter(b'\n', bytes) {
            let line = self.line + (at - begins);
            let before = if at > begins { bytes.get(at - 1).copied() } else { Some(self.last) };
            let is_end = self.begun && line == 1;
            if is_end || before != Some(b'\r') {
                self.open = false;
            }
            if before != Some(b'\r') {
                return None;
            }
            begins = at + 1;
            if is_end {
                return Some(self.seen + begins as u64);
            }
            (self.begun, self.line, self.last) = (true, 0, b'\n');
        }
        self.seen += bytes.len() as u64;
        self.line += bytes.len() - begins;
        self.last = bytes.last().copied().unwrap_or(self.last);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection on which pieces are read.
    #[derive(Default)]
    struct Heard(Phase, HeadScan);

    impl Heard {
        fn hear(&mut self, bytes: &[u8]) {
            self.0.heard(&mut self.1, bytes);
        }

        async fn begin(&self, head: Option<u64>, body: Option<u64>) {
            self.0.clone().scope(async { Phase::begin(head, || body) }).await;
        }
    }

    #[tokio::test]
    async fn a_connection_is_between_requests_when_all_that_was_read_is_of_one() {
        let mut heard = Heard::default();
        assert!(heard.0.is_between());
        for cut in 1..18 {
            let (head, rest) = b"GET / HTTP/1.1\r\n\r\nbody".split_at(cut);
            for piece in [head, rest] {
                heard.hear(piece);
                assert!(!heard.0.is_between());
            }
            heard.begin(None, Some(4)).await;
            assert!(heard.0.is_between(), "{cut}");
        }
        for odd in [&b"\r\nGET / HTTP/1.1\r\n\r\n"[..], b"GET / HTTP/1.1\r\nA: b\r\r\n\r\n"] {
            heard.hear(odd);
            heard.begin(None, Some(0)).await;
            assert!(heard.0.is_between(), "{:?}", odd.escape_ascii());
        }
        heard.hear(b"GET / HTTP/1.1\r\n\r\nG");
        heard.begin(None, Some(0)).await;
        assert!(!heard.0.is_between(), "a byte of the next one is here");
        heard.hear(b"ET / HTTP/1.1\r\n\r\n");
        heard.begin(None, Some(0)).await;
        assert!(!heard.0.is_between(), "nobody knows");
    }

    /// Some end a head at two bare line feeds. What is behind them is no part of it, and may not be lost.
    #[tokio::test]
    async fn where_a_line_ends_in_a_bare_line_feed_nobody_counts() {
        const NEXT: &str = "GET /b HTTP/1.1\r\nHost: x\r\n\r\n";
        for head in ["GET / HTTP/1.1\r\nHost: x\r\n\n", "GET / HTTP/1.1\nHost: x\n\n", "GET / HTTP/1.1\nHost: x\n\r\n"]
        {
            let whole = [head, NEXT].concat();
            for cut in 1..whole.len() {
                let mut heard = Heard::default();
                let (first, rest) = whole.as_bytes().split_at(cut);
                heard.hear(first);
                heard.hear(rest);
                heard.begin(None, Some(0)).await;
                assert!(!heard.0.is_between(), "{head:?} cut at {cut}");
            }
        }
    }

    #[tokio::test]
    async fn who_read_a_head_says_how_long_it_was() {
        let mut heard = Heard::default();
        heard.hear(b"GET / HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n");
        for (head, is_between) in [(18, false), (19, true)] {
            heard.begin(Some(head), Some(0)).await;
            assert_eq!(heard.0.is_between(), is_between);
        }
    }
}
