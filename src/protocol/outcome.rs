//! What a merchant's answer means. Status AND body: many protocols refuse with 200.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::document::{At, Problem};
use crate::model::json::Value;

use super::pointer::{OneOrMany, Pointer};

/// What a complete answer says about the purchase.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    /// Where the rules look; may hold `{key}` (see [`super::preset::Order`]).
    root: Option<Pointer>,
    committed: Vec<Rule>,
    pending: Vec<Rule>,
    failed: Vec<Rule>,
    not_executed: Vec<Rule>,
}

impl Outcomes {
    /// Judges a complete answer; `body` is `None` when it is no JSON object, `key` the name under
    /// which a GraphQL answer gives the committing field.
    #[must_use]
    pub fn judge(&self, status: u16, body: Option<&Value<'_>>, key: Option<&str>) -> Outcome {
        let body = match &self.root {
            None => body,
            Some(root) => body.and_then(|body| root.with("{key}", key.unwrap_or_default()).find(body)),
        };
        let holds = |rules: &[Rule]| rules.iter().any(|rule| rule.holds(status, body));
        if holds(&self.not_executed) {
            Outcome::NotExecuted
        } else if holds(&self.failed) {
            Outcome::Failed
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
    equals: Vec<(Pointer, Vec<String>)>,
    exists: Vec<Pointer>,
}

impl Rule {
    fn holds(&self, status: u16, body: Option<&Value<'_>>) -> bool {
        let at = |pointer: &Pointer| body.and_then(|body| pointer.find(body));
        let is_one_of = |pointer, texts: &[String]| {
            at(pointer).and_then(Value::as_str).is_some_and(|have| texts.iter().any(|text| text == have))
        };
        self.statuses.contains(&status)
            && self.equals.iter().all(|(pointer, texts)| is_one_of(pointer, texts))
            && self.exists.iter().all(|pointer| at(pointer).is_some_and(|value| *value != Value::Null))
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OutcomesDoc {
    root: Option<Pointer>,
    committed: Vec<RuleDoc>,
    pending: Vec<RuleDoc>,
    failed: Vec<RuleDoc>,
    not_executed: Vec<RuleDoc>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RuleDoc {
    status: At<String>,
    /// The text that stands at a pointer, or those that may.
    equals: BTreeMap<Pointer, OneOrMany<String>>,
    exists: Vec<Pointer>,
}

impl OutcomesDoc {
    pub(super) fn compile(self, problems: &mut Vec<Problem>) -> Outcomes {
        for rule in self.not_executed.iter().filter(|rule| rule.equals.is_empty() && rule.exists.is_empty()) {
            let message = "`not_executed` gives tokens back and so needs a rule on the body";
            problems.push(rule.status.problem(message, "add `equals` or `exists`"));
        }
        let mut compile =
            |rules: Vec<RuleDoc>| rules.into_iter().filter_map(|rule| rule.compile(problems)).collect::<Vec<_>>();
        Outcomes {
            root: self.root,
            committed: compile(self.committed),
            pending: compile(self.pending),
            failed: compile(self.failed),
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
        let equals = self.equals.into_iter().map(|(pointer, texts)| (pointer, texts.into_vec())).collect();
        Some(Rule { statuses: statuses?, equals, exists: self.exists })
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
        let judge = |status, body: &str| {
            let body = read_object(body.as_bytes()).ok().map(Value::Object);
            ucp.outcomes.judge(status, body.as_ref(), None)
        };
        assert_eq!(judge(200, r#"{"status":"completed","order":{"id":"o1"}}"#), Outcome::Committed);
        assert_eq!(judge(200, r#"{"status":"completed","order":{"id":null}}"#), Outcome::Failed);
        assert_eq!(judge(200, r#"{"status":"complete_in_progress"}"#), Outcome::Pending);
        assert_eq!(judge(200, r#"{"ucp":{"status":"error"}}"#), Outcome::Failed);
        assert_eq!(judge(409, r#"{"status":"completed","order":{"id":"o1"}}"#), Outcome::Failed);
        assert_eq!(judge(201, "not json"), Outcome::Failed);
    }
}
