//! The body of a step as it is read: decoded within a bound, and one strict document.

use std::borrow::Cow;

use crate::model::json::{Object, Value, read_object};

use super::coding::{Undecodable, decoded};
use super::deny::Refusal;
use super::form::read_form;
use super::graphql::Does;
use super::media::{Coding, Form, Media};
use super::preset::{FactSource, Preset};

/// The body without its content coding; `most` is the limit in bytes.
pub fn plain(media: Media, body: &[u8], most: usize) -> Result<Cow<'_, [u8]>, Refusal> {
    // A server that does not undo codings finds fields in the bytes of a coded form, and of other values.
    let plain_only = media.form == Some(Form::Form);
    let Some(coding) = media.coding.filter(|coding| !plain_only || *coding == Coding::Identity) else {
        let message = "send the body plain; JSON also with one of `gzip` and `deflate`";
        return Err(Refusal::malformed(415, "Content-Encoding", message));
    };
    decoded(body, coding, most).map_err(|why| {
        let status = if why == Undecodable::TooLong { 413 } else { 400 };
        Refusal::malformed(status, "body", format!("the body cannot be decoded: {why}"))
    })
}

/// One strict document, written as the preset has it.
pub fn document<'b>(preset: &Preset, media: Media, plain: &'b [u8]) -> Result<Value<'b>, Refusal> {
    if plain.trim_ascii().is_empty() && preset.source == FactSource::Session {
        return Ok(Value::Object(Object::default()));
    }
    if media.form != Some(preset.form) {
        let message = format!("send one Content-Type, `{}`", preset.form.media_type());
        return Err(Refusal::malformed(415, "Content-Type", message));
    }
    // Few servers undo a coding, and the coded bytes can be a form too: another one.
    if preset.form == Form::Form && media.coding != Some(Coding::Identity) {
        return Err(Refusal::malformed(415, "Content-Encoding", "send a form plain"));
    }
    let object = match preset.form {
        Form::Json => read_object(plain).map_err(|error| {
            Refusal::malformed(400, "body", format!("send exactly one strict JSON object: {error}"))
        })?,
        Form::Form => read_form(plain)
            .map_err(|error| Refusal::malformed(400, "body", format!("send one strict form: {error}")))?,
    };
    if object.has_case_twins() {
        return Err(Refusal::malformed(400, "body", "two names of one object differ in nothing but case"));
    }
    Ok(Value::Object(object))
}

/// What a request would do whose step stands in its body; `query` is the raw one of its URL.
#[must_use]
pub fn does(preset: &Preset, media: Media, body: &[u8], query: Option<&str>, most: usize) -> Does {
    let Some(operations) = &preset.operations else { return Does::Unrecognised("no_operations") };
    let Ok(plain) = plain(media, body, most) else { return Does::Unrecognised("body_encoded") };
    match document(preset, media, &plain) {
        Ok(Value::Object(document)) => operations.judge(&document, query),
        _ => Does::Unrecognised("body_is_not_a_json_object"),
    }
}
