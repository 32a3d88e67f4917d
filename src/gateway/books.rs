//! The books of one execution: what it passed with, what is kept of its answer, and the one entry
//! that says how it ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use crate::authority::cart::Cart;
use crate::authority::execute::{Clearance, Ending, TokenState};
use crate::authority::{Authority, Call};
use crate::decide::policy::Mode;
use crate::ledger::{Answer, Settlement};
use crate::protocol::coding::decoded;
use crate::protocol::media::Coding;
use crate::protocol::order::{AnswerKey, OrderFacts, read_answer};
use crate::protocol::outcome::Outcome;
use crate::protocol::preset::Basis;

use super::route::Route;
use super::wire::{AnswerFault, AnswerHead};

/// As much of an answer is kept to read the order from; longer answers are settled without it.
pub(super) const COPY_MAX: usize = 64 * 1024;
/// And as much of it decoded.
const PLAIN_MAX: usize = 1024 * 1024;
/// How often the entry of an execution that broke off is tried.
const TRIES: usize = 5;
/// The fields that are kept with an answer: those that say how its body is to be read.
const KEPT: [&str; 4] = ["content-type", "content-encoding", "content-language", "location"];

/// What a request may pass with.
pub enum Ticket {
    /// Judged and reserved: it has to be settled.
    Cleared(Clearance),
    /// Observed only, or let through by the policy during an outage; already recorded as such.
    Unjudged,
}

/// How an answer is read.
#[derive(Clone)]
pub struct Reading {
    pub route: Arc<Route>,
    /// What the answer is to; `None` for a request that commits nothing.
    pub commit: Option<Commit>,
}

/// A commit, as its answer has to be read.
#[derive(Clone)]
pub struct Commit {
    pub key: Option<AnswerKey>,
    pub basis: Basis,
}

impl Reading {
    /// The outcome and the order of a complete answer; `coded` is its body as it came.
    pub(super) fn read(&self, status: u16, coding: Option<Coding>, coded: Option<&[u8]>) -> (Outcome, OrderFacts) {
        let Some(Commit { key, basis }) = &self.commit else { return (Outcome::Failed, OrderFacts::default()) };
        let plain = coded.zip(coding).and_then(|(body, coding)| decoded(body, coding, PLAIN_MAX).ok());
        read_answer(&self.route.preset, status, plain.as_deref(), key.as_ref(), *basis)
    }
}

/// See the module. Whoever settles first writes the entry. Dropped unsettled (a fault of ours, at a
/// moment that nobody knows) it is settled as unknown.
pub struct Books {
    authority: Arc<Authority>,
    call: Call,
    reading: Reading,
    cart: Option<Cart>,
    /// Taken when the execution is settled.
    ticket: Mutex<Option<Ticket>>,
    /// True once the entry is written.
    written: AtomicBool,
}

impl Books {
    #[must_use]
    pub fn open(authority: Arc<Authority>, call: Call, reading: Reading, cart: Option<Cart>, ticket: Ticket) -> Self {
        Self { authority, call, reading, cart, ticket: Mutex::new(Some(ticket)), written: AtomicBool::new(false) }
    }

    pub(super) fn authority(&self) -> &Arc<Authority> {
        &self.authority
    }

    pub(super) fn reading(&self) -> &Reading {
        &self.reading
    }

    /// Records how it ended, the first time it is called. Says where the token stands, if there
    /// was one to settle.
    pub(super) async fn settle(&self, ending: &Ending, answer: Option<Answer>) -> Option<TokenState> {
        let Self { authority, call, cart, ticket, .. } = self;
        let ticket = ticket.lock().take();
        let state = match (ticket, cart) {
            (Some(Ticket::Cleared(clearance)), Some(cart)) => {
                Some(authority.settle(call, cart, clearance, ending, answer).await)
            }
            (Some(_), cart) => {
                authority.record_order(call, cart.as_ref(), ending).await;
                None
            }
            (None, _) => return None,
        };
        self.written.store(true, Ordering::Release);
        state
    }
}

impl Drop for Books {
    fn drop(&mut self) {
        let (ticket, cart) = (self.ticket.get_mut().take(), self.cart.take());
        let (Some(cart), Ok(runtime)) = (cart, tokio::runtime::Handle::try_current()) else { return };
        let clearance = match ticket {
            Some(Ticket::Cleared(clearance)) => Some(clearance),
            // Broken off within the entry.
            None if !*self.written.get_mut() && self.call.rules.mode == Mode::Enforce => None,
            Some(Ticket::Unjudged) | None => return,
        };
        runtime.spawn(write_down(self.authority.clone(), self.call.clone(), cart, clearance));
    }
}

/// Writes the entry of an execution that broke off. Where that breaks off too, what the ledger
/// knows by then is written.
async fn write_down(authority: Arc<Authority>, call: Call, cart: Cart, clearance: Option<Clearance>) {
    let unsettled = call.unsettled(&cart);
    let enforced = call.rules.mode == Mode::Enforce;
    if let Some(clearance) = clearance {
        let authority = authority.clone();
        let settling = tokio::spawn(async move {
            let ending = Ending {
                settlement: Settlement::Indeterminate,
                status: None,
                cause: "internal_error".into(),
                order: OrderFacts::default(),
                client_gone: false,
            };
            authority.settle(&call, &cart, clearance, &ending, None).await
        });
        if settling.await.is_ok() {
            return;
        }
    }
    for _ in 0..if enforced { TRIES } else { 0 } {
        let (authority, left) = (authority.clone(), unsettled.clone());
        if tokio::spawn(async move { authority.recover(left).await }).await.is_ok() {
            return;
        }
    }
}

/// What is kept of an answer, to judge it and to give it again.
pub(super) struct AnswerCopy {
    status: u16,
    coding: Option<Coding>,
    /// `Some` where a retry may ask for the answer.
    headers: Option<Vec<(String, String)>>,
    /// `None` once it grew beyond [`COPY_MAX`].
    body: Option<BytesMut>,
}

impl AnswerCopy {
    pub(super) fn of(head: &AnswerHead, keeps_answer: bool) -> Self {
        let text = |name: &&str| Some(((*name).to_owned(), String::from_utf8(head.fields.first(name)?.to_vec()).ok()?));
        let headers = keeps_answer.then(|| KEPT.iter().filter_map(text).collect());
        Self { status: head.status, coding: head.media().coding, headers, body: Some(BytesMut::new()) }
    }

    pub(super) fn keep(&mut self, piece: &Bytes) {
        match &mut self.body {
            Some(copy) if copy.len() + piece.len() <= COPY_MAX => copy.extend_from_slice(piece),
            copy => *copy = None,
        }
    }

    pub(super) fn is_too_long(&self) -> bool {
        self.body.is_none()
    }

    /// The whole answer, where it is to be kept and not too long.
    pub(super) fn kept(self) -> Option<Answer> {
        Some(Answer { status: self.status, headers: self.headers?, body: self.body?.freeze() })
    }

    pub(super) fn ending(&self, reading: &Reading, fault: Option<AnswerFault>, client_gone: bool) -> Ending {
        let body = self.body.as_ref().filter(|_| fault.is_none());
        let (outcome, order) = reading.read(self.status, self.coding, body.map(AsRef::as_ref));
        let (settlement, cause) = match (fault, outcome) {
            (Some(_), _) => (Settlement::Burned, "answer_truncated"),
            (None, Outcome::NotExecuted) => (Settlement::Released, outcome.as_str()),
            (None, _) if self.coding.is_none() => (Settlement::Burned, "answer_encoded"),
            (None, _) => (Settlement::Burned, outcome.as_str()),
        };
        Ending { settlement, status: Some(self.status), cause: cause.into(), order, client_gone }
    }
}
