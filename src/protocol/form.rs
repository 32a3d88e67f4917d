//! A strict reader of `application/x-www-form-urlencoded` bodies: names that stand once, escapes
//! that are whole, text that is UTF-8. Everything else is read differently by different servers.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::model::json::{Object, Value};

/// Most fields of one form.
const FIELDS_MAX: usize = 1000;

/// Why a body is no form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    #[error("it holds a byte that is to be escaped, or an escape that is not whole")]
    Escape,
    #[error("its text is not UTF-8")]
    NotUtf8,
    #[error("a name stands twice, in a form that some readers take for the same")]
    Duplicate,
    #[error("a field has no `=`, or no name")]
    NoName,
    #[error("a name is written as a list or an object")]
    Nested,
    #[error("it has more than {FIELDS_MAX} fields")]
    TooMany,
}

/// The fields as an object of texts.
pub fn read_form(body: &[u8]) -> Result<Object<'static>, FormError> {
    let mut fields: Vec<(Cow<'static, str>, Value<'static>)> = Vec::new();
    let mut names = HashSet::new();
    for field in body.split(|byte| *byte == b'&') {
        if fields.len() == FIELDS_MAX {
            return Err(FormError::TooMany);
        }
        let at = field.iter().position(|byte| *byte == b'=').ok_or(FormError::NoName)?;
        let (name, value) = field.split_at(at);
        let (name, value) = (unescaped(name)?, unescaped(value.get(1..).unwrap_or_default())?);
        if name.is_empty() {
            return Err(FormError::NoName);
        }
        // Some servers build lists and objects of these, and then another field is the same.
        if name.contains(['[', ']']) {
            return Err(FormError::Nested);
        }
        if !names.insert(as_php(&name)) {
            return Err(FormError::Duplicate);
        }
        fields.push((name.into(), Value::String(value.into())));
    }
    Object::of(fields).filter(|form| !form.has_case_twins()).ok_or(FormError::Duplicate)
}

/// The name as PHP takes it: without blanks before it and what follows a NUL, `.` and blank as `_`.
fn as_php(name: &str) -> String {
    let whole = name.split('\0').next().unwrap_or_default();
    whole.trim_start_matches(' ').replace(['.', ' '], "_")
}

fn unescaped(text: &[u8]) -> Result<String, FormError> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (digits, after) = after.split_at_checked(2).ok_or(FormError::Escape)?;
                rest = after;
                hex(digits).ok_or(FormError::Escape)?
            }
            // `;` parted fields in the form's first specification.
            b';' => return Err(FormError::Escape),
            byte if byte.is_ascii_graphic() => byte,
            _ => return Err(FormError::Escape),
        });
    }
    String::from_utf8(out).map_err(|_| FormError::NotUtf8)
}

fn hex(digits: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u8::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_form_is_read_as_browsers_write_it() {
        let form = read_form(b"variant=a%3A1&note=two+words+%C3%A9&empty=").unwrap();
        let text = |name| form.get(name).and_then(Value::as_str);
        assert_eq!((text("variant"), text("note"), text("empty")), (Some("a:1"), Some("two words é"), Some("")));
    }

    #[test]
    fn what_servers_read_differently_is_no_form() {
        for (body, why) in [
            (&b"a=1&a=2"[..], FormError::Duplicate),
            (b"a=1&%61=2", FormError::Duplicate),
            (b"a=1&A=2", FormError::Duplicate),
            (b"a=1&+a=2", FormError::Duplicate),
            (b"a=1&a%00b=2", FormError::Duplicate),
            (b"a_b=1&a.b=2", FormError::Duplicate),
            (b"a[]=1", FormError::Nested),
            (b"a%5B0%5D=1", FormError::Nested),
            (b"a=1;b=2", FormError::Escape),
            (b"a=%zz", FormError::Escape),
            (b"a=%4", FormError::Escape),
            (b"a=b c", FormError::Escape),
            (b"a=%ff", FormError::NotUtf8),
            (b"a", FormError::NoName),
            (b"", FormError::NoName),
            (b"=1", FormError::NoName),
            (b"a=1&&b=2", FormError::NoName),
        ] {
            assert_eq!(read_form(body), Err(why), "{}", String::from_utf8_lossy(body));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_form(&body);
        }
    }
}
