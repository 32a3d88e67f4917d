//! The way of a request: canonical → route → token → body → facts → clearance → one sending.

use bytes::Bytes;
use http::HeaderMap;
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use crate::authority::cart::{Cart, NoCart};
use crate::authority::execute::Holder;
use crate::authority::observe::Observed;
use crate::authority::policies::Policies;
use crate::authority::retry::{Asked, Second};
use crate::authority::{Call, CannotDecide, Passage, Refused, Stage};
use crate::decide::policy::Mode;
use crate::decide::{Denial, Facts};
use crate::detect::AgentSignal;
use crate::model::reason::{Fault, ReasonCode};
use crate::model::scope::Scope;
use crate::protocol::deny::Refusal;
use crate::protocol::preset::{Dialect, FactSource, Phase, Tokenless};

use super::Gateway;
use super::body::{NoBody, readable, tokens};
use super::books::{Books, Ticket};
use super::exchange::Execution;
use super::facts::NoFacts;
use super::forward::outgoing;
use super::head;
use super::look::Retrying;
use super::route::{Route, Step};
use super::state::{Context, Decided, Watch};
use super::tokens::{Tokens, repeated};

/// A request on a guarded route.
struct Guarded {
    step: Step,
    call: Call,
    retry: Retrying,
    signal: AgentSignal,
    oddity: Option<&'static str>,
}

impl Guarded {
    fn dialect(&self) -> Dialect {
        self.step.route.preset.dialect
    }

    fn enforced(&self) -> bool {
        self.call.rules.mode == Mode::Enforce
    }
}

/// What became of the tokens that were presented.
enum Judged {
    Pass(Ticket, Decided),
    Refuse(Refused),
    /// Not a judgement: the request itself is malformed.
    Malformed(Refusal),
}

impl Gateway {
    /// Answers the request (`true`) or lets pingora forward it (`false`).
    pub(super) async fn admit(&self, session: &mut Session, ctx: &mut Context) -> pingora::Result<bool> {
        // One snapshot of the policies for the whole request.
        let policies = self.authority.policies.snapshot();
        let looked = match self.look(session, &policies) {
            Ok(looked) => looked,
            Err(refusal) => return self.refuse(session, ctx, &refusal, Dialect::Permyx).await,
        };
        head_of(session).retain_theirs();
        let Some(step) = looked.step else { return self.unguarded(session, ctx).await };
        ctx.route = step.route.name.clone();
        let call = self.call(ctx, &step.route, &policies);
        let commits = step.phase == Some(Phase::Complete) && matches!(looked.tokens, Ok(Some(_)));
        let (retry, unclear) = match looked.retry {
            Ok(retry) => (retry, None),
            Err(refusal) => (Retrying::default(), Some(refusal).filter(|_| commits)),
        };
        let guarded = Guarded { step, call, retry, signal: looked.signal, oddity: looked.oddity };
        match looked.tokens.and_then(|tokens| unclear.map_or(Ok(tokens), Err)) {
            Ok(tokens) => self.guard(session, ctx, guarded, tokens).await,
            Err(refusal) if guarded.enforced() => self.refuse(session, ctx, &refusal, guarded.dialect()).await,
            Err(refusal) => self.observed_malformed(session, ctx, guarded, &refusal).await,
        }
    }

    fn call(&self, ctx: &Context, route: &Route, policies: &Policies) -> Call {
        let policy = policies.of(&route.store);
        Call {
            trace: ctx.trace,
            now: self.authority.clock.now(),
            stage: Stage::Gateway,
            store: route.store.clone(),
            rules: policy.route(&route.name),
            policy,
            route: Some(route.name.clone()),
            needs: Scope::AgentExec,
        }
    }

    async fn unguarded(&self, session: &mut Session, ctx: &mut Context) -> pingora::Result<bool> {
        ctx.forward = self.routes.fallback.clone();
        if ctx.forward.is_some() {
            return Ok(false);
        }
        let refusal = Refusal {
            message: Some("no route is configured for this path".to_owned()),
            ..Refusal::fault(Fault::NotFound)
        };
        self.refuse(session, ctx, &refusal, Dialect::Permyx).await
    }

    async fn guard(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        guarded: Guarded,
        tokens: Option<Tokens>,
    ) -> pingora::Result<bool> {
        let writes = !session.req_header().method.is_safe();
        match (guarded.step.phase, tokens) {
            (Some(Phase::Complete), Some(tokens)) => self.commit(session, ctx, guarded, Some(tokens)).await,
            (Some(Phase::Complete), None) if !guarded.step.route.preset.token_pointers.is_empty() => {
                self.commit(session, ctx, guarded, None).await
            }
            (Some(Phase::Complete), None) => self.tokenless(session, ctx, guarded, None).await,
            (Some(phase), _) => self.step_of_a_session(ctx, guarded, phase).await,
            (None, Some(_)) if writes => self.unrecognised(session, ctx, guarded).await,
            (None, None) if writes => self.tokenless(session, ctx, guarded, None).await,
            (None, _) => Ok(self.pass(ctx, &guarded, Decided::Unguarded)),
        }
    }

    /// Create, update, get and cancel burn nothing; changes of one session take turns.
    async fn step_of_a_session(&self, ctx: &mut Context, guarded: Guarded, phase: Phase) -> pingora::Result<bool> {
        if let (Phase::Update | Phase::Cancel, Some(id), true) = (phase, &guarded.step.session, guarded.enforced()) {
            // A commit under way goes first; an amend that waited long enough passes all the same.
            let patience = self.settings.session_deadline;
            let turn = self.sessions.turn(&guarded.step.route.name, id, patience).await;
            ctx.amending = turn.map(|turn| turn.for_at_most(patience));
        }
        Ok(self.pass(ctx, &guarded, Decided::Unguarded))
    }

    /// A request that carries a token and that the preset does not know: what it would do is
    /// unknown, so it may not pass as a commit nor around one.
    async fn unrecognised(&self, session: &mut Session, ctx: &mut Context, guarded: Guarded) -> pingora::Result<bool> {
        let denial =
            Denial::by(ReasonCode::IntentMismatch, "intent_unknown").found("unrecognised_request", "a known request");
        self.deny_or_observe(session, ctx, guarded, denial.into()).await
    }

    /// In observe mode a malformed token header is recorded and passes.
    async fn observed_malformed(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        guarded: Guarded,
        refusal: &Refusal,
    ) -> pingora::Result<bool> {
        tracing::debug!(trace = %ctx.trace, member = refusal.member, "token header not usable");
        self.deny_or_observe(session, ctx, guarded, Denial::of(ReasonCode::InvalidSignature).into()).await
    }

    async fn deny_or_observe(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        guarded: Guarded,
        refused: Refused,
    ) -> pingora::Result<bool> {
        if guarded.enforced() {
            self.authority.refuse(&guarded.call, None, &refused);
            return self.refuse(session, ctx, &refused.refusal(), guarded.dialect()).await;
        }
        let _ = self.authority.observe(&guarded.call, &guarded.observed(None, Some(&refused)));
        Ok(self.pass_watched(ctx, guarded, Decided::Observed))
    }

    /// A commit without a token: forwarded and recorded, or refused where the policy asks for one.
    /// `body` when it was read already.
    async fn tokenless(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        guarded: Guarded,
        body: Option<Bytes>,
    ) -> pingora::Result<bool> {
        let rule = guarded.call.rules.tokenless.unwrap_or(guarded.step.route.preset.tokenless);
        if guarded.enforced() && rule == Tokenless::Require {
            let refused = Denial::of(ReasonCode::NoToken).into();
            return self.deny_or_observe(session, ctx, guarded, refused).await;
        }
        let mut decided = Decided::Observed;
        if let Err(cannot) = self.authority.observe(&guarded.call, &guarded.observed(None, None)) {
            match self.authority.outage(&guarded.call) {
                Passage::Closed => {
                    return self.refuse(session, ctx, &Refused::Cannot(cannot).refusal(), guarded.dialect()).await;
                }
                Passage::Bypass => {
                    self.authority.bypass(&guarded.call, None, &cannot);
                    decided = Decided::Bypassed;
                }
            }
        }
        match body {
            None => Ok(self.pass_watched(ctx, guarded, decided)),
            Some(body) => {
                ctx.decision = decided;
                self.execute(session, ctx, guarded, None, Ticket::Unjudged, body).await
            }
        }
    }

    /// A commit: read the body, judge, send once.
    async fn commit(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        mut guarded: Guarded,
        in_header: Option<Tokens>,
    ) -> pingora::Result<bool> {
        let body = match self.body(session, guarded.enforced()).await {
            Ok(body) => body,
            Err(NoBody::Untouched(_)) if !guarded.enforced() => {
                // Not to be looked at: it passes as it is, and that is recorded.
                let cause =
                    Denial::by(ReasonCode::IntentMismatch, "intent_unknown").found("body_not_read", "a readable body");
                let refused = in_header.map(|_| cause.into());
                let _ = self.authority.observe(&guarded.call, &guarded.observed(None, refused.as_ref()));
                return Ok(self.pass_watched(ctx, guarded, Decided::Observed));
            }
            Err(NoBody::Untouched(refusal) | NoBody::Broken(refusal)) => {
                return self.refuse(session, ctx, &refusal, guarded.dialect()).await;
            }
        };
        let presented = match tokens(&guarded.step.route, in_header, &body) {
            Ok(Some(presented)) => presented,
            Ok(None) => return self.tokenless(session, ctx, guarded, Some(body)).await,
            Err(refusal) if guarded.enforced() => return self.refuse(session, ctx, &refusal, guarded.dialect()).await,
            Err(_) => return self.tokenless(session, ctx, guarded, Some(body)).await,
        };
        let headers = session.req_header().headers.clone();
        let id = guarded.step.session.as_deref().filter(|_| guarded.step.route.preset.source == FactSource::Session);
        if let (Some(id), true) = (id, guarded.enforced()) {
            ctx.turn = self.sessions.turn(&guarded.step.route.name, id, self.settings.session_deadline).await;
            if ctx.turn.is_none() {
                return self.refuse(session, ctx, &busy(), guarded.dialect()).await;
            }
        }
        // The request's one instant: read once, when the request is complete and its turn has come.
        guarded.call.now = self.authority.clock.now();
        let (cart, judged) = self.judge(&guarded, &headers, &presented, &body).await;
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
        headers: &HeaderMap,
        presented: &Tokens,
        body: &[u8],
    ) -> (Option<Cart>, Judged) {
        let (cart, cleared) = self.clear(guarded, headers, presented, body).await;
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
                let _ = self.authority.observe(&guarded.call, &guarded.observed(cart.as_ref(), None));
                Judged::Pass(ticket, Decided::Observed)
            }
            (Mode::Observe, Err(judged)) => {
                let refused = match judged {
                    Judged::Refuse(refused) => refused,
                    _ => Denial::by(ReasonCode::IntentMismatch, "intent_unknown")
                        .found("body_malformed", "a strict JSON body")
                        .into(),
                };
                let _ = self.authority.observe(&guarded.call, &guarded.observed(cart.as_ref(), Some(&refused)));
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
        headers: &HeaderMap,
        presented: &Tokens,
        body: &[u8],
    ) -> (Option<Cart>, Result<Ticket, Judged>) {
        const MEMBER: &str = "Permyx-Execution-Token";
        let call = &guarded.call;
        let Ok(presented) = presented.presented() else {
            let message = "an execution token has at most 4096 bytes";
            return (None, Err(Judged::Malformed(Refusal::malformed(431, MEMBER, message))));
        };
        let (cart, cleared) = match self.authority.present(call, &presented, guarded.retry.key.as_ref()) {
            Ok(cart) => {
                let cleared = self.clear_verified(guarded, headers, &cart, body).await;
                (cart, cleared)
            }
            Err(NoCart::Refused(refused, Some(known))) => (*known, Err(Judged::Refuse(refused))),
            Err(NoCart::Refused(refused, None)) => return (None, Err(Judged::Refuse(refused))),
            Err(NoCart::Repeated) => return (None, Err(Judged::Malformed(repeated(MEMBER)))),
        };
        let cleared = match cleared {
            // Whatever is said of it now: if it was carried out before, that is what a retry is told.
            Err(Judged::Refuse(refused @ Refused::Denied(_))) => {
                let request = [guarded.retry.line.as_bytes(), body];
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
        headers: &HeaderMap,
        cart: &Cart,
        body: &[u8],
    ) -> Result<Ticket, Judged> {
        let call = &guarded.call;
        let refuse = |refused: Refused| Judged::Refuse(refused);
        // An outage may open the gate; to what is revoked it stays shut.
        let no_session = |cause| match self.authority.unrevoked(call, cart) {
            Ok(()) => refuse(Refused::Cannot(CannotDecide::Session(cause))),
            Err(denial) => refuse(denial.into()),
        };
        self.authority.screen(call, cart).map_err(|denial| refuse(denial.into()))?;
        if guarded.enforced() {
            readable(&guarded.step.route, headers, body).map_err(Judged::Malformed)?;
        }
        let _reading = match guarded.step.route.preset.source {
            FactSource::Request => None,
            FactSource::Session => {
                let tokens = cart.tokens().sorted_by_key(|token| token.jti());
                let tokens = tokens.iter().map(|token| token.jti());
                let reading = self.sessions.reading(tokens, self.settings.session_deadline);
                Some(reading.await.ok_or_else(|| no_session("too_many_reads"))?)
            }
        };
        let found = self.facts(&guarded.step, headers, body).await;
        let facts = match &found {
            Ok(facts) => Facts::Known(facts),
            Err(NoFacts::Unknown(cause)) => Facts::Unknown(cause),
            Err(NoFacts::Contradicted) => Facts::Unknown("body_contradicts_session"),
            Err(NoFacts::Unreachable(cause)) => return Err(no_session(cause)),
        };
        let request = [guarded.retry.line.as_bytes(), body];
        let clearance = self
            .authority
            .clear(call, cart, facts, Holder::Merchant, &guarded.asked(&request))
            .await
            .map_err(refuse)?;
        Ok(Ticket::Cleared(clearance))
    }

    async fn execute(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        guarded: Guarded,
        cart: Option<Cart>,
        ticket: Ticket,
        body: Bytes,
    ) -> pingora::Result<bool> {
        let dialect = guarded.dialect();
        let keeps_answer = guarded.enforced() && guarded.retry.key.is_some();
        let out = outgoing(session.req_header(), ctx, cart.as_ref(), &body);
        // From here on the reservation is settled, whatever happens.
        let books = Books::open(self.authority.clone(), guarded.call, guarded.step.route, cart, ticket);
        let execution =
            Execution { exchange: self.exchange.clone(), books, out: out?, keeps_answer, turn: ctx.turn.take() };
        let parts = execution.start();
        self.pass_on(session, ctx, parts, dialect).await
    }

    fn pass(&self, ctx: &mut Context, guarded: &Guarded, decided: Decided) -> bool {
        ctx.decision = decided;
        ctx.forward = Some(guarded.step.route.upstream.clone());
        false
    }

    /// Forwards a commit and looks for the order in its answer.
    fn pass_watched(&self, ctx: &mut Context, guarded: Guarded, decided: Decided) -> bool {
        self.pass(ctx, &guarded, decided);
        if guarded.step.phase == Some(Phase::Complete) {
            ctx.watch = Some(Watch::new(guarded.call, guarded.step.route));
        }
        false
    }
}

impl Guarded {
    /// What the request says of itself; `request` is its line and its body.
    fn asked<'a>(&'a self, request: &'a [&'a [u8]]) -> Asked<'a> {
        let session = self.step.session.as_deref().filter(|_| self.step.route.preset.source == FactSource::Session);
        let session = session.map(crate::sessions::spelled_once);
        Asked { key: self.retry.key.clone(), request, session, confirmed: self.retry.confirmed }
    }

    fn observed<'a>(&self, cart: Option<&'a Cart>, would_deny: Option<&'a Refused>) -> Observed<'a> {
        Observed { cart, signal: self.signal, would_deny, cause: self.oddity.map(|_| "noncanonical".into()) }
    }
}

/// Another change of the same session is under way.
fn busy() -> Refusal {
    Refusal { retry_after_s: Some(1), ..Refusal::fault(Fault::InFlight) }
}

/// Drops what only we may say.
trait RetainTheirs {
    fn retain_theirs(&mut self);
}

impl RetainTheirs for RequestHeader {
    fn retain_theirs(&mut self) {
        let ours: Vec<_> = self.headers.keys().filter(|name| head::is_ours(name.as_str())).cloned().collect();
        for name in &ours {
            self.remove_header(name);
        }
    }
}

fn head_of(session: &mut Session) -> &mut RequestHeader {
    session.req_header_mut()
}
