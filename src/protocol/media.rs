//! What a request says of its body: content type and coding. Told twice, or in a form that readers
//! disagree about, it says nothing.

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

/// How a body is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// One JSON object.
    #[default]
    Json,
    /// `name=value&…` (WHATWG URL, `application/x-www-form-urlencoded`).
    Form,
}

impl Form {
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Form => "application/x-www-form-urlencoded",
        }
    }
}

/// A content coding that we can undo.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Coding {
    Identity,
    Gzip,
    /// The zlib format (RFC 9110 §8.4.1.2); raw deflate, which some send, is not taken.
    Deflate,
}

/// What the head of a message says of its body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Media {
    /// `None`: not said, not one of the two, or said ambiguously.
    pub form: Option<Form>,
    /// True when no content type is given at all.
    pub untyped: bool,
    /// `None`: a coding that we cannot undo, or several.
    pub coding: Option<Coding>,
}

impl Media {
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let all = |name| headers.get_all(name).iter().map(http::HeaderValue::as_bytes);
        Self::told(all(CONTENT_TYPE), all(CONTENT_ENCODING))
    }

    /// The same of the values of `Content-Type` and `Content-Encoding`.
    #[must_use]
    pub fn told<'v>(types: impl Iterator<Item = &'v [u8]>, codings: impl Iterator<Item = &'v [u8]>) -> Self {
        let (mut types, coding) = (types.peekable(), only(codings));
        let untyped = types.peek().is_none();
        let form = only(types).flatten().and_then(form_of);
        let is = |coding: &str, names: &[&str]| names.iter().any(|name| coding.eq_ignore_ascii_case(name));
        let coding = match coding.map(Option::unwrap_or_default) {
            Some(coding) if is(coding, &["", "identity"]) => Some(Coding::Identity),
            Some(coding) if is(coding, &["gzip", "x-gzip"]) => Some(Coding::Gzip),
            Some(coding) if is(coding, &["deflate"]) => Some(Coding::Deflate),
            _ => None,
        };
        Self { form, untyped, coding }
    }
}

/// The one value of a field: `None` when it stands more than once.
fn only<'v>(mut values: impl Iterator<Item = &'v [u8]>) -> Option<Option<&'v str>> {
    let printable = |text: &&str| text.bytes().all(|b| b == b'\t' || (b' '..0x7f).contains(&b));
    let first = values.next().map(|value| std::str::from_utf8(value).ok().filter(printable).unwrap_or("?").trim());
    values.next().is_none().then_some(first)
}

fn form_of(kind: &str) -> Option<Form> {
    let (media, parameters) = kind.split_once(';').unwrap_or((kind, ""));
    let (media, parameters) = (media.trim(), parameters.trim());
    let is_utf8 = || {
        let (name, set) = parameters.split_once('=').unwrap_or_default();
        name.eq_ignore_ascii_case("charset") && set.trim_matches('"').eq_ignore_ascii_case("utf-8")
    };
    let plain = parameters.is_empty() || is_utf8();
    [Form::Json, Form::Form].into_iter().find(|form| plain && media.eq_ignore_ascii_case(form.media_type()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http::header::HeaderName;

    fn media(lines: &[(HeaderName, &str)]) -> Media {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        Media::of(&headers)
    }

    #[test]
    fn a_body_is_what_its_head_says_once() {
        let form = |value| media(&[(CONTENT_TYPE, value)]).form;
        assert_eq!(form("application/json"), Some(Form::Json));
        assert_eq!(form("Application/JSON; charset=\"UTF-8\""), Some(Form::Json));
        assert_eq!(form("application/x-www-form-urlencoded"), Some(Form::Form));
        for other in ["application/json; charset=utf-7", "text/json", "application/json, text/html", "", "multipart/x"]
        {
            assert_eq!(form(other), None, "{other}");
        }
        assert_eq!(media(&[(CONTENT_TYPE, "application/json"), (CONTENT_TYPE, "application/json")]).form, None);
        assert!(media(&[]).untyped);
    }

    #[test]
    fn a_coding_is_known_or_it_is_none() {
        let coding = |value| media(&[(CONTENT_ENCODING, value)]).coding;
        assert_eq!(media(&[]).coding, Some(Coding::Identity));
        assert_eq!(coding("GZIP"), Some(Coding::Gzip));
        assert_eq!(coding("deflate"), Some(Coding::Deflate));
        for other in ["br", "gzip, gzip", "gzip,identity", "zstd"] {
            assert_eq!(coding(other), None, "{other}");
        }
        assert_eq!(media(&[(CONTENT_ENCODING, "gzip"), (CONTENT_ENCODING, "gzip")]).coding, None);
    }
}
