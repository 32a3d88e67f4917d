//! Reading members of a body: an error names the member and says what it must be.

use std::fmt::Display;

use crate::model::json::{Object, Value};
use crate::model::money::{Currency, Decimal, Price};
use crate::model::time::Timestamp;

use super::{Carried, EXECUTION, LINES_MAX, Lines, NotANotice, OrderLine, TEXT_MAX, TRACE};

/// Most items of a list that are looked at; a longer one is refused.
const LIST_MAX: usize = 2000;

/// An object, and where it stands in the body.
pub(super) struct Members<'o, 'a> {
    object: &'o Object<'a>,
    /// With its dot: `line_items.0.`.
    place: String,
}

impl<'o, 'a> Members<'o, 'a> {
    pub(super) fn of(object: &'o Object<'a>) -> Self {
        Self { object, place: String::new() }
    }

    pub(super) fn wrong(&self, name: &str, must: impl Display) -> NotANotice {
        NotANotice::Member { member: format!("{}{name}", self.place), must: must.to_string() }
    }

    /// A member that is there and not null.
    pub(super) fn get(&self, name: &str) -> Option<&'o Value<'a>> {
        self.object.get(name).filter(|value| **value != Value::Null)
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'o str>, NotANotice> {
        self.get(name).map(|value| value.as_str().ok_or_else(|| self.wrong(name, "must be a text"))).transpose()
    }

    /// A text that is kept: printable, and short.
    pub(super) fn word(&self, name: &str) -> Result<Option<String>, NotANotice> {
        let text = self.text(name)?.filter(|text| !text.is_empty());
        text.map(|text| self.bounded(name, text)).transpose()
    }

    /// An id: a text, or a whole number.
    pub(super) fn id(&self, name: &str) -> Result<Option<String>, NotANotice> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let whole = |number: &&str| number.bytes().all(|byte| byte.is_ascii_digit());
        let text = value.as_str().or_else(|| value.as_number().filter(whole));
        let text = text.ok_or_else(|| self.wrong(name, "must be a text or a whole number"))?;
        if text.is_empty() { Ok(None) } else { self.bounded(name, text).map(Some) }
    }

    pub(super) fn required_id(&self, name: &str) -> Result<String, NotANotice> {
        self.id(name)?.ok_or_else(|| self.wrong(name, "is missing"))
    }

    fn bounded(&self, name: &str, text: &str) -> Result<String, NotANotice> {
        let good = text.len() <= TEXT_MAX && !text.chars().any(char::is_control);
        let must = || format!("must have at most {TEXT_MAX} bytes and no control characters");
        if good { Ok(text.to_owned()) } else { Err(self.wrong(name, must())) }
    }

    pub(super) fn object(&self, name: &str) -> Result<Option<Self>, NotANotice> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let object = value.as_object().ok_or_else(|| self.wrong(name, "must be an object"))?;
        Ok(Some(Self { object, place: format!("{}{name}.", self.place) }))
    }

    pub(super) fn required_object(&self, name: &str) -> Result<Self, NotANotice> {
        self.object(name)?.ok_or_else(|| self.wrong(name, "is missing"))
    }

    /// The objects of a list; `None` where there is no list.
    pub(super) fn list(&self, name: &str) -> Result<Option<Vec<Self>>, NotANotice> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let items = value.as_array().ok_or_else(|| self.wrong(name, "must be an array"))?;
        if items.len() > LIST_MAX {
            return Err(self.wrong(name, format_args!("must have at most {LIST_MAX} items")));
        }
        let item = |(n, value): (usize, &'o Value<'a>)| {
            let object = value.as_object();
            let object = object.ok_or_else(|| self.wrong(&format!("{name}.{n}"), "must be an object"))?;
            Ok(Self { object, place: format!("{}{name}.{n}.", self.place) })
        };
        items.iter().enumerate().map(item).collect::<Result<_, _>>().map(Some)
    }

    /// The lines of an order, each read by `line`; one without a quantity is none.
    pub(super) fn lines(
        &self,
        name: &str,
        line: impl Fn(&Self) -> Result<OrderLine, NotANotice>,
    ) -> Result<Option<Lines>, NotANotice> {
        let Some(items) = self.list(name)? else { return Ok(None) };
        let lines: Vec<_> = items.iter().map(line).collect::<Result<_, _>>()?;
        let mut first: Vec<_> = lines.into_iter().filter(|line| line.quantity > 0).collect();
        let all = first.len();
        first.truncate(LINES_MAX);
        Ok(Some(Lines { first, all }))
    }

    pub(super) fn quantity(&self, name: &str) -> Result<u32, NotANotice> {
        let number = self.get(name).and_then(Value::as_number).and_then(|number| number.parse().ok());
        number.ok_or_else(|| self.wrong(name, "must be a whole number"))
    }

    pub(super) fn currency(&self, name: &str) -> Result<Option<Currency>, NotANotice> {
        let Some(code) = self.text(name)? else { return Ok(None) };
        let known = Currency::parse(&code.to_ascii_uppercase());
        known.map(Some).ok_or_else(|| self.wrong(name, "must be an ISO 4217 code"))
    }

    /// An amount in major units, a text or a number. One that the currency cannot express, or that
    /// is negative, is not known.
    pub(super) fn major(&self, name: &str, currency: Currency) -> Result<Option<Price>, NotANotice> {
        Ok(self.decimal(name)?.and_then(|amount| Price::of_major(amount, currency)))
    }

    /// The same in whole minor units.
    pub(super) fn minor(&self, name: &str, currency: Currency) -> Result<Option<Price>, NotANotice> {
        let Some(amount) = self.decimal(name)? else { return Ok(None) };
        let whole = amount.integer().ok_or_else(|| self.wrong(name, "must be a whole number of minor units"))?;
        Ok(Price::of_minor(whole, currency))
    }

    fn decimal(&self, name: &str) -> Result<Option<Decimal>, NotANotice> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let text = value.as_number().or_else(|| value.as_str());
        let amount = text.and_then(Decimal::parse);
        amount.map(Some).ok_or_else(|| self.wrong(name, "must be an amount"))
    }

    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>, NotANotice> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let time = Timestamp::parse(text);
        time.map(Some).ok_or_else(|| self.wrong(name, "must be a time of RFC 3339"))
    }

    /// Our own id among the members of this object. A text that is none was not written by us.
    pub(super) fn carried(&self) -> Option<Carried> {
        [EXECUTION, TRACE].into_iter().find_map(|name| Carried::parse(self.get(name)?.as_str()?))
    }
}

/// The text of the first pair with this name, of a list of names and values.
pub(super) fn named<'o>(pairs: &[Members<'o, '_>], key: &str, name: &str) -> Option<&'o str> {
    let has_name = |pair: &&Members<'o, '_>| pair.get(key).and_then(Value::as_str) == Some(name);
    pairs.iter().find(has_name)?.get("value")?.as_str()
}

/// Our own id in such a list.
pub(super) fn carried_in(pairs: &[Members<'_, '_>], key: &str) -> Option<Carried> {
    [EXECUTION, TRACE].into_iter().find_map(|name| Carried::parse(named(pairs, key, name)?))
}
