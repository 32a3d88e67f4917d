//! The fields of a head, in the order and the spelling in which they came. A head has few of them, and most questions are
//! about fields that it does not have: looking through all of them is faster than any map.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::protocol::media::Media;

/// See the module. Names are compared without regard to case (RFC 9110 §5.1).
#[derive(Clone, Debug, Default)]
pub struct Fields {
    /// What names and values are parts of.
    bytes: Bytes,
    places: Vec<Place>,
}

/// Where one field stands.
#[derive(Clone, Debug)]
struct Place {
    name: Range<usize>,
    value: Range<usize>,
}

/// Fields that were found in bytes which are to be taken away from where they are.
pub(super) struct Found(Vec<Place>);

impl Found {
    /// `fields` are parts of `came`.
    pub(super) fn of(came: &[u8], fields: &[httparse::Header<'_>]) -> Self {
        let place = |part| place(came, part);
        let places = fields.iter().map(|field| Place { name: place(field.name.as_bytes()), value: place(field.value) });
        Self(places.collect())
    }

    /// `head`: what came, taken away.
    pub(super) fn within(self, head: Bytes) -> Fields {
        Fields { bytes: head, places: self.0 }
    }
}

/// Where a part of what came stands in it; of an empty one it does not matter which it is.
pub(super) fn place(came: &[u8], part: &[u8]) -> Range<usize> {
    // INVARIANT: it is one, so it begins where that begins, or behind.
    let from = if part.is_empty() { 0 } else { part.as_ptr().addr() - came.as_ptr().addr() };
    from..from + part.len()
}

impl<'f> FromIterator<(&'f [u8], &'f [u8])> for Fields {
    fn from_iter<T: IntoIterator<Item = (&'f [u8], &'f [u8])>>(fields: T) -> Self {
        let mut bytes = BytesMut::new();
        let mut put = |part: &[u8]| {
            bytes.extend_from_slice(part);
            bytes.len() - part.len()..bytes.len()
        };
        let places = fields.into_iter().map(|(name, value)| Place { name: put(name), value: put(value) }).collect();
        Self { bytes: bytes.freeze(), places }
    }
}

impl Fields {
    /// Names and values.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], &[u8])> {
        let part = |place: &Range<usize>| self.bytes.get(place.clone()).unwrap_or_default();
        self.places.iter().map(move |place| (part(&place.name), part(&place.value)))
    }

    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.iter().map(|(name, _)| name)
    }

    /// The values of all fields of this name.
    pub fn all<'n>(&'n self, name: &'n str) -> impl DoubleEndedIterator<Item = &'n [u8]> {
        self.iter().filter(|(have, _)| have.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// The value of the first field of this name.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(have, _)| have.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    /// What they say of the body.
    #[must_use]
    pub fn media(&self) -> Media {
        Media::told(self.all("content-type"), self.all("content-encoding"))
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.places.len()
    }

    /// Drops all fields but those whose names are kept.
    pub fn retain(&mut self, keeps: impl Fn(&[u8]) -> bool) {
        let bytes = &self.bytes;
        self.places.retain(|place| keeps(bytes.get(place.name.clone()).unwrap_or_default()));
    }

    /// The head that they were found in.
    pub(super) fn head(&self) -> &Bytes {
        &self.bytes
    }
}

/// A value that is text: of visible characters, blanks and tabs.
#[must_use]
pub fn text(value: &[u8]) -> Option<&str> {
    let is_text = value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    std::str::from_utf8(value).ok().filter(|_| is_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Fields {
        [("Host", "a"), ("X-Two", "1"), ("x-two", ""), ("Permyx-Trace", "t")]
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .collect()
    }

    #[test]
    fn fields_are_found_in_whatever_spelling_and_come_in_order() {
        let fields = some();
        assert_eq!(fields.all("X-tWO").collect::<Vec<_>>(), [&b"1"[..], b""]);
        assert_eq!(fields.all("x-two").rev().collect::<Vec<_>>(), [&b""[..], b"1"]);
        assert_eq!((fields.first("host"), fields.first("hos")), (Some(&b"a"[..]), None));
        assert!(fields.has("HOST") && !fields.has("accept"));
        assert_eq!(fields.names().collect::<Vec<_>>(), [&b"Host"[..], b"X-Two", b"x-two", b"Permyx-Trace"]);
    }

    #[test]
    fn what_is_not_kept_is_gone() {
        let mut fields = some();
        fields.retain(|name| !name.eq_ignore_ascii_case(b"x-two"));
        assert_eq!(fields.iter().collect::<Vec<_>>(), [(&b"Host"[..], &b"a"[..]), (b"Permyx-Trace", b"t")]);
    }

    #[test]
    fn text_is_what_can_be_seen() {
        assert_eq!(text(b"a\tb c"), Some("a\tb c"));
        for other in [&b"\xe9"[..], b"a\x7f", b"a\r", "\u{e9}".as_bytes()] {
            assert_eq!(text(other), None);
        }
    }
}
