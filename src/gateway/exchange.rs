//! The one sending to the merchant (README decision 12): in one write, once, on a connection that is
//! kept for the next one, and knowing whether a byte left.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::protocols::Stream;
use prometheus::HistogramVec;
use tokio::sync::{Notify, watch};

use crate::clock::Clock;

use super::patience::within;
use super::upstream::Upstream;
use super::wire::{AnswerFault, AnswerHead, HeadMax, Incoming, Written, write_all};

/// Time for the records of executions that were cut short.
const RECORD: Duration = Duration::from_secs(2);

/// Connections to merchants, for exchanges, and the executions that are under way.
pub struct Exchange {
    connector: TransportConnector,
    clock: Clock,
    /// How long it takes to connect, by server and result.
    connects: HistogramVec,
    /// Longest execution, from its first byte to the settlement: within the lease of its reservation.
    longest: Duration,
    under_way: AtomicUsize,
    /// Told when the last of them is over.
    idle: Notify,
    /// True once executions are cut short: the process ends, and what is not known by then is
    /// recorded as not known.
    cut: watch::Sender<bool>,
}

/// What goes to the merchant, byte for byte.
pub struct Outgoing {
    pub method: Method,
    pub bytes: Bytes,
    pub errand: Errand,
}

/// What a request is sent for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Errand {
    /// It buys something or may: sent at most once.
    Execution,
    /// Somebody else's, passed on: a safe method (RFC 9110 §9.2.1) is sent again where a kept connection
    /// turns out to be dead, and informational answers are passed on too.
    Forward,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendFault {
    /// Not one byte was written.
    NotSent,
    /// Something may have arrived.
    Sent(AnswerFault),
}

impl Exchange {
    /// `lease`: how long a reservation may stay unsettled. The ninth part of it is left for the
    /// settlement and for clocks that differ.
    #[must_use]
    pub fn within(lease: Duration, clock: Clock, connects: HistogramVec) -> Self {
        Self {
            connector: TransportConnector::new(Some(ConnectorOptions::new(1))),
            clock,
            connects,
            longest: lease * 8 / 9,
            under_way: AtomicUsize::new(0),
            idle: Notify::new(),
            cut: watch::Sender::new(false),
        }
    }
}

impl Exchange {
    /// Sends a request and reads the head of its answer. The request is written at most once:
    /// only a kept connection that took not one byte is replaced by a new one.
    pub async fn send(
        &self,
        upstream: &Upstream,
        out: &Outgoing,
        silence: Duration,
    ) -> Result<(Incoming, AnswerHead), SendFault> {
        if *self.cut.borrow() {
            return Err(SendFault::NotSent);
        }
        let to = upstream.address();
        let mut kept = upstream.pool.take(to);
        loop {
            let reused = kept.is_some();
            let mut stream = match kept.take() {
                Some(stream) => stream,
                // Rare and large: it would make every exchange as large.
                None => Box::pin(self.connect(upstream)).await?,
            };
            match within(silence, write_all(&mut stream, &out.bytes, upstream.is_encrypted())).await {
                Ok(Ok(())) => {}
                Ok(Err(Written::Nothing)) if reused => continue,
                Ok(Err(Written::Nothing)) => return Err(SendFault::NotSent),
                Ok(Err(Written::Something)) => return Err(SendFault::Sent(AnswerFault::Failed)),
                Err(_) => return Err(SendFault::Sent(AnswerFault::TimedOut)),
            }
            let mut incoming = Incoming::new(stream, to, silence, out.head_max());
            match out.head_from(&mut incoming).await {
                Err(AnswerFault::Closed | AnswerFault::Failed) if reused && out.may_repeat() && incoming.is_mute() => {}
                head => return head.map(|head| (incoming, head)).map_err(SendFault::Sent),
            }
        }
    }

    async fn connect(&self, upstream: &Upstream) -> Result<Stream, SendFault> {
        let began = self.clock.monotonic();
        let connected = self.connector.new_stream(&upstream.peer()).await;
        let result = if connected.is_ok() { "connected" } else { "failed" };
        let seconds = self.clock.monotonic().seconds_since(began);
        self.connects.with_label_values(&[upstream.to_string().as_str(), result]).observe(seconds);
        connected.map_err(|_| SendFault::NotSent)
    }

    /// Cuts executions short, and waits until each is recorded. Nothing is sent after that.
    pub async fn cut_short(&self) {
        self.cut.send_replace(true);
        let _ = tokio::time::timeout(RECORD, self.quiet()).await;
    }

    /// Resolves when no execution is under way.
    async fn quiet(&self) {
        loop {
            let mut idle = pin!(self.idle.notified());
            // Before the look, so that the last one does not end unheard between the two.
            idle.as_mut().enable();
            if self.under_way.load(Ordering::SeqCst) == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Resolves with what an exchange breaks off for: after the longest time that one may take, or when
    /// executions are cut short.
    pub async fn limit(&self, deadline: tokio::time::Instant) -> AnswerFault {
        let mut cut = self.cut.subscribe();
        tokio::select! {
            () = tokio::time::sleep_until(deadline) => AnswerFault::TimedOut,
            _ = cut.wait_for(|cut| *cut) => AnswerFault::CutShort,
        }
    }

    /// Longest execution, from its first byte to the settlement.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// Gives a connection back after a whole answer.
    pub fn finish(upstream: &Upstream, incoming: Incoming) {
        if let Some((stream, to)) = incoming.reusable() {
            upstream.pool.give(stream, to);
        }
    }
}

impl Outgoing {
    async fn head_from(&self, incoming: &mut Incoming) -> Result<AnswerHead, AnswerFault> {
        match self.errand {
            Errand::Execution => incoming.head(&self.method).await,
            Errand::Forward => incoming.next_head(&self.method).await,
        }
    }

    fn head_max(&self) -> HeadMax {
        match self.errand {
            Errand::Execution => HeadMax::JUDGED,
            Errand::Forward => HeadMax::PASSED_ON,
        }
    }

    fn may_repeat(&self) -> bool {
        self.errand == Errand::Forward && self.method.is_safe()
    }
}

/// Counts one execution until it is over, however it ends.
pub struct UnderWay(Arc<Exchange>);

impl UnderWay {
    #[must_use]
    pub fn begin(exchange: &Arc<Exchange>) -> Self {
        exchange.under_way.fetch_add(1, Ordering::SeqCst);
        Self(exchange.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.0.under_way.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}
