//! A commit whose body was read: tokens → facts → clearance → one sending.

use std::borrow::Cow;
use std::pin::pin;

use bytes::Bytes;

use crate::authority::cart::{Cart, NoCart};
use crate::authority::execute::Holder;
use crate::authority::retry::{Asked, Second};
use crate::authority::{CannotDecide, Passage, Refused};
use crate::decide::policy::Mode;
use crate::decide::{Denial, Facts};
use crate::model::json::Value;
use crate::model::percent;
use crate::model::reason::{Fault, ReasonCode};
use crate::model::signal::State;
use crate::protocol::body::{document, plain};
use crate::protocol::deny::Refusal;
use crate::protocol::preset::FactSource;
use crate::protocol::session::NoFacts;
use crate::telemetry::traces::Part;

use super::Gateway;
use super::answer::{Caller, caught};
use super::body::tokens;
use super::books::{Books, Ticket};
use super::downstream::Downstream;
use super::exchange::{Errand, UnderWay};
use super::execution::Execution;
use super::forward::{outgoing, without_hops};
use super::guard::Guarded;
use super::request::Request;
use super::route::Step;
use super::state::{Context, Decided, Waited};
use super::tokens::{Tokens, repeated};

/// A body to judge: as it is sent on, and as it is read.
#[derive(Clone, Copy)]
struct Offered<'b> {
    sent: &'b [u8],
    plain: &'b Result<Cow<'b, [u8]>, Refusal>,
    /// What was read already.
    document: Option<&'b Result<Value<'b>, Refusal>>,
    /// Where it is noted how long the merchant is waited for.
    waited: &'b Waited,
}

/// The document of a plain body.
fn read<'b>(step: &Step, plain: &'b Result<Cow<'_, [u8]>, Refusal>) -> Result<Value<'b>, Refusal> {
    plain.as_ref().map_err(Clone::clone).and_then(|plain| document(&step.route.preset, step.media, plain))
}

/// What became of the tokens that were presented.
enum Judged {
    Pass(Ticket, Decided),
    Refuse(Refused),
    /// Not a judgement: the request itself is malformed.
    Malformed(Refusal),
}

impl Gateway {
    /// A commit whose body was read: judge, send once.
    pub(super) async fn commit(
        &self,
        session: &mut Downstream<'_>,
        ctx: &mut Context,
        mut guarded: Box<Guarded>,
        in_header: Option<Tokens>,
        body: Bytes,
    ) -> pingora::Result<bool> {
        let sent = body.clone();
        let plain = plain(guarded.step.media, &sent, self.settings.body_max);
        // A token that is refused by itself is refused unread: a flood of them costs no parsing.
        let may_hold_tokens = !guarded.step.route.preset.token_pointers.is_empty();
        let document = may_hold_tokens.then(|| read(&guarded.step, &plain));
        let in_body = document.as_ref().and_then(|document| document.as_ref().ok());
        let presented = match tokens(&guarded.step.route, in_header, in_body) {
            Ok(Some(presented)) => presented,
            Ok(None) => return self.tokenless(session, ctx, guarded, Some(body)).await,
            Err(refusal) if guarded.enforced() => return self.refuse(session, ctx, &refusal, guarded.dialect()).await,
            Err(_) => {
                self.meet(session, &mut guarded, State::Malformed);
                return self.tokenless(session, ctx, guarded, Some(body)).await;
            }
        };
        self.meet(session, &mut guarded, State::Present);
        if let (Some(refusal), true) = (guarded.unclear.take(), guarded.enforced()) {
            return self.refuse(session, ctx, &refusal, guarded.dialect()).await;
        }
        let by_session = guarded.step.route.preset.source == FactSource::Session;
        if let (Some(id), true, true) = (guarded.step.session.as_deref(), by_session, guarded.enforced()) {
            let turn = self.sessions.turn(&guarded.step.route.name, id, self.settings.session_deadline);
            ctx.turn = ctx.waited.during(&self.authority.clock, turn).await;
            if ctx.turn.is_none() {
                return self.refuse(session, ctx, &busy(), guarded.dialect()).await;
            }
        }
        // The request's one instant: read once, when the request is complete and its turn has come.
        guarded.call.now = self.authority.clock.now();
        let offered = Offered { sent: &sent, plain: &plain, document: document.as_ref(), waited: &ctx.waited };
        // Judged as it goes on: what `Connection` takes away names no session either.
        let stripped = by_session.then(|| without_hops(session.request()));
        let head = stripped.as_ref().unwrap_or_else(|| session.request());
        let (cart, judged) = self.judge(&guarded, head, &presented, offered).await;
        match judged {
            Judged::Pass(ticket, decided) => {
                ctx.decision = decided;
                self.execute(session, ctx, guarded, cart, ticket, body).await
            }
            Judged::Refuse(refused) => {
                self.authority.refuse(&guarded.call, cart.as_ref(), &refused);
                match refused {
                    Refused::Second(Second::Answered { first, answer: Some(answer) }) => {
                        self.answer_again(session, ctx, first, answer).await
                    }
                    refused => self.refuse(session, ctx, &refused.refusal(), guarded.dialect()).await,
                }
            }
            Judged::Malformed(refusal) => self.refuse(session, ctx, &refusal, guarded.dialect()).await,
        }
    }

    /// Judges presented tokens. In observe mode everything passes and what enforcement would have
    /// done is recorded before anything is sent.
    async fn judge(
        &self,
        guarded: &Guarded,
        head: &Request,
        presented: &Tokens,
        offered: Offered<'_>,
    ) -> (Option<Cart>, Judged) {
        let (cart, cleared) = self.clear(guarded, head, presented, offered).await;
        let judged = match (guarded.call.rules.mode, cleared) {
            (Mode::Enforce, Ok(ticket)) => Judged::Pass(ticket, Decided::Allowed),
            (Mode::Enforce, Err(Judged::Refuse(Refused::Cannot(cannot)))) => match self.authority.outage(&guarded.call)
            {
                Passage::Closed => Judged::Refuse(Refused::Cannot(cannot)),
                Passage::Bypass => {
                    self.authority.bypass(&guarded.call, cart.as_ref(), &cannot);
                    Judged::Pass(Ticket::Unjudged, Decided::Bypassed)
                }
            },
            (Mode::Enforce, Err(judged)) => judged,
            (Mode::Observe, Ok(ticket)) => {
                let _ = self.authority.observe(&guarded.call, &guarded.observed(cart.as_ref(), None)).await;
                Judged::Pass(ticket, Decided::Observed)
            }
            (Mode::Observe, Err(judged)) => {
                let refused = match judged {
                    Judged::Refuse(refused) => refused,
                    _ => Denial::by(ReasonCode::IntentMismatch, "intent_unknown")
                        .found("body_malformed", "a strict JSON body")
                        .into(),
                };
                let _ = self.authority.observe(&guarded.call, &guarded.observed(cart.as_ref(), Some(&refused))).await;
                Judged::Pass(Ticket::Unjudged, Decided::Observed)
            }
        };
        (cart, judged)
    }

    /// verify → screen → facts → decide and reserve. The first value is what was verified, for the
    /// record, whatever came after.
    async fn clear(
        &self,
        guarded: &Guarded,
        head: &Request,
        presented: &Tokens,
        offered: Offered<'_>,
    ) -> (Option<Cart>, Result<Ticket, Judged>) {
        const MEMBER: &str = "Permyx-Execution-Token";
        let call = &guarded.call;
        let Ok(presented) = presented.presented() else {
            let message = "an execution token has at most 4096 bytes";
            return (None, Err(Judged::Malformed(Refusal::malformed(431, MEMBER, message))));
        };
        let (cart, cleared) = match self.authority.present(call, &presented, guarded.retry.key.as_ref()) {
            Ok(cart) => {
                let cleared = self.clear_verified(guarded, head, &cart, offered).await;
                (cart, cleared)
            }
            Err(NoCart::Refused(refused, Some(known))) => (*known, Err(Judged::Refuse(refused))),
            Err(NoCart::Refused(refused, None)) => return (None, Err(Judged::Refuse(refused))),
            Err(NoCart::Repeated) => return (None, Err(Judged::Malformed(repeated(MEMBER)))),
        };
        let cleared = match cleared {
            // Whatever is said of it now: if it was carried out before, that is what a retry is told.
            Err(Judged::Refuse(refused @ Refused::Denied(_))) => {
                let request = [guarded.retry.line.as_bytes(), offered.sent];
                let prior = self.authority.retried(call, &cart, &guarded.asked(&request)).await;
                Err(Judged::Refuse(prior.unwrap_or(refused)))
            }
            cleared => cleared,
        };
        (Some(cart), cleared)
    }

    async fn clear_verified(
        &self,
        guarded: &Guarded,
        head: &Request,
        cart: &Cart,
        offered: Offered<'_>,
    ) -> Result<Ticket, Judged> {
        let call = &guarded.call;
        let refuse = |refused: Refused| Judged::Refuse(refused);
        // An outage may open the gate; to what is revoked it stays shut.
        let no_session = |cause| match self.authority.unrevoked(call, cart) {
            Ok(()) => refuse(Refused::Cannot(CannotDecide::Session(cause))),
            Err(denial) => refuse(denial.into()),
        };
        self.authority.screen(call, cart).map_err(|denial| refuse(denial.into()))?;
        let (preset, query) = (&guarded.step.route.preset, head.query().unwrap_or_default());
        if let Some(name) = preset.reshapes(query) {
            let message = "leave this parameter out of a purchase: its outcome could not be read";
            return Err(Judged::Malformed(Refusal::malformed(400, name, message)));
        }
        let own;
        let document = match offered.document {
            Some(document) => document,
            None => {
                own = read(&guarded.step, offered.plain);
                &own
            }
        };
        let document = document.as_ref().map_err(|refusal| Judged::Malformed(refusal.clone()))?;
        if let Some(name) = preset.says_twice(query, document) {
            return Err(Judged::Malformed(Refusal::malformed(400, name, "say this in the form alone")));
        }
        let _reading = match preset.source {
            FactSource::Request => None,
            FactSource::Session => {
                let tokens = cart.tokens().sorted_by_key(|token| token.jti());
                let tokens = tokens.iter().map(|token| token.jti());
                let reading = self.sessions.reading(tokens, self.settings.session_deadline);
                Some(reading.await.ok_or_else(|| no_session("too_many_reads"))?)
            }
        };
        let traced = call.traced.as_ref().filter(|_| preset.source == FactSource::Session);
        let traced = traced.map(|traced| (traced, self.authority.clock.monotonic()));
        let found = self.facts(&guarded.step, head, document, call.policy.price_basis(), offered.waited).await;
        if let Some((traced, began)) = traced {
            traced.took(Part::Session, began, self.authority.clock.monotonic());
        }
        let facts = match &found {
            Ok(facts) => Facts::Known(facts),
            Err(NoFacts::Unknown(cause)) => Facts::Unknown(cause),
            Err(NoFacts::Contradicted) => Facts::Unknown("body_contradicts_session"),
            Err(NoFacts::Unreachable(cause)) => return Err(no_session(cause)),
        };
        let request = [guarded.retry.line.as_bytes(), offered.sent];
        let asked = guarded.asked(&request);
        let clearance = self.authority.clear(call, cart, facts, Holder::Merchant, &asked).await.map_err(refuse)?;
        Ok(Ticket::Cleared(clearance))
    }

    pub(super) async fn execute(
        &self,
        session: &mut Downstream<'_>,
        ctx: &mut Context,
        guarded: Box<Guarded>,
        cart: Option<Cart>,
        ticket: Ticket,
        body: Bytes,
    ) -> pingora::Result<bool> {
        let dialect = guarded.dialect();
        let keeps_answer = guarded.enforced() && guarded.retry.key.is_some();
        let out = outgoing(session.request(), ctx, cart.as_ref(), &body, Errand::Execution);
        // From here on the reservation is settled, whatever happens.
        let reading = guarded.reading();
        let books = Books::open(self.authority.clone(), guarded.call, reading, cart, ticket);
        let (turn, amending) = (ctx.turn.take(), ctx.amending.take());
        let exchange = self.exchange.clone();
        let under_way = Some(UnderWay::begin(&exchange));
        let mut execution = Execution { exchange, books, out, keeps_answer, turn, amending, under_way };
        let mut caller = Caller::of(session, ctx);
        let over = caught(pin!(execution.run(&mut caller))).await;
        // Whatever became of it, it is recorded and waited for no longer.
        drop(execution);
        caller.lost()?;
        self.conclude(session, ctx, over, dialect).await
    }
}

impl Guarded {
    /// What the request says of itself; `request` is its line and its body.
    fn asked<'a>(&'a self, request: &'a [&'a [u8]]) -> Asked<'a> {
        let session = self.step.session.as_deref().filter(|_| self.step.route.preset.source == FactSource::Session);
        let session = session.map(percent::decoded);
        Asked { key: self.retry.key.clone(), request, session, confirmed: self.retry.confirmed }
    }
}

/// Another change of the same session is under way.
fn busy() -> Refusal {
    Refusal { retry_after_s: Some(1), ..Refusal::fault(Fault::InFlight) }
}
