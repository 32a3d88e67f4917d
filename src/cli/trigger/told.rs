//! What was sent, what was answered, and whether that is what the scenario must show.

use std::fmt;
use std::io::Write;

use serde::Serialize;
use serde_json::Value;

use crate::model::reason::{Fault, ReasonCode};
use crate::net::client::Answer;

/// What an answer must be; where there are several, one of them.
#[derive(Clone, Copy)]
pub(super) enum Must {
    /// It went well, and this is the decision.
    Pass(&'static str),
    Refuse(u16, &'static str),
    /// Refused by this rule of the policy.
    RefuseBy(&'static str),
    /// The token that was looked at was not used up.
    Unused,
    /// The command was carried out.
    Done,
}

impl Must {
    pub(super) const fn reason(reason: ReasonCode) -> Self {
        Self::Refuse(reason.status(), reason.as_str())
    }

    pub(super) const fn fault(fault: Fault) -> Self {
        Self::Refuse(fault.status(), fault.as_str())
    }

    fn holds(self, told: &Told) -> bool {
        let went_well = (200..300).contains(&told.status);
        match self {
            Self::Pass(decision) => went_well && told.decision.as_deref() == Some(decision),
            Self::Refuse(status, code) => told.status == status && told.code.as_deref() == Some(code),
            Self::RefuseBy(rule) => {
                told.code.as_deref() == Some(ReasonCode::PolicyDenied.as_str()) && told.rule.as_deref() == Some(rule)
            }
            Self::Unused => went_well && matches!(told.replay.as_deref(), Some("unused" | "unknown")),
            Self::Done => went_well,
        }
    }
}

impl fmt::Display for Must {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass(decision) => write!(f, "2xx {decision}"),
            Self::Refuse(status, code) => write!(f, "{status} {code}"),
            Self::RefuseBy(rule) => write!(f, "{} by {rule}", ReasonCode::PolicyDenied),
            Self::Unused => f.write_str("2xx, and the token not consumed"),
            Self::Done => f.write_str("2xx"),
        }
    }
}

/// What an answer says of itself. The merchant's own words are nobody's business here.
struct Told {
    status: u16,
    trace: Option<String>,
    decision: Option<String>,
    code: Option<String>,
    rule: Option<String>,
    replay: Option<String>,
    /// Why, in words.
    why: Vec<String>,
}

impl Told {
    fn of(answer: &Answer) -> Self {
        let header = |name: &str| Some(answer.headers.get(name)?.to_str().ok()?.to_owned());
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        // `denied; reason=…` in a header of the gateway's.
        let decision = header("permyx-decision").map(|told| told.split(';').next().unwrap_or_default().to_owned());
        let code = text("/reasonCode").or_else(|| text("/error/code"));
        let mut why: Vec<_> = code.iter().filter_map(|_| text("/error/message")).collect();
        let rule = text("/rule");
        if let (Some(rule), Some(observed), Some(limit)) = (&rule, text("/observed"), text("/limit")) {
            why.push(format!("{rule}: observed {observed}, limit {limit}"));
        }
        let diff = body.get("diff").and_then(Value::as_array);
        why.extend(diff.into_iter().flatten().map(|one| {
            let told = |name: &str| one.get(name).and_then(Value::as_str).unwrap_or("?");
            format!("{}: authorized {}, actual {}", told("path"), told("authorized"), told("actual"))
        }));
        Self {
            status: answer.status.as_u16(),
            trace: header("permyx-trace").or_else(|| text("/traceId")),
            decision: decision.or_else(|| text("/decision")),
            replay: text("/replayStatus"),
            code,
            rule,
            why,
        }
    }

    /// What may be the cause where it did not come out as it must.
    fn cause(&self, must: &[Must]) -> Option<&'static str> {
        let passes = (200..300).contains(&self.status);
        let refusal = must.iter().all(|must| matches!(must, Must::Refuse(..) | Must::RefuseBy(_)));
        match self.decision.as_deref() {
            _ if self.trace.is_none() => Some("no gateway of Permyx's answered: see --gateway"),
            Some("observed") => Some("it was let through: this store's policy observes and blocks nothing"),
            Some("bypassed") => Some("it was let through: this store's policy lets pass while nothing can be decided"),
            Some("none") => Some("no route of the gateway guards this path: see --path"),
            Some("allowed") if !passes => Some("Permyx allowed it; the merchant did not: see --variant and --price"),
            _ if passes && refusal => Some("it was let through: nothing stood in its way"),
            _ => None,
        }
    }
}

/// One thing that was sent.
#[derive(Serialize)]
pub(super) struct Step {
    does: String,
    to: String,
    expected: String,
    held: bool,
    status: u16,
    decision: Option<String>,
    code: Option<String>,
    trace: Option<String>,
}

/// The steps so far. They are told as they happen, unless JSON is wanted at the end.
pub(super) struct Story<'a> {
    pub steps: Vec<Step>,
    pub out: Option<&'a mut dyn Write>,
}

impl Story<'_> {
    pub(super) fn say(&mut self, line: &str) -> std::io::Result<()> {
        self.out.as_mut().map_or(Ok(()), |out| writeln!(out, "{line}"))
    }

    /// How it ended, and where more of it is told.
    pub(super) fn end(&mut self, held: bool) -> std::io::Result<()> {
        let ended = if held { "held" } else { "did NOT hold" };
        let trace = self.steps.iter().find_map(|step| step.trace.as_deref());
        let more = trace.map(|trace| format!("; the whole story: permyx timeline {trace}")).unwrap_or_default();
        self.say(&format!("  {ended}{more}\n"))
    }

    /// Whether the answer to this is one that it must be.
    pub(super) fn step(&mut self, does: String, to: String, answer: &Answer, must: &[Must]) -> std::io::Result<bool> {
        let told = Told::of(answer);
        let held = must.iter().any(|must| must.holds(&told));
        let expected = must.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        let number = self.steps.len() + 1;
        self.say(&format!("  {number}. {does}\n     POST {to}"))?;
        let said = told.code.as_deref().or(told.replay.as_deref()).or(told.decision.as_deref()).unwrap_or_default();
        self.say(&format!("     → {} {said}  {}", told.status, told.trace.as_deref().unwrap_or("(no trace)")))?;
        for why in &told.why {
            self.say(&format!("       {why}"))?;
        }
        if !held {
            self.say(&format!("     expected: {expected}"))?;
            if let Some(cause) = told.cause(must) {
                self.say(&format!("     {cause}"))?;
            }
        }
        let Told { status, decision, code, trace, .. } = told;
        self.steps.push(Step { does, to, expected, held, status, decision, code, trace });
        Ok(held)
    }
}
