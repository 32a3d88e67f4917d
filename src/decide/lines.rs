//! Tokens against the lines of a cart: each line needs exactly one token and each token one line.

use crate::model::event::{Diff, Text};
use crate::model::intent::Intent;
use crate::model::money::Price;
use crate::model::several::Several;
use crate::protocol::extract::{Fact, Line};
use crate::protocol::order::OrderFacts;

/// Differences that are told at most of what has no counterpart.
const LEFT_OVER_MAX: usize = 20;

/// What differs; nothing, where the tokens buy exactly these lines.
pub(super) fn differences(intents: &Several<&Intent>, lines: &[Line]) -> Vec<Diff> {
    let mut diff = Vec::new();
    if let ([], [line]) = (intents.more(), lines) {
        compare(intents.first(), line, None, &mut diff);
        return diff;
    }
    if intents.count() != lines.len() {
        diff.push(difference("/lines".into(), "integer", intents.count().to_string(), lines.len().to_string()));
    }
    if !intents.more().is_empty() {
        compare_all(intents, lines, &mut diff);
    }
    diff
}

/// See [`super::drift`].
pub(super) fn drift(intents: &Several<&Intent>, read: Option<Price>, ordered: &OrderFacts) -> Option<Vec<Diff>> {
    let costs = read.zip(ordered.cost);
    if ordered.lines.is_none() && costs.is_none() {
        return None;
    }
    let mut diff = ordered.lines.as_ref().map(|lines| differences(intents, lines)).unwrap_or_default();
    let other = costs.filter(|(read, cost)| read != cost);
    diff.extend(other.map(|(read, cost)| difference("/total".into(), "decimal", read.to_string(), cost.to_string())));
    Some(diff)
}

/// Token by token: `/lines/1/…` is about the second of them.
fn compare_all(intents: &Several<&Intent>, lines: &[Line], diff: &mut Vec<Diff>) {
    let (bought, left) = pair(intents, lines);
    let mut nothing = Vec::new();
    for ((at, intent), line) in intents.iter().enumerate().zip(bought) {
        match line {
            Some(line) => compare(intent, line, Some(at), diff),
            None => nothing.push(difference(place(at), "string", intent.variant.to_string(), "none".to_owned())),
        }
    }
    let unpaid = left.into_iter().enumerate().map(|(nth, line)| {
        let variant = stated(&line.variant).unwrap_or_default();
        difference(place(intents.count() + nth), "string", "none".to_owned(), variant)
    });
    diff.extend(nothing.into_iter().chain(unpaid).take(LEFT_OVER_MAX));
}

fn place(at: usize) -> Text {
    format!("/lines/{at}").into()
}

/// The line of each token, and the lines that are left. Those of equal variant and unit price
/// belong together; then, so that a difference reads well, those of equal variant, and at last
/// those that are left over on both sides.
fn pair<'l>(intents: &Several<&Intent>, lines: &'l [Line]) -> (Vec<Option<&'l Line>>, Vec<&'l Line>) {
    let mut left: Vec<&Line> = lines.iter().collect();
    let mut bought = vec![None; intents.count()];
    let as_many = intents.count() == lines.len();
    let passes: [fn(&Intent, &Line) -> bool; 3] = [same_item, same_variant, |_, _| true];
    for same in passes.iter().take(if as_many { 3 } else { 2 }) {
        for (intent, bought) in intents.iter().zip(&mut bought).filter(|(_, bought)| bought.is_none()) {
            *bought = left.iter().position(|line| same(intent, line)).map(|at| left.remove(at));
        }
    }
    (bought, left)
}

fn same_item(intent: &Intent, line: &Line) -> bool {
    same_variant(intent, line) && agrees(&intent.price, &line.price)
}

fn same_variant(intent: &Intent, line: &Line) -> bool {
    agrees(&intent.variant, &line.variant)
}

fn compare(intent: &Intent, line: &Line, at: Option<usize>, diff: &mut Vec<Diff>) {
    let quantity = i64::from(intent.quantity.get());
    let mut differs = |member, kind, found| diff.extend(found_at(at, member, kind, found));
    differs("/sourceVariantId", "string", found(&intent.variant, &line.variant));
    differs("/quantity", "integer", found(&quantity, &line.quantity));
    differs("/price/currency", "string", found(&intent.price.currency(), &line.currency));
    differs("/price/amount", "decimal", found(&intent.price, &line.price));
}

fn agrees<T: PartialEq>(authorized: &T, actual: &Fact<T>) -> bool {
    match actual {
        Fact::Stated(value) => value == authorized,
        Fact::NotBound => true,
        Fact::Senseless(_) => false,
    }
}

/// What was authorised and what was found, where the two differ.
fn found<T: PartialEq + std::fmt::Display>(authorized: &T, actual: &Fact<T>) -> Option<(String, String)> {
    if agrees(authorized, actual) { None } else { Some((authorized.to_string(), stated(actual)?)) }
}

fn stated<T: std::fmt::Display>(fact: &Fact<T>) -> Option<String> {
    match fact {
        Fact::Stated(value) => Some(value.to_string()),
        Fact::Senseless(text) => Some(text.to_string()),
        Fact::NotBound => None,
    }
}

fn found_at(
    at: Option<usize>,
    member: &'static str,
    kind: &'static str,
    found: Option<(String, String)>,
) -> Option<Diff> {
    let (authorized, actual) = found?;
    let actual = if kind == "string" { actual } else { number(actual) };
    let path = at.map_or(Text::Borrowed(member), |at| format!("/lines/{at}{member}").into());
    Some(difference(path, kind, authorized, actual))
}

/// Whoever reads a diff is not told a number as long as that of a card (ISO/IEC 7812-1): no cart needs one.
fn number(text: String) -> String {
    const DIGITS_MAX: usize = 12;
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    if digits > DIGITS_MAX { "a very long number".to_owned() } else { text }
}

fn difference(path: Text, kind: &'static str, authorized: String, actual: String) -> Diff {
    Diff { actual: actual.into(), authorized: authorized.into(), path, kind }
}
