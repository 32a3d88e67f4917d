//! JSON as events are written: the canonical form of RFC 8785, member by member, straight into the bytes
//! of the record. Several events are written for each request.

use std::sync::Arc;

use uuid::Uuid;

use super::Text;
use crate::model::ids::{AgentId, Correlation, Jti, StoreId, TraceId};
use crate::model::intent::Sha256;
use crate::model::reason::ReasonCode;
use crate::model::scope::Scope;
use crate::model::signal::State;
use crate::model::spell::Spelled;
use crate::model::time::Timestamp;
use crate::model::trace_parent::TraceParent;

/// A value as it stands in an event.
pub(super) trait Wire {
    fn put(&self, out: &mut Vec<u8>);

    /// True of what is left out.
    fn is_absent(&self) -> bool {
        false
    }
}

/// The members of one object, in the order in which they are put.
pub(super) struct Members<'o> {
    out: &'o mut Vec<u8>,
    before: u8,
}

impl<'o> Members<'o> {
    pub(super) fn of(out: &'o mut Vec<u8>) -> Self {
        Self { out, before: b'{' }
    }

    /// `name` with its quotation marks and the colon.
    pub(super) fn put(&mut self, name: &'static str, value: &impl Wire) {
        if !value.is_absent() {
            self.out.push(std::mem::replace(&mut self.before, b','));
            self.out.extend_from_slice(name.as_bytes());
            value.put(self.out);
        }
    }

    pub(super) fn end(self) {
        if self.before == b'{' {
            self.out.push(b'{');
        }
        self.out.push(b'}');
    }
}

/// An object whose members are all of a struct's, under these names. The names stand in order, and a member
/// that is forgotten does not compile.
macro_rules! object {
    ($type:ty { $($member:ident: $name:literal),* $(,)? }) => {
        impl crate::model::event::json::Wire for $type {
            fn put(&self, out: &mut Vec<u8>) {
                let Self { $($member),* } = self;
                let mut members = crate::model::event::json::Members::of(out);
                $(members.put(concat!("\"", $name, "\":"), $member);)*
                members.end();
            }
        }
    };
}
pub(super) use object;

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
        let is_odd = |byte: u8| u8::from(byte < 0x20) | u8::from(byte == b'"') | u8::from(byte == b'\\');
        if self.bytes().fold(0, |odd, byte| odd | is_odd(byte)) == 0 {
            plain(self.as_bytes(), out);
        } else {
            // INVARIANT: a text has a JSON form, and a Vec takes every write.
            let _ = serde_json::to_writer(out, self);
        }
    }
}

impl Wire for &str {
    fn put(&self, out: &mut Vec<u8>) {
        (**self).put(out);
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

/// A text that is spelled for one event, without anything to escape.
impl<const N: usize> Wire for Spelled<N> {
    fn put(&self, out: &mut Vec<u8>) {
        plain(self.as_bytes(), out);
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T: Wire> Wire for &T {
    fn put(&self, out: &mut Vec<u8>) {
        (**self).put(out);
    }

    fn is_absent(&self) -> bool {
        (**self).is_absent()
    }
}

/// An empty list is left out.
impl<T: Wire> Wire for Vec<T> {
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

fn plain(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}
