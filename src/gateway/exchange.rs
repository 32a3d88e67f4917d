//! The one sending to the merchant on commit routes (README decision 12). It runs in a task of its
//! own, sends once, knows whether a byte left, and outlives the caller: what was executed is
//! recorded whether anybody is still listening or not.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::upstreams::peer::Peer;
use tokio::sync::{mpsc, watch};

use crate::authority::execute::{Ending, TokenState};
use crate::ledger::Settlement;
use crate::model::reason::Fault;
use crate::protocol::deny::Refusal;
use crate::protocol::order::OrderFacts;

use super::books::{AnswerCopy, Books};
use super::upstream::Upstream;
use super::wire::{AnswerFault, AnswerHead, Incoming, Written, write_all};

/// Idle connections that are kept for exchanges.
const POOL: usize = 128;
/// Longest silence of a merchant during an execution.
const SILENCE: Duration = Duration::from_secs(60);
/// Time for the records of executions that were cut short.
const RECORD: Duration = Duration::from_secs(2);
/// Pieces that may wait for a slow caller. Beyond it the merchant is read no faster.
const PIECES: usize = 16;

/// Connections to merchants, for exchanges, and the executions that are under way.
pub struct Exchange {
    connector: TransportConnector,
    /// Longest execution, from its first byte to the settlement: within the lease of its reservation.
    longest: Duration,
    under_way: watch::Sender<usize>,
    /// True once executions are cut short: the process ends, and what is not known by then is
    /// recorded as not known.
    cut: watch::Sender<bool>,
}

/// What goes to the merchant, byte for byte.
pub struct Outgoing {
    pub method: String,
    pub bytes: Bytes,
}

/// What comes back to the caller.
pub enum Part {
    Head(AnswerHead),
    Body(Bytes),
    /// The answer is complete and the execution recorded.
    End,
    /// The answer broke off after its head: the caller sees it broken too.
    Cut,
    /// There is no answer to pass on.
    Failed(Box<Refusal>),
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
    pub fn within(lease: Duration) -> Self {
        Self {
            connector: TransportConnector::new(Some(ConnectorOptions::new(POOL))),
            longest: lease * 8 / 9,
            under_way: watch::Sender::new(0),
            cut: watch::Sender::new(false),
        }
    }
}

impl Exchange {
    /// Sends a request and reads the head of its answer. The request is written at most once:
    /// only a pooled connection that took not one byte is replaced by a new one.
    pub async fn send(
        &self,
        upstream: &Upstream,
        out: &Outgoing,
        silence: Duration,
    ) -> Result<(Incoming, AnswerHead), SendFault> {
        let peer = upstream.peer();
        let mut pooled = self.connector.reused_stream(&peer).await;
        let stream = loop {
            let reused = pooled.is_some();
            let mut stream = match pooled.take() {
                Some(stream) => stream,
                None => self.connector.new_stream(&peer).await.map_err(|_| SendFault::NotSent)?,
            };
            match tokio::time::timeout(silence, write_all(&mut stream, &out.bytes, upstream.is_encrypted())).await {
                Ok(Ok(())) => break stream,
                Ok(Err(Written::Nothing)) if reused => {}
                Ok(Err(Written::Nothing)) => return Err(SendFault::NotSent),
                Ok(Err(Written::Something)) => return Err(SendFault::Sent(AnswerFault::Failed)),
                Err(_) => return Err(SendFault::Sent(AnswerFault::TimedOut)),
            }
        };
        let mut incoming = Incoming::new(stream, silence);
        let head = incoming.head(&out.method).await.map_err(SendFault::Sent)?;
        Ok((incoming, head))
    }

    /// Waits for executions under way, then cuts the rest short and waits until each is recorded.
    pub async fn drain(&self, patience: Duration) {
        let mut under_way = self.under_way.subscribe();
        if tokio::time::timeout(patience, under_way.wait_for(|count| *count == 0)).await.is_err() {
            self.cut.send_replace(true);
            let _ = tokio::time::timeout(RECORD, under_way.wait_for(|count| *count == 0)).await;
        }
    }

    /// Resolves when executions are cut short.
    async fn cut_short(&self) {
        let _ = self.cut.subscribe().wait_for(|cut| *cut).await;
    }

    /// Gives a connection back after a whole answer.
    pub fn finish(&self, upstream: &Upstream, incoming: Incoming) {
        if let Some(stream) = incoming.reusable() {
            let peer = upstream.peer();
            self.connector.release_stream(stream, peer.reuse_hash(), Some(upstream.reuse_idle()));
        }
    }
}

/// Counts one execution until it is over, however it ends.
struct UnderWay(Arc<Exchange>);

impl UnderWay {
    fn begin(exchange: &Arc<Exchange>) -> Self {
        exchange.under_way.send_modify(|count| *count += 1);
        Self(exchange.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.send_modify(|count| *count -= 1);
    }
}

/// One execution: everything that is needed to send it and to record how it ended.
pub struct Execution {
    pub exchange: Arc<Exchange>,
    pub books: Books,
    pub out: Outgoing,
    /// True where a retry may ask for the answer.
    pub keeps_answer: bool,
    /// Held until the execution is over: commits of one session come one after the other.
    pub turn: Option<crate::sessions::Turn>,
    /// The same of an amend: its caller may leave before the merchant is done with it.
    pub amending: Option<crate::sessions::BoundedTurn>,
}

impl Execution {
    /// Starts the execution. Dropping the receiver does not stop it.
    #[must_use]
    pub fn start(self) -> mpsc::Receiver<Part> {
        let (parts, answer) = mpsc::channel(PIECES);
        let under_way = UnderWay::begin(&self.exchange);
        tokio::spawn(async move {
            self.run(Caller { parts, gone: false }).await;
            drop(under_way);
        });
        answer
    }

    async fn run(mut self, mut caller: Caller) {
        let (authority, route) = (self.books.authority().clone(), self.books.reading().route.clone());
        let exchange = self.exchange.clone();
        let started = authority.clock.monotonic();
        let deadline = tokio::time::Instant::now() + exchange.longest;
        let sent = tokio::select! {
            sent = exchange.send(&route.upstream, &self.out, SILENCE) => sent,
            () = tokio::time::sleep_until(deadline) => Err(SendFault::Sent(AnswerFault::TimedOut)),
            () = exchange.cut_short() => Err(SendFault::Sent(AnswerFault::CutShort)),
        };
        match sent {
            Ok((incoming, head)) => self.relay(incoming, head, &mut caller, deadline).await,
            Err(fault) => self.fail(fault, caller).await,
        }
        let seconds = authority.clock.monotonic().seconds_since(started);
        authority.metrics.upstream_duration.with_label_values(&[&*route.name]).observe(seconds);
    }

    /// No answer: released if nothing was sent, else nobody knows.
    async fn fail(&self, fault: SendFault, mut caller: Caller) {
        let (settlement, cause, refusal) = match fault {
            SendFault::NotSent => {
                (Settlement::Released, "not_sent".to_owned(), Refusal::fault(Fault::UpstreamUnavailable))
            }
            SendFault::Sent(fault) => {
                let status = if fault == AnswerFault::TimedOut { 504 } else { 502 };
                let refusal = Refusal { status, ..Refusal::fault(Fault::OutcomeUnknown) };
                (Settlement::Indeterminate, fault.to_string(), refusal)
            }
        };
        let cause = cause.into();
        let ending = Ending { settlement, status: None, cause, order: OrderFacts::default(), client_gone: caller.gone };
        let token_state = self.books.settle(&ending, None).await.map(TokenState::as_str);
        caller.tell(Part::Failed(Box::new(Refusal { token_state, ..refusal }))).await;
    }

    /// Passes the answer on. Its last piece waits until the settlement is recorded, so that who
    /// has the whole answer may rely on the record.
    async fn relay(
        &mut self,
        mut incoming: Incoming,
        head: AnswerHead,
        caller: &mut Caller,
        deadline: tokio::time::Instant,
    ) {
        let reading = self.books.reading().clone();
        let mut copy = AnswerCopy::of(&head, self.keeps_answer);
        let mut head = Some(head);
        let mut held: Option<Bytes> = None;
        let exchange = self.exchange.clone();
        let fault = loop {
            let piece = tokio::select! {
                piece = incoming.piece() => piece,
                () = exchange.cut_short() => Err(AnswerFault::CutShort),
                () = tokio::time::sleep_until(deadline) => Err(AnswerFault::TimedOut),
            };
            match piece {
                Ok(Some(piece)) => {
                    copy.keep(&piece);
                    if copy.is_too_long() {
                        // Too long to wait for its end: what came is answer enough to burn.
                        let _ = self.books.settle(&copy.ending(&reading, None, caller.gone), None).await;
                    }
                    if let Some(earlier) = held.replace(piece) {
                        caller.tell_head(&mut head, deadline).await;
                        caller.tell_until(Part::Body(earlier), deadline).await;
                    }
                }
                Ok(None) => break None,
                Err(fault) => break Some(fault),
            }
        };
        let ending = copy.ending(&reading, fault, caller.gone);
        let kept = copy.kept().filter(|_| fault.is_none());
        let _ = self.books.settle(&ending, kept).await;
        // The next change of the session need not wait for a caller who takes its answer slowly.
        (self.turn, self.amending) = (None, None);
        // Before the caller can send its next request, which may then use it.
        self.exchange.finish(&reading.route.upstream, incoming);
        let longer = tokio::time::Instant::now() + SILENCE;
        caller.tell_head(&mut head, longer).await;
        if let Some(last) = held {
            caller.tell(Part::Body(last)).await;
        }
        caller.tell(if fault.is_none() { Part::End } else { Part::Cut }).await;
    }
}

/// The caller's end of the channel. It may be gone; the execution goes on.
struct Caller {
    parts: mpsc::Sender<Part>,
    gone: bool,
}

impl Caller {
    async fn tell(&mut self, part: Part) {
        self.gone = self.gone || self.parts.send(part).await.is_err();
    }

    /// A caller who takes nothing until the deadline is gone: the execution does not wait for it.
    async fn tell_until(&mut self, part: Part, deadline: tokio::time::Instant) {
        self.gone = tokio::time::timeout_at(deadline, self.parts.send(part)).await.is_err() || self.gone;
    }

    async fn tell_head(&mut self, head: &mut Option<AnswerHead>, deadline: tokio::time::Instant) {
        if let Some(head) = head.take() {
            self.tell_until(Part::Head(head), deadline).await;
        }
    }
}
