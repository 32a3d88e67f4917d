//! What a request says of its body: content type and coding. Told twice, or in a form that readers
//! disagree about, it says nothing.

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};

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
        let form = match only(headers, &CONTENT_TYPE) {
            Some(Some(kind)) => form_of(&kind),
            _ => None,
        };
        let coding = match only(headers, &CONTENT_ENCODING).map(Option::unwrap_or_default).as_deref() {
            Some("" | "identity") => Some(Coding::Identity),
            Some("gzip" | "x-gzip") => Some(Coding::Gzip),
            Some("deflate") => Some(Coding::Deflate),
            _ => None,
        };
        Self { form, untyped: !headers.contains_key(CONTENT_TYPE), coding }
    }
}

/// The one value of a field in lower case: `None` when it stands more than once.
fn only(headers: &HeaderMap, name: &HeaderName) -> Option<Option<String>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().map(|value| value.to_str().unwrap_or("?").trim().to_ascii_lowercase());
    values.next().is_none().then_some(first)
}

fn form_of(kind: &str) -> Option<Form> {
    let (media, parameters) = kind.split_once(';').unwrap_or((kind, ""));
    let charset = parameters.trim().strip_prefix("charset=").map(|set| set.trim_matches('"'));
    let plain = parameters.trim().is_empty() || charset == Some("utf-8");
    [Form::Json, Form::Form].into_iter().find(|form| plain && media.trim() == form.media_type())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

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
