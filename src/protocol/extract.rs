//! From a body to the facts of a purchase. Reads what the preset declares and nothing else.

use crate::model::event::Text;
use crate::model::ids::VariantId;
use crate::model::json::{Object, Value};
use crate::model::money::{Currency, Decimal, Price};

use super::preset::{Money, Preset};

/// Most lines of one cart that are looked at; a longer cart is not understood.
pub const LINES_MAX: usize = 100;

/// What is being bought, as the declared source says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckoutFacts {
    /// Lines of equal variant and unit price are summed.
    pub lines: Vec<Line>,
}

/// One line of a cart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub variant: Fact<VariantId>,
    pub quantity: Fact<i64>,
    /// Unit price with its currency.
    pub price: Fact<Price>,
    pub currency: Fact<Currency>,
}

/// One fact: stated, stated in a form that means nothing, or not bound by this source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact<T> {
    Stated(T),
    /// The text as it stood, bounded, for the diff.
    Senseless(Text),
    NotBound,
}

impl<T> Fact<T> {
    #[must_use]
    pub fn stated(&self) -> Option<&T> {
        match self {
            Self::Stated(value) => Some(value),
            _ => None,
        }
    }

    fn of(value: &Value<'_>, read: impl FnOnce(&Value<'_>) -> Option<T>) -> Self {
        read(value).map_or_else(|| Self::Senseless(value.summary().into_owned().into()), Self::Stated)
    }
}

/// Why the facts are not known: something that the preset declares is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown(pub &'static str);

/// Reads the facts from a body that the preset declares as their source.
pub fn facts(preset: &Preset, body: &Object<'_>) -> Result<CheckoutFacts, Unknown> {
    let items = body.pointer(&preset.lines.items).and_then(Value::as_array).ok_or(Unknown("items_absent"))?;
    if items.is_empty() {
        return Err(Unknown("items_empty"));
    }
    if items.len() > LINES_MAX {
        return Err(Unknown("items_too_many"));
    }
    let currency = currency(preset, body)?;
    let lines = items.iter().map(|item| line(preset, item, &currency)).collect::<Result<Vec<_>, _>>()?;
    Ok(CheckoutFacts { lines: summed(lines) })
}

fn currency(preset: &Preset, body: &Object<'_>) -> Result<Fact<Currency>, Unknown> {
    let Some(pointer) = &preset.lines.currency else { return Ok(Fact::NotBound) };
    let value = body.pointer(pointer).ok_or(Unknown("currency_absent"))?;
    Ok(Fact::of(value, |value| Currency::parse(value.as_str()?)))
}

fn line(preset: &Preset, item: &Value<'_>, currency: &Fact<Currency>) -> Result<Line, Unknown> {
    let id = item.pointer(&preset.lines.variant).ok_or(Unknown("variant_absent"))?;
    let quantity = item.pointer(&preset.lines.quantity).ok_or(Unknown("quantity_absent"))?;
    let variant = Fact::of(id, |id| {
        let id = id.as_str().or_else(|| id.as_number())?;
        VariantId::parse(&preset.variant_of(id)).ok()
    });
    Ok(Line {
        variant,
        quantity: Fact::of(quantity, count),
        price: price(preset, item, currency)?,
        currency: currency.clone(),
    })
}

/// Pieces are counted from one: a line of none or of fewer could cancel another out.
fn count(quantity: &Value<'_>) -> Option<i64> {
    Decimal::parse(quantity.as_number()?)?.integer().filter(|count| *count >= 1)
}

fn price(preset: &Preset, item: &Value<'_>, currency: &Fact<Currency>) -> Result<Fact<Price>, Unknown> {
    let Some(pointer) = &preset.lines.price else { return Ok(Fact::NotBound) };
    let value = item.pointer(pointer).ok_or(Unknown("price_absent"))?;
    let Some(currency) = currency.stated().copied() else {
        return Ok(Fact::Senseless(value.summary().into_owned().into()));
    };
    Ok(Fact::of(value, |value| {
        let amount = Decimal::parse(value.as_number()?)?;
        match preset.money {
            Money::Minor => Price::of_minor(amount.integer()?, currency),
            Money::Major => Price::of_major(amount, currency),
        }
    }))
}

/// Adds up lines that differ in nothing but their quantity.
fn summed(lines: Vec<Line>) -> Vec<Line> {
    let mut out: Vec<Line> = Vec::with_capacity(lines.len());
    for line in lines {
        let same = out.iter_mut().find(|seen| {
            let stated = seen.variant.stated().is_some() && seen.quantity.stated().is_some();
            stated && (&seen.variant, &seen.price, &seen.currency) == (&line.variant, &line.price, &line.currency)
        });
        match (same, &line.quantity) {
            (Some(seen), Fact::Stated(more)) => {
                let sum = seen.quantity.stated().and_then(|have| have.checked_add(*more));
                seen.quantity = sum.map_or(Fact::Senseless("a very long number".into()), Fact::Stated);
            }
            _ => out.push(line),
        }
    }
    out
}

/// What the merchant's answer says about the order. Text of strangers: cut to a bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderFacts {
    pub id: Option<String>,
    pub total: Option<String>,
    pub status: Option<String>,
}

/// Reads the order from an answer.
#[must_use]
pub fn order(preset: &Preset, body: &Object<'_>) -> OrderFacts {
    let text = |pointer: &Option<String>| {
        let value = body.pointer(pointer.as_deref()?)?;
        let text = value.as_str().or_else(|| value.as_number())?;
        (text.len() <= 128).then(|| text.to_owned())
    };
    OrderFacts { id: text(&preset.order.id), total: text(&preset.order.total), status: text(&preset.order.status) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::read_object;
    use crate::protocol::preset::built_in;

    fn read(preset: &str, body: &str) -> Result<CheckoutFacts, Unknown> {
        facts(&built_in().unwrap()[preset], &read_object(body.as_bytes()).unwrap())
    }

    fn price(minor: i64, code: &str) -> Fact<Price> {
        Fact::Stated(Price::of_minor(minor, Currency::parse(code).unwrap()).unwrap())
    }

    #[test]
    fn one_shot_facts_are_read_by_value() {
        for amount in ["29.99", "2999e-2", "29.990"] {
            let body = format!(r#"{{"currency":"USD","items":[{{"variant":"a:1","quantity":1.0,"price":{amount}}}]}}"#);
            let line = &read("oneshot-json", &body).unwrap().lines[0];
            assert_eq!((line.price.clone(), line.quantity.clone()), (price(2999, "USD"), Fact::Stated(1)));
        }
    }

    #[test]
    fn session_facts_are_in_minor_units() {
        let body = r#"{"currency":"USD","line_items":[{"item":{"id":"mug_blue","price":2999},"quantity":2}]}"#;
        let facts = read("ucp", body).unwrap();
        assert_eq!(facts.lines[0].price, price(2999, "USD"));
        assert_eq!(facts.lines[0].variant, Fact::Stated(VariantId::parse("mug_blue").unwrap()));
    }

    #[test]
    fn lines_of_one_variant_and_price_are_one_line() {
        let item = |price| format!(r#"{{"variant":"a","quantity":1,"price":{price}}}"#);
        let body = format!(r#"{{"currency":"USD","items":[{},{},{}]}}"#, item("1.00"), item("1"), item("2.00"));
        let facts = read("oneshot-json", &body).unwrap();
        let quantities: Vec<_> = facts.lines.iter().map(|line| line.quantity.clone()).collect();
        assert_eq!(quantities, [Fact::Stated(2), Fact::Stated(1)]);
    }

    #[test]
    fn no_line_cancels_another_out() {
        for (more, less) in [(51, -50), (1, 0)] {
            let item = |quantity| format!(r#"{{"variant":"a","quantity":{quantity},"price":1}}"#);
            let body = format!(r#"{{"currency":"USD","items":[{},{}]}}"#, item(more), item(less));
            assert_eq!(read("oneshot-json", &body).unwrap().lines.len(), 2);
        }
    }

    #[test]
    fn what_is_not_stated_is_unknown_and_what_is_senseless_is_kept() {
        assert_eq!(read("oneshot-json", r#"{"items":[]}"#), Err(Unknown("items_empty")));
        assert_eq!(read("oneshot-json", r#"{"items":[{}]}"#), Err(Unknown("currency_absent")));
        let odd = [r#""1""#, "1.5", "true", "null", "1.0000000000000000001", "[]"];
        for quantity in odd {
            let body = format!(r#"{{"currency":"usd","items":[{{"variant":"a","quantity":{quantity},"price":"1"}}]}}"#);
            let line = &read("oneshot-json", &body).unwrap().lines[0];
            assert!(matches!(line.quantity, Fact::Senseless(_)), "{quantity}");
            assert!(matches!(line.price, Fact::Senseless(_)));
            assert_eq!(line.currency, Fact::Senseless("usd".into()));
        }
    }
}
