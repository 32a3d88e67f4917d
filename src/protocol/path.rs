//! `METHOD /path/{session}/complete`: how presets and routes name requests.

use std::fmt;

use serde::Deserialize;

/// Which paths the merchant's server takes for the same. What it does not tell apart, we do not
/// either: a commit is a commit in every spelling that reaches the merchant's checkout.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PathStyle {
    pub ignores_case: bool,
    pub ignores_trailing_slash: bool,
}

/// A method and a path whose segments are literal or a placeholder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    method: String,
    segments: Vec<Segment>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Segment {
    Literal(String),
    /// `{session}`: one segment that is not empty.
    Session,
    /// `{id}`: any one segment that is not empty.
    Any,
}

/// A request that a pattern matched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Match<'p> {
    pub session: Option<&'p str>,
}

impl Pattern {
    /// Reads `POST /checkout-sessions/{session}/complete`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (method, path) = text.split_once(' ').ok_or("write it as `METHOD /path`")?;
        if method.is_empty() || !method.bytes().all(|b| b.is_ascii_uppercase()) {
            return Err("the method is written in capitals");
        }
        let path = path.strip_prefix('/').ok_or("the path starts with `/`")?;
        let segments = segments(path).map(Segment::parse).collect::<Result<Vec<_>, _>>()?;
        if segments.iter().filter(|s| **s == Segment::Session).count() > 1 {
            return Err("`{session}` stands at most once");
        }
        Ok(Self { method: method.to_owned(), segments })
    }

    /// Matches a method and a canonical path, given without the route's prefix.
    #[must_use]
    pub fn matches<'p>(&self, method: &str, path: &'p str, style: PathStyle) -> Option<Match<'p>> {
        if self.method != method {
            return None;
        }
        self.matches_path(path, style)
    }

    fn matches_path<'p>(&self, path: &'p str, style: PathStyle) -> Option<Match<'p>> {
        let mut found = Match { session: None };
        let path = if style.ignores_trailing_slash { path.strip_suffix('/').unwrap_or(path) } else { path };
        let mut parts = segments(path.strip_prefix('/').unwrap_or(path));
        for segment in &self.segments {
            let part = parts.next()?;
            match segment {
                Segment::Literal(text) if text == part => {}
                Segment::Literal(text) if style.ignores_case && text.eq_ignore_ascii_case(part) => {}
                Segment::Literal(_) => return None,
                Segment::Session | Segment::Any if part.is_empty() => return None,
                Segment::Session => found.session = Some(part),
                Segment::Any => {}
            }
        }
        parts.next().is_none().then_some(found)
    }

    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The path with this session in place of `{session}`.
    #[must_use]
    pub fn path_for(&self, session: Option<&str>) -> String {
        self.segments.iter().fold(String::new(), |path, segment| match segment {
            Segment::Literal(text) => path + "/" + text,
            Segment::Session => path + "/" + session.unwrap_or_default(),
            Segment::Any => path + "/{id}",
        })
    }

    #[must_use]
    pub fn has_session(&self) -> bool {
        self.segments.contains(&Segment::Session)
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "{session}" => return Ok(Self::Session),
            "{id}" => return Ok(Self::Any),
            _ => {}
        }
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
        if text.is_empty() || !text.bytes().all(legal) || matches!(text, "." | "..") {
            return Err("a segment is letters, digits and `- _ . ~`, `{session}` or `{id}`");
        }
        Ok(Self::Literal(text.to_owned()))
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    let mut parts = path.split('/');
    if path.is_empty() {
        parts.next();
    }
    parts
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path_for(Some("{session}"));
        write!(f, "{} {}", self.method, if path.is_empty() { "/" } else { &path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXACT: PathStyle = PathStyle { ignores_case: false, ignores_trailing_slash: false };

    #[test]
    fn a_pattern_matches_whole_paths_only() {
        let complete = Pattern::parse("POST /checkout-sessions/{session}/complete").unwrap();
        let matched = complete.matches("POST", "/checkout-sessions/cs_1/complete", EXACT);
        assert_eq!(matched, Some(Match { session: Some("cs_1") }));
        for (method, path) in [
            ("GET", "/checkout-sessions/cs_1/complete"),
            ("POST", "/checkout-sessions/cs_1"),
            ("POST", "/checkout-sessions/cs_1/complete/x"),
            ("POST", "/checkout-sessions/cs_1/complete/"),
            ("POST", "/checkout-sessions//complete"),
            ("POST", "/"),
        ] {
            assert_eq!(complete.matches(method, path, EXACT), None, "{method} {path}");
        }
        assert_eq!(complete.path_for(Some("cs_1")), "/checkout-sessions/cs_1/complete");
    }

    #[test]
    fn the_root_is_a_pattern() {
        let root = Pattern::parse("POST /").unwrap();
        assert!(root.matches("POST", "", EXACT).is_some());
        assert!(root.matches("POST", "/", EXACT).is_some());
        assert!(root.matches("POST", "/x", EXACT).is_none());
        assert_eq!(root.to_string(), "POST /");
    }

    #[test]
    fn what_the_server_does_not_tell_apart_is_the_same() {
        let loose = PathStyle { ignores_case: true, ignores_trailing_slash: true };
        let complete = Pattern::parse("POST /carts/{session}/complete").unwrap();
        for path in ["/carts/c_1/complete", "/Carts/c_1/COMPLETE", "/carts/c_1/complete/"] {
            assert_eq!(complete.matches("POST", path, loose), Some(Match { session: Some("c_1") }), "{path}");
        }
        assert_eq!(complete.matches("POST", "/carts/c_1/complete//", loose), None);
        assert!(Pattern::parse("GET /orders/{id}").unwrap().matches("GET", "/orders/1", EXACT).is_some());
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        for bad in ["/x", "post /x", "POST x", "POST /a//b", "POST /../a", "POST /{a}", "POST /{session}/{session}"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }
}
