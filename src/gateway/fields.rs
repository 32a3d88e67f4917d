//! The fields of a head, in the order and the spelling in which they came. A head has few of them, and most questions are
//! about fields that it does not have: looking through all of them is faster than any map.

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::protocol::media::Media;

/// See the module. Names are compared without regard to case (RFC 9110 §5.1).
#[derive(Clone, Default)]
pub struct Fields {
    /// What names and values are parts of.
    bytes: Bytes,
    places: Vec<Place>,
}

/// Where one field stands.
#[derive(Clone, Debug)]
struct Place {
    name: Part,
    value: Part,
}

/// Where a part of a head stands in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    start: usize,
    length: usize,
}

impl Part {
    /// `part` is one of `head`; of an empty one it does not matter which it is.
    pub(super) fn of(head: &[u8], part: &[u8]) -> Self {
        // INVARIANT: it begins where that begins, or behind.
        let start = if part.is_empty() { 0 } else { part.as_ptr().addr() - head.as_ptr().addr() };
        Self { start, length: part.len() }
    }

    pub(super) const fn range(self) -> std::ops::Range<usize> {
        self.start..self.start + self.length
    }

    fn within(self, head: &[u8]) -> &[u8] {
        head.get(self.range()).unwrap_or_default()
    }
}

/// Fields that were found in bytes which are to be taken away from where they are.
pub(super) struct Found(Vec<Place>);

impl Found {
    /// `fields` are parts of `came`.
    pub(super) fn of(came: &[u8], fields: &[httparse::Header<'_>]) -> Self {
        let part = |part| Part::of(came, part);
        Self(fields.iter().map(|field| Place { name: part(field.name.as_bytes()), value: part(field.value) }).collect())
    }

    /// `head`: what came, taken away.
    pub(super) fn within(self, head: Bytes) -> Fields {
        Fields { bytes: head, places: self.0 }
    }
}

/// Fields that are copied together.
#[derive(Default)]
pub(super) struct Gathered {
    bytes: BytesMut,
    places: Vec<Place>,
}

impl Gathered {
    pub(super) fn add(&mut self, name: &[u8], value: &[u8]) {
        let place = Place { name: self.put(name), value: self.put(value) };
        self.places.push(place);
    }

    fn put(&mut self, part: &[u8]) -> Part {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(part);
        Part { start, length: part.len() }
    }

    pub(super) fn done(self) -> Fields {
        Fields { bytes: self.bytes.freeze(), places: self.places }
    }
}

impl<'f> FromIterator<(&'f [u8], &'f [u8])> for Fields {
    fn from_iter<T: IntoIterator<Item = (&'f [u8], &'f [u8])>>(fields: T) -> Self {
        let mut gathered = Gathered::default();
        fields.into_iter().for_each(|(name, value)| gathered.add(name, value));
        gathered.done()
    }
}

/// Their names alone: values hold what nobody may read.
impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names().map(String::from_utf8_lossy)).finish()
    }
}

impl Fields {
    /// Names and values.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], &[u8])> {
        self.places.iter().map(|place| (place.name.within(&self.bytes), place.value.within(&self.bytes)))
    }

    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.iter().map(|(name, _)| name)
    }

    /// The values of all fields of this name.
    pub fn all<'n>(&'n self, name: &'n str) -> impl DoubleEndedIterator<Item = &'n [u8]> {
        self.places.iter().filter(|place| self.is(place, name)).map(|place| place.value.within(&self.bytes))
    }

    /// By length first: most fields have another.
    fn is(&self, place: &Place, name: &str) -> bool {
        place.name.length == name.len() && place.name.within(&self.bytes).eq_ignore_ascii_case(name.as_bytes())
    }

    /// The value of the first field of this name.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.places.iter().find(|place| self.is(place, name)).map(|place| place.value.within(&self.bytes))
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
        self.places.retain(|place| keeps(place.name.within(bytes)));
    }
}

/// A value that is text: of visible characters, blanks and tabs.
#[must_use]
pub fn text(value: &[u8]) -> Option<&str> {
    // A token is long: a fold over all of it is faster than a search that may end early.
    let is_odd = value.iter().fold(false, |odd, byte| odd | !matches!(byte, b'\t' | b' '..=b'~'));
    if is_odd { None } else { std::str::from_utf8(value).ok() }
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
    fn values_are_not_shown() {
        assert_eq!(format!("{:?}", some()), r#"["Host", "X-Two", "x-two", "Permyx-Trace"]"#);
    }

    #[test]
    fn text_is_what_can_be_seen() {
        assert_eq!(text(b"a\tb c"), Some("a\tb c"));
        for other in [&b"\xe9"[..], b"a\x7f", b"a\r", "\u{e9}".as_bytes()] {
            assert_eq!(text(other), None);
        }
    }
}
