//! What a merchant's answer to a commit says: how it ended, and the order.

use crate::model::json::{Value, read_object};
use crate::model::money::Price;

use super::extract::{Line, ordered};
use super::outcome::Outcome;
use super::pointer::Places;
use super::preset::{Basis, Preset};

/// Longest text of an order that is kept.
const TEXT_MAX: usize = 128;

/// What the merchant's answer says about the order. Text of strangers: cut to a bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderFacts {
    pub id: Option<String>,
    /// With its currency where both can be read, else as it stood.
    pub total: Option<String>,
    pub status: Option<String>,
    /// What the order costs, where its currency can be read too.
    pub cost: Option<Price>,
    /// What was ordered, where the answer repeats it.
    pub lines: Option<Vec<Line>>,
}

/// How the caller of a GraphQL API asked for its answer.
#[derive(Clone)]
pub struct AnswerKey {
    /// The name under which it gives the committing field.
    pub name: String,
    /// True when the caller gave fields below it names of its own: then a success may read like a
    /// refusal.
    pub renamed: bool,
}

/// Reads a complete answer; `body` is `None` where it could not be kept or decoded.
#[must_use]
pub fn read_answer(
    preset: &Preset,
    status: u16,
    body: Option<&[u8]>,
    key: Option<&AnswerKey>,
    basis: Basis,
) -> (Outcome, OrderFacts) {
    let body = body.and_then(|body| read_object(body).ok()).map(Value::Object);
    let name = key.map(|key| key.name.as_str());
    let outcome = match preset.outcomes.judge(status, body.as_ref(), name) {
        // The caller's own names prove nothing that would give a token back.
        Outcome::NotExecuted if key.is_some_and(|key| key.renamed) => Outcome::Failed,
        outcome => outcome,
    };
    let order = match (outcome, &body) {
        (Outcome::Committed | Outcome::Pending, Some(body)) => order(preset, body, name, basis),
        _ => None,
    };
    (outcome, order.unwrap_or_default())
}

fn order(preset: &Preset, body: &Value<'_>, key: Option<&str>, basis: Basis) -> Option<OrderFacts> {
    let places = &preset.order;
    let root = places.root.with("{key}", key.unwrap_or_default()).find(body)?;
    let bought = ordered(preset, root, basis);
    let cost = bought.as_ref().and_then(|bought| bought.total.stated().copied()).or_else(|| cost(preset, root));
    Some(OrderFacts {
        id: text(&places.id, root),
        total: cost.map(|cost| cost.to_string()).or_else(|| text(&places.total, root)),
        status: text(&places.status, root),
        cost,
        lines: bought.map(|bought| bought.lines),
    })
}

/// What it costs, from an answer that does not repeat the lines.
fn cost(preset: &Preset, root: &Value<'_>) -> Option<Price> {
    let lines = &preset.order.lines;
    let currency = lines.currency_case.read(&text(&lines.currency, root)?)?;
    let value = preset.order.total.find(root).next()?;
    lines.money.read(value, currency, lines.decimals)
}

fn text(places: &Places, root: &Value<'_>) -> Option<String> {
    let value = places.find(root).next()?;
    let text = value.as_str().or_else(|| value.as_number())?;
    (text.len() <= TEXT_MAX).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::preset::built_in;

    #[test]
    fn an_order_is_read_from_an_answer_that_says_that_there_is_one() {
        let presets = built_in().unwrap();
        let read =
            |preset: &str, body: &str| read_answer(&presets[preset], 200, Some(body.as_bytes()), None, Basis::Net);
        let (outcome, order) =
            read("oneshot-json", r#"{"orderId":"o1","total":59.98,"currency":"USD","status":"paid"}"#);
        assert_eq!(outcome, Outcome::Committed);
        assert_eq!((order.id.as_deref(), order.total.as_deref()), (Some("o1"), Some("59.98 USD")));
        let (_, order) = read("oneshot-json", r#"{"orderId":7,"total":59.98}"#);
        assert_eq!((order.id.as_deref(), order.total.as_deref()), (Some("7"), Some("59.98")));
        let (outcome, order) = read("ucp", r#"{"status":"incomplete","order":{"id":"o1"}}"#);
        assert_eq!((outcome, order), (Outcome::Failed, OrderFacts::default()));
        let done = r#"{"status":"completed","order":{"id":"o1"},"currency":"USD",
            "line_items":[{"item":{"id":"mug","price":2999},"quantity":2}],"totals":[{"type":"total","amount":6498}]}"#;
        let (_, order) = read("ucp", done);
        assert_eq!(order.total.as_deref(), Some("64.98 USD"));
        assert_eq!(order.lines.unwrap().len(), 1);
    }
}
