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
        let coding = coding.and_then(|coding| coding_of(coding.unwrap_or_default()));
        Self { form, untyped, coding }
    }
}

/// The one value of a field: `None` when it stands more than once.
fn only<'v>(mut values: impl Iterator<Item = &'v [u8]>) -> Option<Option<&'v [u8]>> {
    let is_printable = |value: &&[u8]| value.iter().all(|byte| matches!(byte, b'\t' | b' '..0x7f));
    let first = values.next().map(|value| Some(value).filter(is_printable).unwrap_or(b"?").trim_ascii());
    values.next().is_none().then_some(first)
}

fn coding_of(coding: &[u8]) -> Option<Coding> {
    let is = |names: &[&str]| names.iter().any(|name| coding.eq_ignore_ascii_case(name.as_bytes()));
    match coding {
        b"" => Some(Coding::Identity),
        _ if is(&["identity"]) => Some(Coding::Identity),
        _ if is(&["gzip", "x-gzip"]) => Some(Coding::Gzip),
        _ if is(&["deflate"]) => Some(Coding::Deflate),
        _ => None,
    }
}

fn form_of(kind: &[u8]) -> Option<Form> {
    let (media, parameters) = cut(kind, b';');
    let (media, parameters) = (media.trim_ascii(), parameters.trim_ascii());
    let is_utf8 = || {
        let (name, set) = cut(parameters, b'=');
        let set = set.strip_prefix(b"\"").and_then(|set| set.strip_suffix(b"\"")).unwrap_or(set);
        name.eq_ignore_ascii_case(b"charset") && set.eq_ignore_ascii_case(b"utf-8")
    };
    let plain = parameters.is_empty() || is_utf8();
    [Form::Json, Form::Form].into_iter().find(|form| plain && media.eq_ignore_ascii_case(form.media_type().as_bytes()))
}

/// What stands before the first of these bytes, and what behind it.
fn cut(text: &[u8], at: u8) -> (&[u8], &[u8]) {
    let (before, behind) = text.split_at(memchr::memchr(at, text).unwrap_or(text.len()));
    (before, behind.get(1..).unwrap_or_default())
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
        assert_eq!(form("application/json ;charset=utf-8"), Some(Form::Json));
        for other in [
            "application/json; charset=utf-7",
            "application/json; charset = utf-8",
            "application/json; charset=\"utf-8",
            "text/json",
            "application/json, text/html",
            "",
            "multipart/x",
        ] {
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
