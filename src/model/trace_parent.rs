//! `traceparent` of W3C Trace Context: the caller's name for its own trace. It is recorded and
//! passed on, and it joins nothing: two purchases may say the same one.

use super::spell::{Spelled, spelled};

/// The one flag that version 00 knows.
const SAMPLED: u8 = 1;

/// A well-formed `traceparent` of version 00.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    trace: u128,
    parent: u64,
    flags: u8,
}

impl TraceParent {
    /// The name of its header field.
    pub const FIELD: &str = "traceparent";

    /// Reads `00-<32 hex>-<16 hex>-<2 hex>` in lower case; ids of nothing but zeros are not valid.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() == 55)?;
        let mut parts = text.strip_prefix("00-")?.split('-');
        let mut part = |length: usize| {
            let digits =
                |text: &&str| text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            parts.next().filter(digits)
        };
        let trace = u128::from_str_radix(part(32)?, 16).ok().filter(|id| *id != 0)?;
        let parent = u64::from_str_radix(part(16)?, 16).ok().filter(|id| *id != 0)?;
        let flags = u8::from_str_radix(part(2)?, 16).ok()?;
        parts.next().is_none().then_some(Self { trace, parent, flags })
    }
}

impl TraceParent {
    /// The place `span` in the trace; both are not 0.
    #[must_use]
    pub const fn new(trace: u128, span: u64, sampled: bool) -> Self {
        Self { trace, parent: span, flags: if sampled { SAMPLED } else { 0 } }
    }

    /// Another place in the same trace.
    #[must_use]
    pub const fn child(self, span: u64) -> Self {
        Self::new(self.trace, span, self.is_sampled())
    }

    #[must_use]
    pub const fn trace(self) -> u128 {
        self.trace
    }

    #[must_use]
    pub const fn span(self) -> u64 {
        self.parent
    }

    #[must_use]
    pub const fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// As it is written.
    #[must_use]
    pub fn spelled(self) -> Spelled<55> {
        let text = Spelled::of("00-").hex(&self.trace.to_be_bytes()).text("-").hex(&self.parent.to_be_bytes());
        text.text("-").hex(&[self.flags])
    }

    /// Reads the lines of the header field: more than one says nothing.
    #[must_use]
    pub fn sent(mut lines: impl Iterator<Item = impl AsRef<[u8]>>) -> Option<Self> {
        let only = lines.next().filter(|_| lines.next().is_none())?;
        Self::parse(only.as_ref())
    }
}

spelled!(TraceParent);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_well_formed_is_kept_and_nothing_else() {
        assert_eq!(TraceParent::parse(GOOD.as_bytes()).unwrap().to_string(), GOOD);
        for bad in [
            "",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-+1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn junk_is_read_without_panic(junk in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(read) = TraceParent::parse(&junk) {
                prop_assert_eq!(read.to_string().into_bytes(), junk);
            }
        }
    }
}
