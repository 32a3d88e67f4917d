//! The one sending to the merchant on commit routes (README decision 12). It runs in a task of its
//! own, sends once, knows whether a byte left, and outlives the caller: what was executed is
//! recorded whether anybody is still listening or not.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::upstreams::peer::Peer;
use tokio::sync::{mpsc, watch};

use crate::authority::execute::{Clearance, Ending};
use crate::authority::{Authority, Call};
use crate::ledger::Settlement;
use crate::model::json::read_object;
use crate::model::reason::Fault;
use crate::protocol::deny::Refusal;
use crate::protocol::extract::{self, OrderFacts};
use crate::protocol::outcome::Outcome;
use crate::token::verify::Verified;

use super::route::Route;
use super::upstream::Upstream;
use super::wire::{AnswerFault, AnswerHead, Incoming, Written, write_all};

/// Idle connections that are kept for exchanges.
const POOL: usize = 128;
/// Longest silence of a merchant during an execution.
const SILENCE: Duration = Duration::from_secs(60);
/// Longest execution, well below the time that a ledger remembers a reservation.
const LONGEST: Duration = Duration::from_secs(240);
/// Time for the records of executions that were cut short.
const RECORD: Duration = Duration::from_secs(2);
/// As much of an answer is kept to read the order from; longer answers are settled without it.
const COPY_MAX: usize = 64 * 1024;
/// Pieces that may wait for a slow caller. Beyond it the merchant is read no faster.
const PIECES: usize = 16;

/// Connections to merchants, for exchanges, and the executions that are under way.
pub struct Exchange {
    connector: TransportConnector,
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

impl Default for Exchange {
    fn default() -> Self {
        Self {
            connector: TransportConnector::new(Some(ConnectorOptions::new(POOL))),
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
            match tokio::time::timeout(silence, write_all(&mut stream, &out.bytes)).await {
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

/// What a request may pass with.
#[expect(clippy::large_enum_variant, reason = "one for a request, moved a few times")]
pub enum Ticket {
    /// Judged and reserved: it has to be settled.
    Cleared(Clearance),
    /// Observed only, or let through by the policy during an outage; already recorded as such.
    Unjudged,
}

/// One execution: everything that is needed to send it and to record how it ended.
pub struct Execution {
    pub authority: Arc<Authority>,
    pub exchange: Arc<Exchange>,
    pub call: Call,
    pub route: Arc<Route>,
    pub token: Option<Verified>,
    /// Taken when the execution is settled.
    pub ticket: Option<Ticket>,
    pub out: Outgoing,
    /// Held until the execution is over: commits of one session come one after the other.
    pub turn: Option<crate::sessions::Turn>,
}

impl Execution {
    /// Starts the execution. Dropping the receiver does not stop it.
    #[must_use]
    pub fn start(self) -> mpsc::Receiver<Part> {
        let (parts, answer) = mpsc::channel(PIECES);
        let exchange = self.exchange.clone();
        exchange.under_way.send_modify(|count| *count += 1);
        tokio::spawn(async move {
            self.run(Caller { parts, gone: false }).await;
            exchange.under_way.send_modify(|count| *count -= 1);
        });
        answer
    }

    async fn run(mut self, mut caller: Caller) {
        let exchange = self.exchange.clone();
        let started = self.authority.clock.monotonic();
        let sent = tokio::select! {
            sent = exchange.send(&self.route.upstream, &self.out, SILENCE) => sent,
            () = exchange.cut_short() => Err(SendFault::Sent(AnswerFault::CutShort)),
        };
        match sent {
            Ok((incoming, head)) => self.relay(incoming, head, &mut caller).await,
            Err(fault) => self.fail(fault, caller).await,
        }
        let seconds = self.authority.clock.monotonic().seconds_since(started);
        self.authority.metrics.upstream_duration.with_label_values(&[&*self.route.name]).observe(seconds);
    }

    /// No answer: released if nothing was sent, else nobody knows.
    async fn fail(&mut self, fault: SendFault, mut caller: Caller) {
        let (settlement, cause, refusal) = match fault {
            SendFault::NotSent => {
                let refusal = Refusal { token_state: Some("unused"), ..Refusal::fault(Fault::UpstreamUnavailable) };
                (Settlement::Released, "not_sent".to_owned(), refusal)
            }
            SendFault::Sent(fault) => {
                let status = if fault == AnswerFault::TimedOut { 504 } else { 502 };
                let refusal =
                    Refusal { status, token_state: Some("indeterminate"), ..Refusal::fault(Fault::OutcomeUnknown) };
                (Settlement::Indeterminate, fault.to_string(), refusal)
            }
        };
        let cause = cause.into();
        let ending = Ending { settlement, status: None, cause, order: OrderFacts::default(), client_gone: caller.gone };
        self.settle(ending).await;
        caller.tell(Part::Failed(Box::new(refusal))).await;
    }

    /// Passes the answer on. Its last piece waits until the settlement is recorded, so that who
    /// has the whole answer may rely on the record.
    async fn relay(&mut self, mut incoming: Incoming, head: AnswerHead, caller: &mut Caller) {
        let mut answer = Answer { status: head.status, encoded: is_encoded(&head), copy: Some(BytesMut::new()) };
        let mut head = Some(head);
        let mut held: Option<Bytes> = None;
        let deadline = tokio::time::Instant::now() + LONGEST;
        let exchange = self.exchange.clone();
        let fault = loop {
            let piece = tokio::select! {
                piece = incoming.piece() => piece,
                () = exchange.cut_short() => Err(AnswerFault::CutShort),
                () = tokio::time::sleep_until(deadline) => Err(AnswerFault::TimedOut),
            };
            match piece {
                Ok(Some(piece)) => {
                    answer.keep(&piece);
                    if answer.copy.is_none() {
                        // Too long to wait for its end: what came is answer enough to burn.
                        self.settle(answer.ending(&self.route, None, caller.gone)).await;
                    }
                    if let Some(earlier) = held.replace(piece) {
                        caller.tell_head(&mut head).await;
                        caller.tell(Part::Body(earlier)).await;
                    }
                }
                Ok(None) => break None,
                Err(fault) => break Some(fault),
            }
        };
        self.settle(answer.ending(&self.route, fault, caller.gone)).await;
        // Before the caller can send its next request, which may then use it.
        self.exchange.finish(&self.route.upstream, incoming);
        caller.tell_head(&mut head).await;
        if let Some(last) = held {
            caller.tell(Part::Body(last)).await;
        }
        caller.tell(if fault.is_none() { Part::End } else { Part::Cut }).await;
    }

    /// Records how it ended, the first time it is called.
    async fn settle(&mut self, ending: Ending) {
        match (self.ticket.take(), &self.token) {
            (Some(Ticket::Cleared(clearance)), Some(token)) => {
                self.authority.settle(&self.call, token, clearance, &ending).await;
            }
            (Some(_), _) => self.authority.observe_order(&self.call, self.token.as_ref(), &ending),
            (None, _) => {}
        }
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

    async fn tell_head(&mut self, head: &mut Option<AnswerHead>) {
        if let Some(head) = head.take() {
            self.tell(Part::Head(head)).await;
        }
    }
}

/// What is kept of an answer to judge it.
struct Answer {
    status: u16,
    encoded: bool,
    /// `None` once it grew beyond [`COPY_MAX`].
    copy: Option<BytesMut>,
}

impl Answer {
    fn keep(&mut self, piece: &Bytes) {
        match &mut self.copy {
            Some(copy) if copy.len() + piece.len() <= COPY_MAX => copy.extend_from_slice(piece),
            copy => *copy = None,
        }
    }

    fn ending(&self, route: &Route, fault: Option<AnswerFault>, client_gone: bool) -> Ending {
        let body = self.copy.as_ref().filter(|_| !self.encoded && fault.is_none());
        let body = body.and_then(|copy| read_object(copy).ok());
        let outcome = route.preset.outcomes.judge(self.status, body.as_ref());
        let order = match (&body, outcome) {
            (Some(body), Outcome::Committed | Outcome::Pending) => extract::order(&route.preset, body),
            _ => OrderFacts::default(),
        };
        let (settlement, cause) = match (fault, outcome) {
            (Some(_), _) => (Settlement::Burned, "answer_truncated"),
            (None, Outcome::NotExecuted) => (Settlement::Released, outcome.as_str()),
            (None, _) if self.encoded => (Settlement::Burned, "answer_encoded"),
            (None, _) => (Settlement::Burned, outcome.as_str()),
        };
        Ending { settlement, status: Some(self.status), cause: cause.into(), order, client_gone }
    }
}

fn is_encoded(head: &AnswerHead) -> bool {
    head.header("content-encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity"))
}
