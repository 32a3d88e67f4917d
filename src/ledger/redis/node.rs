//! One server of the ledger: a few connections that are kept open, and what is known of it. While
//! it is known to be down nobody waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::clock::Clock;

use super::find::Finder;
use super::line::{Line, NoLine};
use super::options::Access;
use super::trouble::Trouble;

/// Between two attempts to connect: short enough that a server that is back is used within a
/// second.
const PAUSE: Duration = Duration::from_millis(100);
/// An open connection is looked over this often.
const LOOK: Duration = Duration::from_secs(1);

/// What is known of a server.
#[derive(Clone, Debug)]
pub(super) enum Known {
    /// Nothing yet, or the last connection was lost a moment ago.
    Nothing,
    Up,
    Down(Arc<NoLine>),
}

/// See the module.
pub(super) struct Node {
    finder: Finder,
    access: Access,
    clock: Clock,
    patience: Duration,
    lines: Vec<Place>,
    next: AtomicUsize,
    known: watch::Sender<Known>,
    /// Connections that were opened so far: with each, the server may have forgotten.
    opened: AtomicU64,
}

#[derive(Default)]
struct Place {
    line: ArcSwapOption<Line>,
    broken: Notify,
}

/// A connection, and the place it stands in.
pub(super) struct Held {
    pub(super) line: Arc<Line>,
    place: usize,
}

/// Keeps a server's connections open until it is dropped.
pub(super) struct Kept {
    pub(super) node: Arc<Node>,
    _keepers: JoinSet<()>,
}

impl Kept {
    pub(super) fn open(finder: Finder, access: Access, clock: Clock, patience: Duration, lines: usize) -> Self {
        let node = Arc::new(Node {
            finder,
            access,
            clock,
            patience,
            lines: (0..lines).map(|_| Place::default()).collect(),
            next: AtomicUsize::new(0),
            known: watch::Sender::new(Known::Nothing),
            opened: AtomicU64::new(0),
        });
        let mut keepers = JoinSet::new();
        for place in 0..lines {
            keepers.spawn(keep(node.clone(), place));
        }
        Self { node, _keepers: keepers }
    }
}

impl Node {
    /// A connection: at once where there is one or the server is known to be down, else when one
    /// is opened, at the latest at `until`.
    pub(super) async fn line(&self, until: Instant) -> Result<Held, Trouble> {
        let mut known = self.known.subscribe();
        loop {
            if let Some(held) = self.any() {
                return Ok(held);
            }
            if let Known::Down(why) = &*known.borrow_and_update() {
                return Err(if why.trouble() == Trouble::Unsafe { Trouble::Unsafe } else { Trouble::Down });
            }
            let changed = tokio::time::timeout_at(until, known.changed()).await;
            if !matches!(changed, Ok(Ok(()))) {
                return Err(Trouble::Down);
            }
        }
    }

    fn any(&self) -> Option<Held> {
        let count = self.lines.len();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        (0..count).map(|n| (first + n) % count).find_map(|place| {
            let line = self.lines.get(place)?.line.load_full()?;
            Some(Held { line, place })
        })
    }

    /// Takes a connection out of use and has another opened in its place.
    pub(super) fn broken(&self, held: &Held) {
        self.lose(held.place, &held.line, Known::Nothing);
    }

    fn lose(&self, place: usize, line: &Arc<Line>, known: Known) {
        let Some(place) = self.lines.get(place) else { return };
        let lost = place.line.compare_and_swap(line, None);
        if lost.as_ref().is_some_and(|lost| Arc::ptr_eq(lost, line)) {
            place.broken.notify_one();
            if self.lines.iter().all(|place| place.line.load().is_none()) {
                self.known.send_replace(known);
            }
        }
    }

    /// Nobody waits any more, unless another connection is open by now.
    fn tell_down(&self, why: NoLine) {
        self.known.send_if_modified(|known| {
            let alone = self.lines.iter().all(|place| place.line.load().is_none());
            if alone && !matches!(known, Known::Down(_)) {
                tracing::error!(%why, "ledger server not usable");
            }
            if alone {
                *known = Known::Down(Arc::new(why));
            }
            alone
        });
    }

    pub(super) fn known(&self) -> Known {
        self.known.borrow().clone()
    }

    pub(super) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Acquire)
    }

    async fn open(&self) -> Result<Line, NoLine> {
        let address = self.finder.find(self.patience).await?;
        Line::open(&address, &self.access, &self.clock, self.patience).await
    }

    /// True while the connection still leads to where it should, and the server there is safe.
    async fn look(&self, line: &Line) -> Result<(), NoLine> {
        self.finder.confirm(&line.address, self.patience).await?;
        line.look_again(&self.access, &self.clock, self.patience).await
    }
}

/// Keeps one connection open.
async fn keep(node: Arc<Node>, number: usize) {
    let Some(place) = node.lines.get(number) else { return };
    loop {
        match node.open().await {
            Ok(line) => {
                let line = Arc::new(line);
                node.opened.fetch_add(1, Ordering::AcqRel);
                place.line.store(Some(line.clone()));
                if !matches!(node.known.send_replace(Known::Up), Known::Up) {
                    tracing::info!(server = %line.address, "ledger server in use");
                }
                watch_over(&node, number, line).await;
            }
            Err(why) => {
                node.tell_down(why);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Looks at an open connection from time to time, until it is broken.
async fn watch_over(node: &Node, number: usize, line: Arc<Line>) {
    let Some(place) = node.lines.get(number) else { return };
    loop {
        if tokio::time::timeout(LOOK, place.broken.notified()).await.is_ok() {
            return;
        }
        if let Err(why) = node.look(&line).await {
            tracing::warn!(%why, "ledger connection given up");
            node.lose(number, &line, Known::Down(Arc::new(why)));
            return;
        }
    }
}
