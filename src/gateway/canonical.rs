//! One canonical form of a request target, for judging (README decision 17). What is forwarded is
//! the raw form; where the two differ an enforced host refuses, so both are always the same there.

use std::borrow::Cow;

/// A request target as it is judged.
#[derive(Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// Decoded where decoding is harmless, without dot segments and double slashes.
    pub path: Cow<'a, str>,
    /// Why the raw form is not the canonical one.
    pub oddity: Option<&'static str>,
}

/// Reads the target of a request line.
#[must_use]
pub fn target(raw: &[u8]) -> Target<'_> {
    let Ok(text) = std::str::from_utf8(raw) else {
        return Target { path: String::from_utf8_lossy(raw), oddity: Some("the target is not ASCII") };
    };
    let path = text.split('?').next().unwrap_or(text);
    if is_plain(path) && !text.contains('#') {
        return Target { path: Cow::Borrowed(path), oddity: None };
    }
    // A fragment is no part of a target: it would not be passed on.
    let fragment = text.contains('#').then_some("the target holds a `#`");
    if let Some(oddity) = unsafe_form(path).or(fragment) {
        return Target { path: Cow::Borrowed(path), oddity: Some(oddity) };
    }
    let decoded = decode_unreserved(path);
    let clean = clean_segments(&decoded);
    if clean == path {
        Target { path: Cow::Borrowed(path), oddity: None }
    } else {
        Target { path: Cow::Owned(clean), oddity: Some("the path is not in its canonical form") }
    }
}

/// Most paths: nothing to decode, and nothing that servers read differently.
fn is_plain(path: &str) -> bool {
    let mut before = b'x';
    let plain = |byte: u8| {
        let doubled = byte == b'/' && before == b'/';
        before = byte;
        !doubled && (byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'~'))
    };
    path.starts_with('/') && path.bytes().all(plain)
}

/// Forms that servers read differently: there is no one canonical path for them.
fn unsafe_form(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') {
        return Some("the target is not a path");
    }
    if path.bytes().any(|b| !b.is_ascii_graphic()) {
        return Some("the path holds a byte that is not printable ASCII");
    }
    if path.contains(['\\', ';', '#', '"', '<', '>', '^', '`', '{', '}', '|']) {
        return Some("the path holds a character that servers read differently");
    }
    let mut rest = path;
    while let Some((_, after)) = rest.split_once('%') {
        let Some(byte) = after.get(..2).and_then(hex_byte) else { return Some("the path holds an invalid escape") };
        if matches!(byte, b'/' | b'\\' | b'%' | b';' | b'#' | b'?' | 0..=0x1f | 0x7f) {
            return Some("the path holds an escape that servers read differently");
        }
        rest = after;
    }
    path.split('/').find_map(odd_segment)
}

/// Letters beyond ASCII and blanks within a name are common in shops; what some servers cut off or
/// read as another character is not let through.
fn odd_segment(segment: &str) -> Option<&'static str> {
    let bytes = decoded_bytes(segment);
    if std::str::from_utf8(&bytes).is_err() {
        return Some("the path holds escapes that are not UTF-8");
    }
    let ends_oddly = bytes.first() == Some(&b' ') || matches!(bytes.last(), Some(b' ' | b'.'));
    (ends_oddly && !matches!(bytes.as_slice(), b"." | b".."))
        .then_some("a path segment begins or ends in a blank or a dot")
}

fn decoded_bytes(segment: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment;
    while let Some((plain, after)) = rest.split_once('%') {
        bytes.extend_from_slice(plain.as_bytes());
        bytes.extend(after.get(..2).and_then(hex_byte));
        rest = after.get(2..).unwrap_or_default();
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

fn hex_byte(digits: &str) -> Option<u8> {
    let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
    plain.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

/// Decodes `%XX` of unreserved characters and writes the other escapes in capitals (RFC 3986 §6.2.2).
fn decode_unreserved(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((plain, after)) = rest.split_once('%') {
        out.push_str(plain);
        let (digits, tail) = after.split_at_checked(2).unwrap_or((after, ""));
        match hex_byte(digits) {
            Some(byte) if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') => {
                out.push(char::from(byte));
            }
            _ => {
                out.push('%');
                out.push_str(&digits.to_ascii_uppercase());
            }
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

fn clean_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut open = false;
    for segment in path.split('/').skip(1) {
        open = false;
        match segment {
            "" | "." => open = true,
            ".." => {
                kept.pop();
                open = true;
            }
            name => kept.push(name),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if open || kept.is_empty() {
        out.push('/');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn judged(raw: &str) -> (String, bool) {
        let target = target(raw.as_bytes());
        (target.path.into_owned(), target.oddity.is_some())
    }

    #[test]
    fn a_plain_path_is_its_own_canonical_form() {
        for raw in ["/checkout", "/", "/a/b-c_d.e~f", "/checkout/", "/caf%C3%A9", "/blue%20mug", "/checkout?/../x=%zz"]
        {
            let path = raw.split('?').next().unwrap();
            assert_eq!(judged(raw), (path.to_owned(), false), "{raw}");
        }
    }

    #[test]
    fn detours_lead_to_the_same_path_and_are_odd() {
        for raw in ["//checkout", "/./checkout", "/x/../checkout", "/%2e/checkout", "/%63heckout", "/x/%2E%2e/checkout"]
        {
            assert_eq!(judged(raw), ("/checkout".to_owned(), true), "{raw}");
        }
        assert_eq!(judged("/../../checkout").0, "/checkout");
    }

    #[test]
    fn what_servers_read_differently_is_odd() {
        for raw in [
            "/checkout%2Fx",
            "/checkout%252F",
            "/checkout;a=b",
            "/checkout%20",
            "/checkout.",
            "/a\\checkout",
            "/checkout%00",
            "/checkout%zz",
            "/checkout%",
            "/checkout#x",
            "/checkout?a=1#x",
            "*",
            "http://host/checkout",
            "/checkout%c0%af",
            "/check out",
            "/checkout%3b",
            "/checkout%5c",
            "",
        ] {
            assert!(judged(raw).1, "{raw:?}");
        }
        assert!(target(b"/\xff").oddity.is_some());
    }

    proptest! {
        /// Canonical means: judging it again changes nothing.
        #[test]
        fn the_canonical_form_is_stable(raw in "/[a-cA-C0-2./%?;~-]{0,24}") {
            let first = target(raw.as_bytes());
            if first.oddity.is_none_or(|why| why == "the path is not in its canonical form") {
                let again = target(first.path.as_bytes());
                prop_assert_eq!(&again.path, &first.path);
            }
        }
    }
}
