//! How a refusal reads on the wire: one value, several shapes. A dialect changes the shape, never
//! the code (contract.md).

use serde_json::{Value, json};

use crate::model::event::Diff;
use crate::model::ids::TraceId;
use crate::model::json::write::{Always, Wire, object};
use crate::model::reason::{Fault, ReasonCode};
use crate::model::spell::Spelled;

use super::preset::Dialect;

/// Version of the published data contract that we speak.
pub const PROTOCOL_VERSION: &str = "1.5";

/// Room for most bodies.
const BODY: usize = 768;

/// A judgement, or what stood in its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    Reason(ReasonCode),
    Fault(Fault),
}

impl Code {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reason(reason) => reason.as_str(),
            Self::Fault(fault) => fault.as_str(),
        }
    }

    /// The published reason code; `None` for a fault.
    #[must_use]
    pub const fn reason(self) -> Option<ReasonCode> {
        match self {
            Self::Reason(reason) => Some(reason),
            Self::Fault(_) => None,
        }
    }

    const fn status(self) -> u16 {
        match self {
            Self::Reason(reason) => reason.status(),
            Self::Fault(fault) => fault.status(),
        }
    }

    const fn message(self) -> &'static str {
        match self {
            Self::Reason(reason) => reason.message(),
            Self::Fault(fault) => fault.message(),
        }
    }

    const fn next_step(self) -> Option<&'static str> {
        match self {
            Self::Reason(reason) => Some(reason.next_step()),
            Self::Fault(_) => None,
        }
    }

    const fn retryable(self) -> bool {
        match self {
            Self::Reason(reason) => reason.retryable(),
            Self::Fault(fault) => matches!(
                fault,
                Fault::LedgerUnavailable
                    | Fault::LedgerQuarantine
                    | Fault::EvidenceUnavailable
                    | Fault::SessionUnavailable
                    | Fault::InFlight
                    | Fault::UpstreamUnavailable
            ),
        }
    }
}

/// Everything that a caller is told about a refusal.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub code: Code,
    pub status: u16,
    /// The sentence; the code's own unless there is a more precise one.
    pub message: Option<String>,
    /// The member or header that is malformed.
    pub member: Option<String>,
    pub rule: Option<String>,
    pub observed: Option<String>,
    pub limit: Option<String>,
    pub diff: Vec<Diff>,
    /// What became of the token where that is not obvious.
    pub token_state: Option<&'static str>,
    /// Whole seconds until a retry makes sense.
    pub retry_after_s: Option<u64>,
}

impl Refusal {
    #[must_use]
    pub fn of(code: Code) -> Self {
        Self {
            code,
            status: code.status(),
            message: None,
            member: None,
            rule: None,
            observed: None,
            limit: None,
            diff: Vec::new(),
            token_state: None,
            retry_after_s: None,
        }
    }

    #[must_use]
    pub fn reason(reason: ReasonCode) -> Self {
        Self::of(Code::Reason(reason))
    }

    #[must_use]
    pub fn fault(fault: Fault) -> Self {
        Self::of(Code::Fault(fault))
    }

    /// A malformed request: which member, and what would be right.
    #[must_use]
    pub fn malformed(status: u16, member: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status, member: Some(member.into()), message: Some(message.into()), ..Self::fault(Fault::BadRequest) }
    }

    /// The body in this dialect.
    #[must_use]
    pub fn body(&self, dialect: Dialect, trace: TraceId) -> Vec<u8> {
        let written = match dialect {
            Dialect::Permyx => Ok(self.written(trace)),
            Dialect::Acp => serde_json::to_vec(&self.acp(trace)),
            Dialect::Ucp => serde_json::to_vec(&self.ucp(self.published(trace))),
            Dialect::Graphql => serde_json::to_vec(&self.graphql(self.published(trace))),
            Dialect::Problem => serde_json::to_vec(&self.problem(self.published(trace))),
        };
        // INVARIANT: texts and numbers have a JSON form.
        let mut body = written.unwrap_or_default();
        body.push(b'\n');
        body
    }

    /// The published shape of `/validate`, with our additive members.
    #[must_use]
    pub fn published(&self, trace: TraceId) -> Value {
        // INVARIANT: what was written is JSON.
        serde_json::from_slice(&self.written(trace)).unwrap_or_default()
    }

    /// The same as it is sent: a flood of refusals is one of these.
    fn written(&self, trace: TraceId) -> Vec<u8> {
        let published = Published {
            allowed: Always(false),
            decision: "denied",
            diff: &self.diff,
            docs: Docs(self.code),
            error: Told { code: self.code.as_str(), message: self.sentence() },
            limit: self.limit.as_deref(),
            member: self.member.as_deref(),
            next: self.code.next_step(),
            observed: self.observed.as_deref(),
            permyx_protocol_version: PROTOCOL_VERSION,
            reason_code: Always(self.code.reason()),
            retryable: Always(self.code.retryable()),
            rule: self.rule.as_deref(),
            token_consumed: Always(false),
            token_state: self.token_state,
            trace_id: trace,
        };
        let mut body = Vec::with_capacity(BODY);
        published.put(&mut body);
        body
    }

    /// UCP protocol errors carry `code` and `content`, business errors `messages`: both are given.
    fn ucp(&self, ours: Value) -> Value {
        let content = self.sentence();
        let message = json!({
            "type": "error", "code": self.code.as_str(), "severity": "unrecoverable", "content": content,
        });
        json!({ "code": self.code.as_str(), "content": content, "messages": [message], "permyx": ours })
    }

    /// ACP: one flat error, closed to other members in every version (schema.agentic_checkout.json):
    /// so what differs, what to do next and the trace stand in the sentence.
    fn acp(&self, trace: TraceId) -> Value {
        let kind = if self.status >= 500 { "service_unavailable" } else { "invalid_request" };
        let mut message = format!("{}.", self.sentence().trim_end_matches('.'));
        for Diff { path, authorized, actual, .. } in &self.diff {
            message.push_str(&format!(" {path}: authorized {authorized}, actual {actual}."));
        }
        if let Some(rule) = &self.rule {
            let told = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
            let (observed, limit) = (told(&self.observed), told(&self.limit));
            message.push_str(&format!(" Rule {rule}: observed {observed}, limit {limit}."));
        }
        if let Some(next) = self.code.next_step() {
            message.push_str(&format!(" Next: {next}."));
        }
        message.push_str(&format!(" Trace: {trace}."));
        json!({ "type": kind, "code": self.code.as_str(), "message": message })
    }

    /// A request error: nothing was executed, so there is no `data` (GraphQL, October 2021, §7.1).
    fn graphql(&self, ours: Value) -> Value {
        let extensions = json!({ "code": self.code.as_str(), "permyx": ours });
        json!({ "errors": [{ "message": self.sentence(), "extensions": extensions }] })
    }

    /// RFC 9457; `code` and `message` stand where clients of shops look for them.
    fn problem(&self, ours: Value) -> Value {
        let (code, sentence) = (self.code.as_str(), self.sentence());
        json!({
            "type": Docs(self.code).url().as_str(), "title": self.code.message(), "status": self.status, "detail": sentence,
            "code": code, "message": sentence, "permyx": ours,
        })
    }

    #[must_use]
    pub fn sentence(&self) -> &str {
        self.message.as_deref().unwrap_or(self.code.message())
    }
}

struct Told<'a> {
    code: &'static str,
    message: &'a str,
}

/// Alphabetical, as it is written.
struct Published<'a> {
    allowed: Always<bool>,
    decision: &'static str,
    diff: &'a [Diff],
    docs: Docs,
    error: Told<'a>,
    limit: Option<&'a str>,
    member: Option<&'a str>,
    next: Option<&'static str>,
    observed: Option<&'a str>,
    permyx_protocol_version: &'static str,
    reason_code: Always<Option<ReasonCode>>,
    retryable: Always<bool>,
    rule: Option<&'a str>,
    token_consumed: Always<bool>,
    token_state: Option<&'static str>,
    trace_id: TraceId,
}

object!(Told<'_> { code: "code", message: "message" });
object!(Published<'_> {
    allowed: "allowed",
    decision: "decision",
    diff: "diff",
    docs: "docs",
    error: "error",
    limit: "limit",
    member: "member",
    next: "next",
    observed: "observed",
    permyx_protocol_version: "permyx_protocol_version",
    reason_code: "reasonCode",
    retryable: "retryable",
    rule: "rule",
    token_consumed: "tokenConsumed",
    token_state: "tokenState",
    trace_id: "traceId",
});

/// Where a code is explained.
struct Docs(Code);

impl Docs {
    fn url(&self) -> Spelled<64> {
        Spelled::of("https://permyx.dev/c/").text(self.0.as_str())
    }
}

impl Wire for Docs {
    fn put(&self, out: &mut Vec<u8>) {
        self.url().put(out);
    }
}
