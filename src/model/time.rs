//! Points in time. They come from one [clock](crate::clock) and are passed as arguments.

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
        /// Before it years have a sign.
        const YEAR_0: i64 = -62_167_219_200_000;
        let at = jiff::Timestamp::from_millisecond(self.0.max(YEAR_0)).unwrap_or_default();
        let at = jiff::tz::Offset::UTC.to_datetime(at);
        let of = |number: i8| u64::from(number.unsigned_abs());
        let text = Spelled::of("").digits(u64::from(at.year().unsigned_abs()), 4);
        let text = text.text("-").digits(of(at.month()), 2).text("-").digits(of(at.day()), 2);
        let text = text.text("T").digits(of(at.hour()), 2).text(":").digits(of(at.minute()), 2);
        text.text(":").digits(of(at.second()), 2).text(".").digits(self.0.rem_euclid(1000).unsigned_abs(), 3).text("Z")
    }

    /// Reads RFC 3339.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|t| Self(t.as_millisecond()))
    }
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

    #[test]
    fn prints_as_rfc_3339_and_reads_back() {
        let at = Timestamp::of_millis(1_795_000_000_123);
        assert_eq!(at.to_string(), "2026-11-18T11:06:40.123Z");
        assert_eq!(Timestamp::parse(&at.to_string()), Some(at));
        assert_eq!(Timestamp::of_seconds(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!((at.year(), Timestamp::of_millis(1_798_761_599_999).year()), (2026, 2026));
        assert_eq!(Timestamp::of_millis(1_798_761_600_000).year(), 2027);
    }
}
