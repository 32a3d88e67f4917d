//! JSON as events and refusals are written: the canonical form of RFC 8785, member by member, straight into the bytes of
//! the record or the answer. Several events are written for each request, and floods of refusals.

use std::sync::Arc;

use uuid::Uuid;

use super::plain_length;
use crate::model::event::Text;
use crate::model::ids::{AgentId, Correlation, Jti, StoreId, TraceId};
use crate::model::intent::Sha256;
use crate::model::reason::ReasonCode;
use crate::model::scope::Scope;
use crate::model::signal::State;
use crate::model::spell::Spelled;
use crate::model::time::Timestamp;
use crate::model::trace_parent::TraceParent;

/// A value as it is written.
pub(crate) trait Wire {
    fn put(&self, out: &mut Vec<u8>);

    /// True of what is left out.
    fn is_absent(&self) -> bool {
        false
    }
}

/// The members of one object, in the order in which they are put.
pub(crate) struct Members<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
}

impl<'o> Members<'o> {
    pub(crate) fn of(out: &'o mut Vec<u8>) -> Self {
        let start = out.len();
        Self { out, start }
    }

    /// `name` in its quotation marks, with the comma before it and the colon behind it.
    #[inline]
    pub(crate) fn put(&mut self, name: &'static str, value: &impl Wire) {
        if !value.is_absent() {
            self.out.extend_from_slice(name.as_bytes());
            value.put(self.out);
        }
    }

    pub(crate) fn end(self) {
        match self.out.get_mut(self.start) {
            // Before the first member stands no comma.
            Some(first) => *first = b'{',
            None => self.out.push(b'{'),
        }
        self.out.push(b'}');
    }
}

/// An object whose members are all of a struct's, under these names. The names stand in order, and a member
/// that is forgotten does not compile. `word` says that a text is one of our own, without anything to escape.
macro_rules! object {
    ($type:ty { $($member:ident: $($word:ident)? $name:literal),* $(,)? }) => {
        impl crate::model::json::write::Wire for $type {
            fn put(&self, out: &mut Vec<u8>) {
                let Self { $($member),* } = self;
                let mut members = crate::model::json::write::Members::of(out);
                $(members.put(concat!(",\"", $name, "\":"), object!(@of $($word)? $member));)*
                members.end();
            }
        }
    };
    (@of $member:ident) => { $member };
    (@of word $member:ident) => { &crate::model::json::write::Word(*$member) };
}
pub(crate) use object;

/// Types that print in an alphabet without anything to escape.
macro_rules! spelled_plainly {
    ($($type:ty),*) => {$(
        impl Wire for $type {
            fn put(&self, out: &mut Vec<u8>) {
                plain(self.spelled().as_bytes(), out);
            }
        }
    )*};
}

spelled_plainly!(Correlation, Jti, Sha256, Timestamp, TraceId, TraceParent);

/// Types that are words of a closed set, or ids without anything to escape.
macro_rules! words {
    ($($type:ty),*) => {$(
        impl Wire for $type {
            fn put(&self, out: &mut Vec<u8>) {
                plain(self.as_str().as_bytes(), out);
            }
        }
    )*};
}

words!(AgentId, ReasonCode, Scope, State, StoreId);

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Wire for $type {
            fn put(&self, out: &mut Vec<u8>) {
                let digits = Spelled::<20>::of("").number(u64::from(*self));
                out.extend_from_slice(digits.as_bytes());
            }
        }
    )*};
}

numbers!(u16, u32, u64);

impl Wire for Uuid {
    fn put(&self, out: &mut Vec<u8>) {
        plain(self.hyphenated().encode_lower(&mut Self::encode_buffer()).as_bytes(), out);
    }
}

/// Written only where it is true.
impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if *self { b"true" } else { b"false" });
    }

    fn is_absent(&self) -> bool {
        !self
    }
}

impl Wire for str {
    fn put(&self, out: &mut Vec<u8>) {
        if plain_length(self.as_bytes()) == self.len() {
            plain(self.as_bytes(), out);
        } else {
            // INVARIANT: a text has a JSON form, and a Vec takes every write.
            let _ = serde_json::to_writer(out, self);
        }
    }
}

impl Wire for Text {
    fn put(&self, out: &mut Vec<u8>) {
        (**self).put(out);
    }
}

impl Wire for Arc<str> {
    fn put(&self, out: &mut Vec<u8>) {
        (**self).put(out);
    }
}

/// A word that the program says. Nothing in it is escaped.
pub(crate) struct Word<T>(pub(crate) T);

impl Wire for Word<&'static str> {
    fn put(&self, out: &mut Vec<u8>) {
        debug_assert_eq!(plain_length(self.0.as_bytes()), self.0.len(), "{}", self.0);
        plain(self.0.as_bytes(), out);
    }
}

impl Wire for Word<Option<&'static str>> {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.map(Word).put(out);
    }

    fn is_absent(&self) -> bool {
        self.0.is_none()
    }
}

/// A text that is spelled for one event, without anything to escape.
impl<const N: usize> Wire for Spelled<N> {
    fn put(&self, out: &mut Vec<u8>) {
        plain(self.as_bytes(), out);
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Some(value) => value.put(out),
            None => out.extend_from_slice(b"null"),
        }
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T: Wire + ?Sized> Wire for &T {
    fn put(&self, out: &mut Vec<u8>) {
        (**self).put(out);
    }

    fn is_absent(&self) -> bool {
        (**self).is_absent()
    }
}

/// What is written where it would be left out: `false`, or `null`.
pub(crate) struct Always<T>(pub(crate) T);

impl<T: Wire> Wire for Always<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
}

/// An empty list is left out.
impl<T: Wire> Wire for [T] {
    fn put(&self, out: &mut Vec<u8>) {
        let mut before = b'[';
        for value in self {
            out.push(std::mem::replace(&mut before, b','));
            value.put(out);
        }
        out.push(b']');
    }

    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        (**self).put(out);
    }

    fn is_absent(&self) -> bool {
        (**self).is_absent()
    }
}

fn plain(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}
