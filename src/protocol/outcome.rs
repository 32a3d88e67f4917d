//! What a merchant's answer means. Status AND body: many protocols refuse with 200.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::document::{At, Problem};
use crate::model::json::{Object, Value};

/// What a complete answer says about the purchase.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Committed,
    Pending,
    /// The merchant says in its protocol that it executed nothing: the only answer that gives a
    /// token back.
    NotExecuted,
    /// Any other complete answer.
    Failed,
}

impl Outcome {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Pending => "pending",
            Self::NotExecuted => "not_executed",
            Self::Failed => "failed",
        }
    }
}

/// The outcome rules of a preset.
#[derive(Clone, Debug, Default)]
pub struct Outcomes {
    committed: Option<Rule>,
    pending: Option<Rule>,
    not_executed: Option<Rule>,
}

impl Outcomes {
    /// Judges a complete answer; `body` is `None` when it is no JSON object.
    #[must_use]
    pub fn judge(&self, status: u16, body: Option<&Object<'_>>) -> Outcome {
        let holds = |rule: &Option<Rule>| rule.as_ref().is_some_and(|rule| rule.holds(status, body));
        if holds(&self.not_executed) {
            Outcome::NotExecuted
        } else if holds(&self.committed) {
            Outcome::Committed
        } else if holds(&self.pending) {
            Outcome::Pending
        } else {
            Outcome::Failed
        }
    }
}

#[derive(Clone, Debug)]
struct Rule {
    statuses: std::ops::RangeInclusive<u16>,
    equals: BTreeMap<String, String>,
    exists: Vec<String>,
}

impl Rule {
    fn holds(&self, status: u16, body: Option<&Object<'_>>) -> bool {
        let at = |pointer: &str| body.and_then(|body| body.pointer(pointer));
        self.statuses.contains(&status)
            && self.equals.iter().all(|(pointer, text)| at(pointer).and_then(Value::as_str) == Some(text))
            && self.exists.iter().all(|pointer| at(pointer).is_some_and(|value| *value != Value::Null))
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OutcomesDoc {
    committed: Option<RuleDoc>,
    pending: Option<RuleDoc>,
    not_executed: Option<RuleDoc>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RuleDoc {
    status: At<String>,
    equals: BTreeMap<String, String>,
    exists: Vec<String>,
}

impl OutcomesDoc {
    pub(super) fn compile(self, problems: &mut Vec<Problem>) -> Outcomes {
        if let Some(rule) = self.not_executed.as_ref().filter(|rule| rule.equals.is_empty() && rule.exists.is_empty()) {
            let message = "`not_executed` gives tokens back and so needs a rule on the body";
            problems.push(rule.status.problem(message, "add `equals` or `exists`"));
        }
        let mut compile = |rule: Option<RuleDoc>| rule.and_then(|rule| rule.compile(problems));
        Outcomes {
            committed: compile(self.committed),
            pending: compile(self.pending),
            not_executed: compile(self.not_executed),
        }
    }
}

impl RuleDoc {
    fn compile(self, problems: &mut Vec<Problem>) -> Option<Rule> {
        let statuses = match self.status.as_str() {
            "1xx" | "2xx" | "3xx" | "4xx" | "5xx" => {
                let class = self.status.parse_class()?;
                Some(class * 100..=class * 100 + 99)
            }
            exact => exact.parse().ok().filter(|code| (100..600).contains(code)).map(|code| code..=code),
        };
        if statuses.is_none() {
            problems.push(self.status.problem("`status` is a code or a class", "write \"200\" or \"2xx\""));
        }
        Some(Rule { statuses: statuses?, equals: self.equals, exists: self.exists })
    }
}

impl At<String> {
    fn parse_class(&self) -> Option<u16> {
        self.bytes().next().map(|digit| u16::from(digit - b'0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::read_object;
    use crate::protocol::preset::built_in;

    #[test]
    fn a_200_is_not_an_order() {
        let ucp = &built_in().unwrap()["ucp"];
        let judge = |status, body: &str| ucp.outcomes.judge(status, read_object(body.as_bytes()).ok().as_ref());
        assert_eq!(judge(200, r#"{"status":"completed","order":{"id":"o1"}}"#), Outcome::Committed);
        assert_eq!(judge(200, r#"{"status":"completed","order":{"id":null}}"#), Outcome::Failed);
        assert_eq!(judge(200, r#"{"status":"complete_in_progress"}"#), Outcome::Pending);
        assert_eq!(judge(200, r#"{"ucp":{"status":"error"}}"#), Outcome::Failed);
        assert_eq!(judge(409, r#"{"status":"completed","order":{"id":"o1"}}"#), Outcome::Failed);
        assert_eq!(judge(201, "not json"), Outcome::Failed);
    }
}
