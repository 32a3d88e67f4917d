//! Carries the events of this process's spool to a control plane on another host.
//!
//! The receiver says which sequence it wants next, and a segment is released once everything in it was
//! taken. So whatever goes wrong on either side, asking again loses nothing and doubles nothing. While
//! nobody takes them, events stay in the spool, whose limit is the bound.

mod http;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::record::{self, HEADER};
use super::segment::Keep;
use super::stored::Body;
use super::tail::{Place, Read, Tail};
use crate::clock::Clock;
use crate::model::time::Timestamp;
use crate::telemetry::metrics::Metrics;

pub use http::{ControlPlane, RECORDS, WENT_BACK};

/// Most records of one delivery.
const RECORDS_MAX: usize = 512;
/// A delivery has fewer bytes than this, unless its one record has more.
const BYTES_MAX: usize = 512 << 10;
/// Pause when nothing new was found.
const PAUSE: Duration = Duration::from_millis(50);
/// Pauses after failures: doubled each time, up to the last.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// How long the last events may take when the process stops.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// Why a delivery did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("the receiver cannot be reached: {0}")]
    Unreachable(String),
    #[error("the receiver answered {status}: {message}")]
    Answered { status: u16, message: String },
    #[error("the receiver's answer is none: {0}")]
    Unreadable(String),
}

/// Whoever takes events: a control plane over HTTP, or in tests a store.
pub trait Receiver: Send + Sync {
    /// Takes records as they stand in a spool, one after the other, and answers which sequence it
    /// wants next once it has them for good. Without records it only answers. `went_back`: the stream
    /// was set back, and its next record has this number.
    fn deliver(&self, records: Vec<u8>, went_back: Option<u64>) -> impl Future<Output = Result<u64, Refused>> + Send;
}

/// Ships until `stop` turns true and the rest is delivered, for two seconds at most. `kept` says how
/// long what was delivered stays.
pub async fn ship(
    dir: PathBuf,
    receiver: impl Receiver,
    kept: Keep,
    clock: Clock,
    metrics: Arc<Metrics>,
    mut stop: watch::Receiver<bool>,
) {
    let mut shipper = Shipper { dir, receiver, kept, clock, metrics, at: None, failing: None };
    let (stopped, mut ending) = (stop.clone(), stop.clone());
    let running = async {
        let mut pause = BACK_OFF.0;
        let mut stopping = *stopped.borrow();
        loop {
            let wait = match shipper.round().await {
                Ok(true) => {
                    pause = BACK_OFF.0;
                    continue;
                }
                Ok(false) if stopping => return,
                Ok(false) => PAUSE,
                Err(()) => {
                    pause = (pause * 2).min(BACK_OFF.1);
                    if stopping { BACK_OFF.0 } else { pause }
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stop.wait_for(|stop| *stop), if !stopping => {}
            }
            stopping = *stopped.borrow();
        }
    };
    let deadline = async {
        let _ = ending.wait_for(|stop| *stop).await;
        tokio::time::sleep(STOP_WITHIN).await;
    };
    tokio::select! {
        () = running => {}
        () = deadline => tracing::warn!("stopped before all events were delivered; they stay in the spool"),
    }
}

struct Shipper<R> {
    dir: PathBuf,
    receiver: R,
    kept: Keep,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// Where reading goes on; not known before the receiver has said what it wants.
    at: Option<Tail>,
    /// When a failure began, which is told once, until it is over.
    failing: Option<Timestamp>,
}

impl<R: Receiver> Shipper<R> {
    /// `Ok(true)` where there may be more at once.
    async fn round(&mut self) -> Result<bool, ()> {
        let done = self.advance().await;
        match (&done, self.failing) {
            (Ok(_), None) => {}
            (Ok(_), Some(_)) => {
                tracing::info!("events reach the control plane again");
                self.failing = None;
            }
            (Err(error), None) => {
                tracing::error!(%error, "events do not reach the control plane; they stay in the spool");
                self.failing = Some(self.clock.now());
            }
            (Err(_), Some(since)) => {
                // What waited when it began waits at least as long as it lasts.
                let lasts = Duration::from_millis(self.clock.now().millis_since(since).max(0).unsigned_abs());
                self.metrics.evidence_lag.set(self.metrics.evidence_lag.get().max(lasts.as_secs_f64()));
            }
        }
        self.metrics.evidence_shipping.set(i64::from(done.is_ok()));
        done.map_err(|_told| self.at = None)
    }

    async fn advance(&mut self) -> Result<bool, Trouble> {
        let tail = match self.at.take() {
            Some(tail) => tail,
            None => Tail::new(self.dir.clone(), self.receiver.deliver(Vec::new(), None).await?, self.kept),
        };
        let (mut tail, batch, place) = off_the_runtime(move || read(tail)).await?;
        let Some(last) = batch.last().map(|last| last.sequence) else {
            if let Place::Behind { next } = place {
                let wanted = self.receiver.deliver(Vec::new(), Some(next)).await?;
                tail.go_to(wanted);
            }
            self.metrics.evidence_lag.set(0.0);
            self.at = Some(tail);
            return Ok(place != Place::End);
        };
        self.tell_lag(&batch);
        let wanted = self.receiver.deliver(framed(&batch)?, None).await?;
        if wanted == last + 1 {
            tail = off_the_runtime(move || tail.release().map(|()| tail)).await?;
        } else {
            tail.go_to(wanted);
        }
        self.at = Some(tail);
        Ok(true)
    }

    fn tell_lag(&self, batch: &[Read]) {
        let oldest = batch.first().and_then(|read| Timestamp::parse(Body::read(&read.body)?.time));
        let lag = oldest.map_or(0, |oldest| self.clock.now().millis_since(oldest).max(0));
        self.metrics.evidence_lag.set(Duration::from_millis(lag.unsigned_abs()).as_secs_f64());
    }
}

/// Why a round came to nothing.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("cannot read the spool: {0}")]
    Spool(#[from] io::Error),
}

async fn off_the_runtime<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|died| Err(io::Error::other(died)))
}

/// The next records, as many as one delivery may have.
fn read(mut tail: Tail) -> io::Result<(Tail, Vec<Read>, Place)> {
    let mut batch = Vec::new();
    let place = tail.read(RECORDS_MAX, &mut batch)?;
    let mut bytes = 0;
    let fits = |read: &&Read| {
        bytes += HEADER + read.body.len();
        bytes <= BYTES_MAX
    };
    let fitting = batch.iter().take_while(fits).count().max(1);
    if let Some(rest) = batch.get(fitting).map(|first| first.sequence) {
        batch.truncate(fitting);
        tail.go_to(rest);
    }
    // What the receiver has, a loss of power must not take from the spool: numbers would be given twice.
    tail.sync()?;
    Ok((tail, batch, place))
}

fn framed(batch: &[Read]) -> io::Result<Vec<u8>> {
    let (mut all, mut one) = (Vec::new(), Vec::new());
    for Read { sequence, body } in batch {
        record::encode(&mut one, *sequence, |out| out.extend_from_slice(body)).map_err(io::Error::other)?;
        all.extend_from_slice(&one);
    }
    Ok(all)
}
