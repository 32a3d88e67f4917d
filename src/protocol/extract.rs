//! From a body to the facts of a purchase. Reads what the preset declares and nothing else.

use crate::model::event::Text;
use crate::model::ids::VariantId;
use crate::model::json::Value;
use crate::model::money::{Currency, Decimal, Price};

use super::media::Form;
use super::pointer::{Places, Pointer};
use super::preset::{Amount, Basis, Items, Lines, Preset};

/// Most lines of one cart that are looked at; a longer cart is not understood.
pub const LINES_MAX: usize = 100;

/// What is being bought, as the declared source says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckoutFacts {
    /// Lines of equal variant and unit price are summed.
    pub lines: Vec<Line>,
    /// What the whole purchase costs, with everything that is added to its lines.
    pub total: Fact<Price>,
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

    fn of<'a>(value: &Value<'a>, read: impl FnOnce(&Value<'a>) -> Option<T>) -> Self {
        read(value).map_or_else(|| Self::Senseless(value.summary().into_owned().into()), Self::Stated)
    }
}

/// Why the facts are not known: something that the preset declares is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown(pub &'static str);

/// Reads the facts from a document that the preset declares as their source. Prices are read on the
/// store's basis.
pub fn facts(preset: &Preset, document: &Value<'_>, basis: Basis) -> Result<CheckoutFacts, Unknown> {
    Reading { preset, lines: &preset.lines, basis }.facts(document)
}

/// What the merchant's answer says was ordered; `None` where it does not say.
pub(super) fn ordered(preset: &Preset, document: &Value<'_>, basis: Basis) -> Option<CheckoutFacts> {
    Reading { preset, lines: &preset.order.lines, basis }.facts(document).ok()
}

/// True when a session's commit names another purchase than the session: then the caller and the
/// merchant do not mean the same. What it names is never a fact.
#[must_use]
pub fn contradicts(preset: &Preset, commit: &Value<'_>, session: &CheckoutFacts, basis: Basis) -> bool {
    let reading = Reading { preset, lines: &preset.claims, basis };
    let Items::List(places) = &preset.claims.items else { return false };
    if places.find(commit).all(|value| *value == Value::Null) {
        return false;
    }
    if let Ok(stated) = reading.facts(commit) {
        return stated.lines != session.lines;
    }
    // Without prices the items still have to be the same.
    let items_only = Lines { price: None, currency: Places::default(), ..preset.claims.clone() };
    let bare =
        |lines: &[Line]| -> Vec<_> { lines.iter().map(|line| (line.variant.clone(), line.quantity.clone())).collect() };
    let stated = Reading { lines: &items_only, ..reading }.facts(commit);
    !stated.is_ok_and(|stated| bare(&stated.lines) == bare(&session.lines))
}

/// One kind of document, and how it is read.
#[derive(Clone, Copy)]
struct Reading<'p> {
    preset: &'p Preset,
    lines: &'p Lines,
    basis: Basis,
}

/// In what money one document is written.
struct Written {
    currency: Fact<Currency>,
    decimals: Option<u32>,
}

impl Reading<'_> {
    fn facts(self, document: &Value<'_>) -> Result<CheckoutFacts, Unknown> {
        let items = self.items(document)?;
        if items.is_empty() {
            return Err(Unknown("items_empty"));
        }
        if items.len() > LINES_MAX {
            return Err(Unknown("items_too_many"));
        }
        let written = self.written(document)?;
        let lines = items.into_iter().map(|item| self.line(item, &written)).collect::<Result<Vec<_>, _>>()?;
        Ok(CheckoutFacts { lines: summed(lines), total: self.total(document, &written) })
    }

    fn items<'v, 'a>(self, document: &'v Value<'a>) -> Result<Vec<&'v Value<'a>>, Unknown> {
        let Items::List(places) = &self.lines.items else { return Ok(vec![document]) };
        let mut lists = places.find(document).filter(|value| **value != Value::Null);
        let list = lists.next().and_then(Value::as_array).ok_or(Unknown("items_absent"))?;
        if lists.next().is_some() {
            return Err(Unknown("items_twice"));
        }
        Ok(list.iter().collect())
    }

    fn written(self, document: &Value<'_>) -> Result<Written, Unknown> {
        let currency = if self.lines.currency.is_empty() {
            Fact::NotBound
        } else {
            fact(self.lines.currency.find(document), |value| self.lines.currency_case.read(value.as_str()?))
                .ok_or(Unknown("currency_absent"))?
        };
        let decimals = match &self.lines.decimals_at {
            None => self.lines.decimals,
            Some(pointer) => {
                let digits = pointer.find(document).and_then(Value::as_number).and_then(Decimal::parse);
                let digits = digits.and_then(Decimal::integer).and_then(|digits| u32::try_from(digits).ok());
                Some(digits.filter(|digits| *digits <= 18).ok_or(Unknown("decimals_absent"))?)
            }
        };
        Ok(Written { currency, decimals })
    }

    fn line(self, item: &Value<'_>, written: &Written) -> Result<Line, Unknown> {
        let variant = fact(self.lines.variant.find(item), |id| {
            let id = id.as_str().or_else(|| id.as_number())?;
            VariantId::parse(&self.preset.variant_of(id)).ok()
        });
        let quantity = fact(self.lines.quantity.find(item), |value| self.count(value));
        let quantity = quantity.ok_or(Unknown("quantity_absent"))?;
        Ok(Line {
            variant: variant.ok_or(Unknown("variant_absent"))?,
            price: self.price(item, &quantity, written)?,
            quantity,
            currency: written.currency.clone(),
        })
    }

    /// Pieces are counted from one: a line of none or of fewer could cancel another out.
    fn count(self, quantity: &Value<'_>) -> Option<i64> {
        let text = match self.preset.form {
            Form::Json => quantity.as_number()?,
            Form::Form => quantity.as_str()?,
        };
        Decimal::parse(text)?.integer().filter(|count| *count >= 1)
    }

    fn price(self, item: &Value<'_>, quantity: &Fact<i64>, written: &Written) -> Result<Fact<Price>, Unknown> {
        let Some(prices) = &self.lines.price else { return Ok(Fact::NotBound) };
        if let Some(pointer) = &self.lines.inclusive {
            match pointer.find(item) {
                Some(Value::Bool(inclusive)) if *inclusive == (self.basis == Basis::Gross) => {}
                Some(Value::Bool(_)) => return Err(Unknown("price_on_another_basis")),
                _ => return Err(Unknown("price_basis_absent")),
            }
        }
        let places = prices.on(self.basis);
        if places.is_empty() {
            return Err(Unknown("price_basis_not_told"));
        }
        let amounts = places.iter().filter_map(|place| match place {
            Amount::Unit(pointer) => {
                let value = pointer.find(item)?;
                Some(Fact::of(value, |value| self.amount(value, written)))
            }
            Amount::Line { line } => self.share(&line.0, item, quantity, written),
        });
        agreed(amounts).ok_or(Unknown("price_absent"))
    }

    fn amount(self, value: &Value<'_>, written: &Written) -> Option<Price> {
        self.lines.money.read(value, *written.currency.stated()?, written.decimals)
    }

    /// The unit price of a line of which only the whole amount is told; `None` where a part of it is
    /// not there.
    fn share(
        self,
        parts: &[Pointer],
        item: &Value<'_>,
        quantity: &Fact<i64>,
        written: &Written,
    ) -> Option<Fact<Price>> {
        let values = parts.iter().map(|part| part.find(item)).collect::<Option<Vec<_>>>()?;
        let unit = || {
            let currency = *written.currency.stated()?;
            let amounts = values.iter().map(|value| self.amount(value, written).map(Price::minor));
            let whole = amounts.collect::<Option<Vec<_>>>()?.into_iter().try_fold(0_i64, i64::checked_add)?;
            let pieces = *quantity.stated()?;
            (whole % pieces == 0).then(|| Price::of_minor(whole / pieces, currency)).flatten()
        };
        let told = || values.first().map_or_else(String::new, |value| format!("a share of {}", value.summary()));
        Some(unit().map_or_else(|| Fact::Senseless(told().into()), Fact::Stated))
    }

    fn total(self, document: &Value<'_>, written: &Written) -> Fact<Price> {
        let values = self.lines.total.find(document);
        fact(values, |value| self.amount(value, written)).unwrap_or(Fact::NotBound)
    }
}

/// What the values of one fact say together; `None` where there is none. A null says nothing beside
/// another value.
fn fact<'v, 'a: 'v, T: PartialEq>(
    values: impl Iterator<Item = &'v Value<'a>>,
    read: impl Fn(&Value<'a>) -> Option<T>,
) -> Option<Fact<T>> {
    let mut null = None;
    let values = values.filter(|value| {
        let says_nothing = **value == Value::Null;
        null = if says_nothing { Some(*value) } else { null };
        !says_nothing
    });
    agreed(values.map(|value| Fact::of(value, &read))).or_else(|| null.map(|null| Fact::of(null, &read)))
}

fn agreed<T: PartialEq>(mut facts: impl Iterator<Item = Fact<T>>) -> Option<Fact<T>> {
    let first = facts.next()?;
    Some(if facts.all(|other| other == first) { first } else { Fact::Senseless("places that differ".into()) })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::read_object;
    use crate::protocol::form::read_form;
    use crate::protocol::preset::built_in;

    fn read(preset: &str, body: &str) -> Result<CheckoutFacts, Unknown> {
        let document = Value::Object(read_object(body.as_bytes()).unwrap());
        facts(&built_in().unwrap()[preset], &document, Basis::Net)
    }

    fn read_with(lines: &str, body: &str, basis: Basis) -> Result<CheckoutFacts, Unknown> {
        let preset = format!(
            "name = \"x\"\n[phases]\ncomplete = [\"POST /\"]\n[lines]\nitems = \"/items\"\nvariant = \"/id\"\n{lines}\n"
        );
        let document = Value::Object(read_object(body.as_bytes()).unwrap());
        facts(&Preset::parse(&preset).unwrap(), &document, basis)
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

    #[test]
    fn a_form_is_one_line_and_its_numbers_are_texts() {
        let form = Value::Object(read_form(b"variant=a%3A1&quantity=2&price=29.99&currency=USD").unwrap());
        let facts = facts(&built_in().unwrap()["oneshot-form"], &form, Basis::Net).unwrap();
        assert_eq!(facts.lines[0].price, price(2999, "USD"));
        assert_eq!(facts.lines[0].quantity, Fact::Stated(2));
    }

    #[test]
    fn places_of_one_fact_have_to_agree() {
        let lines = "quantity = [\"/quantity\", \"/item/quantity\"]";
        let quantity = |item: &str| {
            let body = format!(r#"{{"items":[{item}]}}"#);
            read_with(lines, &body, Basis::Net).map(|facts| facts.lines[0].quantity.clone())
        };
        assert_eq!(quantity(r#"{"id":"a","quantity":2}"#), Ok(Fact::Stated(2)));
        assert_eq!(quantity(r#"{"id":"a","item":{"quantity":2}}"#), Ok(Fact::Stated(2)));
        assert_eq!(quantity(r#"{"id":"a","quantity":2,"item":{"quantity":2}}"#), Ok(Fact::Stated(2)));
        assert_eq!(quantity(r#"{"id":"a","quantity":2,"item":{"quantity":null}}"#), Ok(Fact::Stated(2)));
        assert!(matches!(quantity(r#"{"id":"a","quantity":2,"item":{"quantity":3}}"#), Ok(Fact::Senseless(_))));
        assert_eq!(quantity(r#"{"id":"a"}"#), Err(Unknown("quantity_absent")));
    }

    #[test]
    fn the_price_is_on_the_basis_of_the_store() {
        let lines = "quantity = \"/n\"\ncurrency = \"/c\"\nmoney = \"minor\"\n\
                     price = { net = \"/net\", gross = { line = [\"/sum\", \"/tax\"] } }";
        let body = r#"{"c":"USD","items":[{"id":"a","n":2,"net":1000,"sum":2000,"tax":400}]}"#;
        let on = |body: &str, basis| read_with(lines, body, basis).map(|facts| facts.lines[0].price.clone());
        assert_eq!(on(body, Basis::Net), Ok(price(1000, "USD")));
        assert_eq!(on(body, Basis::Gross), Ok(price(1200, "USD")));
        assert!(matches!(on(&body.replace("400", "401"), Basis::Gross), Ok(Fact::Senseless(_))));
        assert_eq!(on(&body.replace("tax", "no"), Basis::Gross), Err(Unknown("price_absent")));
        let net_only = "quantity = \"/n\"\ncurrency = \"/c\"\nprice = { net = \"/net\" }";
        assert_eq!(read_with(net_only, body, Basis::Gross), Err(Unknown("price_basis_not_told")));
        let told = "quantity = \"/n\"\ncurrency = \"/c\"\nprice = \"/net\"\ninclusive = \"/with\"";
        let body = r#"{"c":"USD","items":[{"id":"a","n":1,"net":10,"with":true}]}"#;
        assert_eq!(read_with(told, body, Basis::Net), Err(Unknown("price_on_another_basis")));
        assert!(read_with(told, body, Basis::Gross).is_ok());
    }

    #[test]
    fn currencies_and_digits_are_as_the_protocol_writes_them() {
        let lines = "quantity = \"/n\"\ncurrency = \"/c\"\ncurrency_case = \"lower\"\nprice = \"/p\"\n\
                     money = \"minor_text\"\ndecimals = \"/d\"";
        let on = |code: &str, digits: &str| {
            let body = format!(r#"{{"c":"{code}","d":{digits},"items":[{{"id":"a","n":1,"p":"500000"}}]}}"#);
            read_with(lines, &body, Basis::Net).map(|facts| facts.lines[0].price.clone())
        };
        assert_eq!(on("jpy", "2"), Ok(price(5000, "JPY")));
        assert_eq!(on("usd", "3"), Ok(price(50_000, "USD")));
        assert!(matches!(on("USD", "2"), Ok(Fact::Senseless(_))));
        assert_eq!(on("usd", "\"2\""), Err(Unknown("decimals_absent")));
    }

    #[test]
    fn a_commit_that_names_another_purchase_contradicts() {
        let preset = &built_in().unwrap()["ucp"];
        let session = r#"{"currency":"USD","line_items":[{"item":{"id":"mug","price":2999},"quantity":2}]}"#;
        let session = read("ucp", session).unwrap();
        let contradicts = |commit: &str| {
            let commit = Value::Object(read_object(commit.as_bytes()).unwrap());
            contradicts(preset, &commit, &session, Basis::Net)
        };
        for agrees in [
            "{}",
            r#"{"line_items":null}"#,
            r#"{"line_items":[{"item":{"id":"mug"},"quantity":2}]}"#,
            r#"{"currency":"USD","line_items":[{"item":{"id":"mug","price":2999},"quantity":2}]}"#,
        ] {
            assert!(!contradicts(agrees), "{agrees}");
        }
        for differs in [
            r#"{"line_items":[]}"#,
            r#"{"line_items":{}}"#,
            r#"{"line_items":[{"item":{"id":"mug"},"quantity":3}]}"#,
            r#"{"line_items":[{"item":{"id":"cup"},"quantity":2}]}"#,
            r#"{"currency":"USD","line_items":[{"item":{"id":"mug","price":1},"quantity":2}]}"#,
        ] {
            assert!(contradicts(differs), "{differs}");
        }
    }
}
