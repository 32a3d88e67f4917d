//! Points in time. They come from one [clock](crate::clock) and are passed as arguments.

use std::cell::Cell;

use super::spell::{Spelled, spelled};

/// Milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    #[must_use]
    pub const fn of_millis(millis: i64) -> Self {
        Self(millis)
    }

    #[must_use]
    pub const fn of_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds, rounded down.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    #[must_use]
    pub const fn minus_millis(self, millis: i64) -> Self {
        Self::of_millis(self.millis() - millis)
    }

    #[must_use]
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1000)))
    }

    /// The year, UTC.
    #[must_use]
    pub fn year(self) -> u16 {
        self.to_string().get(..4).and_then(|year| year.parse().ok()).unwrap_or(0)
    }

    /// Milliseconds from `earlier` to `self`; negative when `earlier` is later.
    #[must_use]
    pub const fn millis_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// RFC 3339 with milliseconds and `Z`. What cannot be written so is the epoch.
    #[must_use]
    pub fn spelled(self) -> Spelled<24> {
        thread_local! {
            /// The last one: several are spelled for each request, nearly all of them in the same second.
            static SECOND: Cell<(i64, [u8; 24])> = const { Cell::new((i64::MIN, [0; 24])) };
        }
        let (mut second, mut bytes) = SECOND.get();
        if second != self.seconds() {
            (second, bytes) = (self.seconds(), spelled_second(self));
            SECOND.set((second, bytes));
        }
        let [.., hundreds, tens, ones, _] = &mut bytes;
        // INVARIANT: less than a thousand.
        let millis = self.0.rem_euclid(1000) as u16;
        (*hundreds, [*tens, *ones]) = (b'0' + (millis / 100) as u8, two_digits((millis % 100) as u8));
        Spelled::whole(bytes)
    }

    /// Reads RFC 3339.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|t| Self(t.as_millisecond()))
    }
}

/// At its beginning.
fn spelled_second(at: Timestamp) -> [u8; 24] {
    /// Before it years have a sign.
    const YEAR_0: i64 = -62_167_219_200_000;
    let at = jiff::Timestamp::from_millisecond(at.0.max(YEAR_0)).unwrap_or_default();
    let at = jiff::tz::Offset::UTC.to_datetime(at);
    let two = |number: i8| two_digits(number.unsigned_abs());
    // INVARIANT: of four digits, the first two and the last two are less than a hundred.
    let ([y, e], [a, r]) = (two((at.year() / 100) as i8), two((at.year() % 100) as i8));
    let ([m, o], [d, u]) = (two(at.month()), two(at.day()));
    let ([h, i], [n, k], [s, t]) = (two(at.hour()), two(at.minute()), two(at.second()));
    [y, e, a, r, b'-', m, o, b'-', d, u, b'T', h, i, b':', n, k, b':', s, t, b'.', b'0', b'0', b'0', b'Z']
}

/// Of a number below a hundred.
const fn two_digits(number: u8) -> [u8; 2] {
    [b'0' + number / 10, b'0' + number % 10]
}

spelled!(Timestamp);

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a time of RFC 3339"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prints_as_rfc_3339_and_reads_back() {
        let at = Timestamp::of_millis(1_795_000_000_123);
        assert_eq!(at.to_string(), "2026-11-18T11:06:40.123Z");
        assert_eq!(Timestamp::parse(&at.to_string()), Some(at));
        assert_eq!(Timestamp::of_seconds(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!((at.year(), Timestamp::of_millis(1_798_761_599_999).year()), (2026, 2026));
        assert_eq!(Timestamp::of_millis(1_798_761_600_000).year(), 2027);
    }

    proptest! {
        #[test]
        fn it_prints_what_it_reads(millis in -62_167_219_200_000_i64..=253_402_207_200_999) {
            let at = jiff::Timestamp::from_millisecond(millis).unwrap();
            prop_assert_eq!(Timestamp::of_millis(millis).to_string(), format!("{at:.3}"));
        }
    }
}
