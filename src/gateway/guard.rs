//! The way of a request: canonical → route → token → body → facts → clearance → one sending.

use bytes::Bytes;

use crate::authority::cart::Cart;
use crate::authority::observe::Observed;
use crate::authority::policies::Policies;
use crate::authority::{Call, Passage, Refused, Stage};
use crate::decide::Denial;
use crate::decide::policy::Mode;
use crate::evidence::Caller;
use crate::model::percent;
use crate::model::reason::{Fault, ReasonCode};
use crate::model::reference::reference;
use crate::model::scope::Scope;
use crate::model::signal::State;
use crate::protocol::deny::Refusal;
use crate::protocol::order::AnswerKey;
use crate::protocol::preset::{Dialect, Phase, Tokenless};

use super::Gateway;
use super::body::NoBody;
use super::books::{Commit, Reading, Ticket};
use super::downstream::Downstream;
use super::look::Retrying;
use super::route::{Kind, Route, Step};
use super::state::{Context, Decided, Watch};
use super::steps::Taken;
use super::tokens::Tokens;

/// A request on a guarded route.
pub(super) struct Guarded {
    pub(super) step: Step,
    pub(super) call: Call,
    pub(super) retry: Retrying,
    /// Why its word on an earlier request is none.
    pub(super) unclear: Option<Refusal>,
    pub(super) key: Option<AnswerKey>,
    oddity: Option<&'static str>,
}

impl Guarded {
    fn requires_token(&self) -> bool {
        let rule = self.call.rules.tokenless.unwrap_or(self.step.route.preset.tokenless);
        self.enforced() && rule == Tokenless::Require
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.step.route.preset.dialect
    }

    pub(super) fn enforced(&self) -> bool {
        self.call.rules.mode == Mode::Enforce
    }
}

impl Gateway {
    /// Answers the request (`true`) or lets pingora forward it (`false`).
    pub(super) async fn admit(&self, session: &mut Downstream<'_>, ctx: &mut Context) -> pingora::Result<bool> {
        // One snapshot of the policies for the whole request.
        let policies = self.authority.policies.snapshot();
        if let Err(refusal) = session.as_http1() {
            return self.refuse(session, ctx, &refusal, Dialect::Permyx).await;
        }
        let bodiless = session.is_body_empty();
        let looked = match self.look(session, bodiless, &policies) {
            Ok(looked) => looked,
            Err(refusal) => return self.refuse(session, ctx, &refusal, Dialect::Permyx).await,
        };
        session.retain_theirs();
        ctx.traced = self.authority.begin_trace(looked.trace_parent, ctx.started);
        let Some(step) = looked.step else { return self.unguarded(session, ctx).await };
        ctx.route = step.route.name.clone();
        let mut call = self.call(ctx, &step.route, &policies);
        call.trace_parent = looked.trace_parent;
        call.refs.extend(step.session.as_deref().map(|id| reference(&call.store, &percent::decoded(id))));
        let (retry, unclear) = match looked.retry {
            Ok(retry) => (retry, None),
            Err(refusal) => (Retrying::default(), Some(refusal)),
        };
        let guarded = Box::new(Guarded { step, call, retry, unclear, key: None, oddity: looked.oddity });
        match looked.tokens {
            Ok(tokens) => self.guard(session, ctx, guarded, tokens).await,
            Err(refusal) if guarded.enforced() => self.refuse(session, ctx, &refusal, guarded.dialect()).await,
            Err(refusal) => Box::pin(self.observed_malformed(session, ctx, guarded, &refusal)).await,
        }
    }

    fn call(&self, ctx: &Context, route: &Route, policies: &Policies) -> Call {
        let policy = policies.of(&route.store);
        Call {
            trace: ctx.trace,
            trace_parent: None,
            traced: ctx.traced.clone(),
            caller: Caller::Others,
            now: self.authority.clock.now(),
            stage: Stage::Gateway,
            store: route.store.clone(),
            rules: policy.route(&route.name),
            policy,
            route: Some(route.name.clone()),
            needs: Scope::AgentExec,
            presence: None,
            refs: Vec::new(),
        }
    }

    async fn unguarded(&self, session: &mut Downstream<'_>, ctx: &mut Context) -> pingora::Result<bool> {
        if let Some(upstream) = self.routes.fallback.clone() {
            return self.forward(session, ctx, upstream).await;
        }
        let refusal = Refusal {
            message: Some("no route is configured for this path".to_owned()),
            ..Refusal::fault(Fault::NotFound)
        };
        self.refuse(session, ctx, &refusal, Dialect::Permyx).await
    }

    async fn guard(
        &self,
        session: &mut Downstream<'_>,
        ctx: &mut Context,
        guarded: Box<Guarded>,
        tokens: Option<Tokens>,
    ) -> pingora::Result<bool> {
        let counts = !session.method().is_safe() || guarded.requires_token();
        match (guarded.step.kind, tokens) {
            (Kind::ByBody, tokens) => Box::pin(self.by_body(session, ctx, guarded, tokens)).await,
            (Kind::Phase(Phase::Complete), None) if guarded.step.route.preset.token_pointers.is_empty() => {
                self.tokenless(session, ctx, guarded, None).await
            }
            (Kind::Phase(Phase::Complete), token) => {
                match self.take_body(session, ctx, guarded, token.is_some()).await? {
                    Taken::Body(guarded, body) => self.commit(session, ctx, guarded, token, body).await,
                    Taken::Answered(answered) => Ok(answered),
                }
            }
            (Kind::Phase(phase), _) => {
                // Create, update, get and cancel burn nothing; changes of one session take turns.
                self.take_turn_to_amend(ctx, &guarded, phase).await;
                self.pass(session, ctx, &guarded).await
            }
            (Kind::Unknown, Some(_)) if counts => {
                Box::pin(self.unrecognised(session, ctx, guarded, "unrecognised_request", None)).await
            }
            (Kind::Unknown, None) if counts => self.tokenless(session, ctx, guarded, None).await,
            (Kind::Unknown | Kind::Harmless, _) => self.pass(session, ctx, &guarded).await,
        }
    }

    pub(super) async fn take_turn_to_amend(&self, ctx: &mut Context, guarded: &Guarded, phase: Phase) {
        if let (Phase::Update | Phase::Cancel, Some(id), true) = (phase, &guarded.step.session, guarded.enforced()) {
            // A commit under way goes first; an amend that waited long enough passes all the same.
            let patience = self.settings.session_deadline;
            let turn = self.sessions.turn(&guarded.step.route.name, id, patience);
            let turn = ctx.waited.during(&self.authority.clock, turn).await;
            ctx.amending = turn.map(|turn| turn.for_at_most(patience));
        }
    }

    /// A request that carries a token and that the preset does not know: what it would do is
    /// unknown, so it may not pass as a commit nor around one.
    pub(super) async fn unrecognised(
        &self,
        session: &mut Downstream<'_>,
        ctx: &mut Context,
        mut guarded: Box<Guarded>,
        cause: &'static str,
        body: Option<Bytes>,
    ) -> pingora::Result<bool> {
        self.meet(session, &mut guarded, State::Present);
        let denial = Denial::by(ReasonCode::IntentMismatch, "intent_unknown").found(cause, "a known request");
        self.deny_or_observe(session, ctx, guarded, denial.into(), body).await
    }

    /// In observe mode a malformed token header is recorded and passes.
    async fn observed_malformed(
        &self,
        session: &mut Downstream<'_>,
        ctx: &mut Context,
        mut guarded: Box<Guarded>,
        refusal: &Refusal,
    ) -> pingora::Result<bool> {
        self.meet(session, &mut guarded, State::Malformed);
        tracing::debug!(trace = %ctx.trace, member = refusal.member, "token header not usable");
        self.deny_or_observe(session, ctx, guarded, Denial::of(ReasonCode::InvalidSignature).into(), None).await
    }

    /// `body` when it was read already.
    async fn deny_or_observe(
        &self,
        session: &mut Downstream<'_>,
        ctx: &mut Context,
        guarded: Box<Guarded>,
        refused: Refused,
        body: Option<Bytes>,
    ) -> pingora::Result<bool> {
        if guarded.enforced() {
            self.authority.refuse(&guarded.call, None, &refused);
            return self.refuse(session, ctx, &refused.refusal(), guarded.dialect()).await;
        }
        let _ = self.authority.observe(&guarded.call, &guarded.observed(None, Some(&refused))).await;
        self.onward(session, ctx, guarded, Decided::Observed, body).await
    }

    /// Forwards a commit that nothing was decided about, and looks for the order in its answer.
    /// `body` when it was read already.
    pub(super) async fn onward(
        &self,
        session: &mut Downstream<'_>,
        ctx: &mut Context,
        guarded: Box<Guarded>,
        decided: Decided,
        body: Option<Bytes>,
    ) -> pingora::Result<bool> {
        ctx.decision = decided;
        let body = match body {
            Some(body) => body,
            None if self.is_whole(session) => match self.body(session, ctx, guarded.enforced()).await {
                Ok(body) => body,
                Err(NoBody::Untouched(refusal) | NoBody::Broken(refusal)) => {
                    return self.refuse(session, ctx, &refusal, guarded.dialect()).await;
                }
            },
            None => return Ok(self.pass_watched(ctx, guarded)),
        };
        self.execute(session, ctx, guarded, None, Ticket::Unjudged, body).await
    }

    /// A commit without a token: forwarded and recorded, or refused where the policy asks for one.
    /// `body` when it was read already.
    pub(super) async fn tokenless(
        &self,
        session: &mut Downstream<'_>,
        ctx: &mut Context,
        mut guarded: Box<Guarded>,
        body: Option<Bytes>,
    ) -> pingora::Result<bool> {
        self.meet(session, &mut guarded, State::Absent);
        if guarded.requires_token() {
            let refused = Denial::of(ReasonCode::NoToken).into();
            return self.deny_or_observe(session, ctx, guarded, refused, body).await;
        }
        let mut decided = Decided::Observed;
        if let Err(cannot) = self.authority.observe(&guarded.call, &guarded.observed(None, None)).await {
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
        self.onward(session, ctx, guarded, decided, body).await
    }

    /// Nothing is decided about it, and nothing is bought by it.
    async fn pass(&self, session: &mut Downstream<'_>, ctx: &mut Context, guarded: &Guarded) -> pingora::Result<bool> {
        self.forward(session, ctx, guarded.step.route.upstream.clone()).await
    }

    /// Leaves a commit to pingora, and looks for the order in its answer as it passes.
    fn pass_watched(&self, ctx: &mut Context, guarded: Box<Guarded>) -> bool {
        ctx.forward = Some(guarded.step.route.upstream.clone());
        let reading = guarded.reading();
        if reading.commit.is_some() {
            ctx.watch = Some(Watch::new(guarded.call, reading));
        }
        false
    }
}

impl Guarded {
    /// How its answer is read.
    pub(super) fn reading(&self) -> Reading {
        let commits = self.step.kind == Kind::Phase(Phase::Complete);
        let commit = Commit { key: self.key.clone(), basis: self.call.policy.price_basis() };
        Reading { route: self.step.route.clone(), commit: commits.then_some(commit) }
    }

    pub(super) fn observed<'a>(&self, cart: Option<&'a Cart>, would_deny: Option<&'a Refused>) -> Observed<'a> {
        Observed { cart, would_deny, cause: self.oddity.map(|_| "noncanonical".into()) }
    }
}
