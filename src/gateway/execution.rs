//! One execution, from its first byte to its record. It outlives its caller: what was executed is recorded
//! whether anybody is still listening or not.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::authority::execute::{Ending, TokenState};
use crate::clock::Monotonic;
use crate::ledger::{Answer, Settlement};
use crate::model::reason::Fault;
use crate::protocol::deny::Refusal;
use crate::protocol::order::OrderFacts;

use super::answer::Caller;
use super::books::{AnswerCopy, Books};
use super::exchange::{Exchange, Outgoing, SendFault, UnderWay};
use super::wire::{AnswerFault, AnswerHead, Incoming};

/// Longest silence of a merchant.
pub(super) const SILENCE: Duration = Duration::from_secs(60);

/// Everything that is needed to send it and to record how it ended.
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
    /// A process that ends waits until it is recorded, and no longer.
    pub under_way: Option<UnderWay>,
}

/// What is left to say to a caller when an exchange is over.
#[derive(Debug)]
pub enum Over {
    /// Its answer was passed on whole.
    Told,
    /// Its answer broke off.
    Cut,
    /// There is no answer.
    Failed(Box<Refusal>),
}

impl Execution {
    pub async fn run(&mut self, caller: &mut Caller<'_, '_>) -> Over {
        let (authority, route) = (self.books.authority().clone(), self.books.reading().route.clone());
        let exchange = self.exchange.clone();
        let started = authority.clock.monotonic();
        let deadline = Instant::now() + exchange.longest();
        let mut limit = pin!(exchange.limit(deadline));
        let sent = tokio::select! {
            biased;
            sent = exchange.send(&route.upstream, &self.out, SILENCE) => sent,
            fault = &mut limit => Err(SendFault::Sent(fault)),
        };
        match sent {
            Ok((incoming, head)) => self.relay(incoming, head, caller, started, (deadline, limit)).await,
            Err(fault) => {
                self.heard(caller, started);
                self.fail(fault, caller).await
            }
        }
    }

    /// The merchant has said all that it will.
    fn heard(&self, caller: &Caller<'_, '_>, started: Monotonic) {
        let (authority, route) = (self.books.authority(), &self.books.reading().route);
        let heard = authority.clock.monotonic();
        let seconds = heard.seconds_since(started);
        authority.metrics.upstream_duration.with_label_values(&[&*route.name]).observe(seconds);
        caller.merchant_had_it(started, heard);
    }

    /// No answer: released if nothing was sent, else nobody knows.
    async fn fail(&self, fault: SendFault, caller: &Caller<'_, '_>) -> Over {
        let (settlement, cause) = match fault {
            SendFault::NotSent => (Settlement::Released, "not_sent".to_owned()),
            SendFault::Sent(fault) => (Settlement::Indeterminate, fault.to_string()),
        };
        let client_gone = caller.is_gone();
        let ending =
            Ending { settlement, status: None, cause: cause.into(), order: OrderFacts::default(), client_gone };
        let token_state = self.books.settle(&ending, None).await.map(TokenState::as_str);
        Over::Failed(Box::new(Refusal { token_state, ..fault.refusal() }))
    }

    /// Passes the answer on once the settlement is recorded: who has it may rely on the record, and who
    /// takes it slowly delays none. Only what is too long to be read is passed on as it comes.
    async fn relay(
        &mut self,
        mut incoming: Incoming,
        head: AnswerHead,
        caller: &mut Caller<'_, '_>,
        started: Monotonic,
        (deadline, mut limit): (Instant, Pin<&mut impl Future<Output = AnswerFault>>),
    ) -> Over {
        let reading = self.books.reading().clone();
        let mut copy = AnswerCopy::of(&head, self.keeps_answer);
        let mut answer = Some((head, Vec::new()));
        let fault = loop {
            let piece = tokio::select! {
                biased;
                fault = &mut limit => Err(fault),
                piece = incoming.piece() => piece,
            };
            match (piece, &mut answer) {
                (Ok(Some(piece)), Some((_, held))) => {
                    copy.keep(&piece);
                    held.push(piece);
                }
                (Ok(Some(piece)), None) => caller.tell_body(Some(piece), false, deadline).await,
                (Ok(None), _) => break None,
                (Err(fault), _) => break Some(fault),
            }
            if copy.is_too_long()
                && let Some((head, held)) = answer.take()
            {
                // Too long to wait for its end: what came is answer enough to burn.
                self.record(&copy.ending(&reading, None, caller.is_gone()), None).await;
                tell(caller, &head, held, deadline).await;
            }
        };
        self.heard(caller, started);
        let ending = copy.ending(&reading, fault, caller.is_gone());
        let kept = copy.kept().filter(|_| fault.is_none());
        self.record(&ending, kept).await;
        // Before the caller can send its next request, which may then use it.
        Exchange::finish(&reading.route.upstream, incoming);
        let clock = self.books.authority().clock.clone();
        let (longer, told) = (Instant::now() + SILENCE, clock.monotonic());
        if let Some((head, held)) = answer {
            tell(caller, &head, held, longer).await;
        }
        if fault.is_none() {
            caller.tell_body(None, true, longer).await;
        }
        caller.waited_since(&clock, told);
        if fault.is_some() { Over::Cut } else { Over::Told }
    }

    /// Records how it ended, the first time. After that nobody waits for it: no process that ends, and no
    /// other change of its session.
    async fn record(&mut self, ending: &Ending, answer: Option<Answer>) {
        let _ = self.books.settle(ending, answer).await;
        (self.turn, self.amending, self.under_way) = (None, None, None);
    }
}

async fn tell(caller: &mut Caller<'_, '_>, head: &AnswerHead, pieces: Vec<Bytes>, deadline: Instant) {
    caller.tell_head(head, deadline).await;
    for piece in pieces {
        caller.tell_body(Some(piece), false, deadline).await;
    }
}

impl SendFault {
    /// What a caller is told who gets no answer.
    pub(super) fn refusal(self) -> Refusal {
        match self {
            Self::NotSent => Refusal::fault(Fault::UpstreamUnavailable),
            Self::Sent(AnswerFault::TimedOut) => Refusal { status: 504, ..Refusal::fault(Fault::OutcomeUnknown) },
            Self::Sent(_) => Refusal { status: 502, ..Refusal::fault(Fault::OutcomeUnknown) },
        }
    }
}
