//! Reading a body: strictly, and with an error that names the member.

use std::fmt::Display;

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::model::json::{Object, Value, read_object};
use crate::protocol::deny::Refusal;

/// Refuses everything but one `application/json` in UTF-8, not encoded.
pub(super) fn content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut sent = headers.get_all(CONTENT_TYPE).iter();
    let only = sent.next().filter(|_| sent.next().is_none());
    let json = only.and_then(|value| value.to_str().ok()).is_some_and(is_json);
    if !json {
        return Err(Refusal::malformed(415, "Content-Type", "`Content-Type` must be `application/json`, once"));
    }
    if headers.get_all(CONTENT_ENCODING).iter().any(|coding| coding != "identity") {
        return Err(Refusal::malformed(415, "Content-Encoding", "the body must not be encoded"));
    }
    Ok(())
}

fn is_json(value: &str) -> bool {
    let mut parts = value.split(';').map(str::trim);
    let essence = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    essence && parts.all(|part| part.is_empty() || part.replace('"', "").eq_ignore_ascii_case("charset=utf-8"))
}

/// Reads a body of at most `max` bytes. One that says it is longer is not read at all.
pub(super) async fn read_body(headers: &HeaderMap, body: Body, max: usize) -> Result<Bytes, Refusal> {
    let too_long = || Refusal::malformed(413, "body", format!("the body has more than {max} bytes"));
    let said = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if said.is_some_and(|length| length > max as u64) {
        return Err(too_long());
    }
    match Limited::new(body, max).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_long()),
        Err(_broke_off) => Err(Refusal::malformed(400, "body", "the body broke off")),
    }
}

/// The object that a body must be.
pub(super) fn object(body: &Bytes) -> Result<Object<'_>, Refusal> {
    read_object(body).map_err(|why| Refusal::malformed(400, "body", format!("the body must be one JSON object: {why}")))
}

/// An object, and where it stands in the body.
#[derive(Clone, Copy)]
pub(super) struct Members<'o, 'a> {
    object: &'o Object<'a>,
    /// With its dot: `price.`.
    place: &'o str,
}

impl<'o, 'a> Members<'o, 'a> {
    pub fn of(object: &'o Object<'a>) -> Self {
        Self { object, place: "" }
    }

    pub fn within(object: &'o Object<'a>, place: &'o str) -> Self {
        Self { object, place }
    }

    /// The error about a member of this object: `must` completes "`price.amount` …".
    pub fn wrong(&self, name: &str, must: impl Display) -> Refusal {
        let member = format!("{}{name}", self.place);
        let message = format!("`{member}` {must}");
        Refusal::malformed(400, member, message)
    }

    pub fn required(&self, name: &str) -> Result<&'o Value<'a>, Refusal> {
        self.object.get(name).ok_or_else(|| self.wrong(name, "is missing"))
    }

    /// A member that may be left out; `null` leaves it out too.
    pub fn optional(&self, name: &str) -> Option<&'o Value<'a>> {
        self.object.get(name).filter(|value| **value != Value::Null)
    }

    pub fn text(&self, name: &str) -> Result<&'o str, Refusal> {
        self.required(name)?.as_str().ok_or_else(|| self.wrong(name, "must be a string"))
    }

    pub fn optional_text(&self, name: &str) -> Result<Option<&'o str>, Refusal> {
        let found = self.optional(name).map(|value| value.as_str().ok_or_else(|| self.wrong(name, "must be a string")));
        found.transpose()
    }

    /// A text that `parse` takes; its error completes "`storeId` …".
    pub fn parsed<T, E: Display>(&self, name: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Result<T, Refusal> {
        parse(self.text(name)?).map_err(|why| self.wrong(name, why))
    }

    /// As [`Self::parsed`], for a member that may be left out.
    pub fn optional_parsed<T, E: Display>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Refusal> {
        let parsed = self.optional_text(name)?.map(|text| parse(text).map_err(|why| self.wrong(name, why)));
        parsed.transpose()
    }

    /// The literal text of a number.
    pub fn number(&self, name: &str) -> Result<&'a str, Refusal> {
        self.required(name)?.as_number().ok_or_else(|| self.wrong(name, "must be a number"))
    }

    pub fn boolean(&self, name: &str) -> Result<bool, Refusal> {
        match self.required(name)? {
            Value::Bool(flag) => Ok(*flag),
            _ => Err(self.wrong(name, "must be true or false")),
        }
    }

    pub fn object(&self, name: &str) -> Result<&'o Object<'a>, Refusal> {
        self.required(name)?.as_object().ok_or_else(|| self.wrong(name, "must be an object"))
    }

    /// The texts of an object that may be left out, as far as it has them.
    pub fn optional_texts(&self, name: &str, names: &[&str]) -> Result<Vec<&'o str>, Refusal> {
        let Some(value) = self.optional(name) else { return Ok(Vec::new()) };
        let object = value.as_object().ok_or_else(|| self.wrong(name, "must be an object"))?;
        let mut texts = Vec::new();
        for inner in names.iter().filter(|inner| object.get(inner).is_some_and(|value| *value != Value::Null)) {
            let text = object.get(inner).and_then(Value::as_str);
            texts.push(text.ok_or_else(|| self.wrong(&format!("{name}.{inner}"), "must be a string"))?);
        }
        texts.retain(|text| !text.is_empty());
        Ok(texts)
    }
}
