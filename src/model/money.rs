//! Money: a decimal text becomes integer minor units. No float is ever made of it.

use std::fmt;

use super::spell::Spelled;

/// The value of a JSON number, exact: `mantissa × 10^-scale`, with no trailing zero in the mantissa.
///
/// Two texts are the same decimal when they are the same value (`29.9`, `29.90`, `2.99e1`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decimal {
    mantissa: i128,
    scale: u32,
    /// Digits written behind the point, trailing zeros included.
    written_scale: u32,
}

/// Longest number text that is read. Longer ones are no price and no quantity.
const NUMBER_TEXT_MAX: usize = 40;

impl Decimal {
    /// Reads the text of a JSON number (RFC 8259 §6). `None` when it is no JSON number, has more
    /// than 40 characters, more than 38 digits before its last zeros, or an exponent beyond ±36.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > NUMBER_TEXT_MAX {
            return None;
        }
        let (unsigned, negative) = match text.strip_prefix('-') {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let (digits, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((digits, exponent)) => (digits, exponent_of(exponent)?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((whole, fraction)) => (whole, digits_only(fraction)?),
            None => (digits, ""),
        };
        let whole = digits_only(whole)?;
        if whole.len() > 1 && whole.starts_with('0') {
            return None;
        }
        // Zeros at the end are no value: so many of them as fit the text may be written.
        let valued = fraction.trim_end_matches('0');
        let mut mantissa: i128 = 0;
        for digit in whole.bytes().chain(valued.bytes()) {
            mantissa = mantissa.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
        }
        let scale = |digits: &str| i32::try_from(digits.len()).ok().map(|digits| digits - exponent);
        let value = Self::normal(if negative { -mantissa } else { mantissa }, scale(valued)?)?;
        Some(Self { written_scale: u32::try_from(scale(fraction)?.max(0)).ok()?, ..value })
    }

    fn normal(mut mantissa: i128, written: i32) -> Option<Self> {
        let written_scale = u32::try_from(written.max(0)).ok()?;
        let mut scale = written;
        while scale < 0 && mantissa != 0 {
            mantissa = mantissa.checked_mul(10)?;
            scale += 1;
        }
        while scale > 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            scale -= 1;
        }
        Some(Self { mantissa, scale: u32::try_from(scale.max(0)).ok()?, written_scale })
    }

    /// The value of so many whole units, of which `10^digits` make one; `None` for a part of a unit,
    /// and beyond 36 digits.
    #[must_use]
    pub fn of_units(units: Self, digits: u32) -> Option<Self> {
        let digits = i32::try_from(digits).ok().filter(|digits| *digits <= 36)?;
        if units.scale == 0 { Self::normal(units.mantissa, digits) } else { None }
    }

    /// The value as an integer, when it is one (`1`, `1.0`, `1e0`).
    #[must_use]
    pub fn integer(self) -> Option<i64> {
        if self.scale == 0 { i64::try_from(self.mantissa).ok() } else { None }
    }

    /// The value times `10^digits`, when that is an integer.
    fn scaled(self, digits: u32) -> Option<i64> {
        let missing = digits.checked_sub(self.scale)?;
        let factor = 10_i128.checked_pow(missing)?;
        i64::try_from(self.mantissa.checked_mul(factor)?).ok()
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_scaled(f, self.mantissa, self.scale)
    }
}

fn digits_only(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then_some(text)
}

fn exponent_of(text: &str) -> Option<i32> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let value: i32 = digits_only(unsigned)?.parse().ok()?;
    (value <= 36).then_some(if text.starts_with('-') { -value } else { value })
}

fn write_scaled(f: &mut fmt::Formatter<'_>, value: i128, scale: u32) -> fmt::Result {
    if scale == 0 {
        return write!(f, "{value}");
    }
    let sign = if value < 0 { "-" } else { "" };
    let unit = 10_u128.pow(scale);
    let magnitude = value.unsigned_abs();
    let width = scale as usize;
    write!(f, "{sign}{}.{:0width$}", magnitude / unit, magnitude % unit)
}

/// An ISO 4217 currency, with the number of its fraction digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency(iso_currency::Currency);

/// Looked for first: the library compares all of its codes one by one, and a purchase names three.
const COMMON: [iso_currency::Currency; 8] = {
    use iso_currency::Currency::{BRL, CNY, EUR, GBP, INR, JPY, KRW, USD};
    [USD, EUR, GBP, JPY, CNY, INR, BRL, KRW]
};

impl Currency {
    /// Exactly the three upper-case letters of the standard.
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        if code.len() != 3 || !code.bytes().all(|b| b.is_ascii_uppercase()) {
            return None;
        }
        let common = COMMON.iter().find(|currency| currency.code() == code).copied();
        let currency = common.or_else(|| iso_currency::Currency::from_code(code))?;
        currency.exponent().map(|_| Self(currency))
    }

    /// Fraction digits of one major unit: 2 for USD, 0 for JPY, 3 for KWD.
    #[must_use]
    pub fn digits(self) -> u32 {
        u32::from(self.0.exponent().unwrap_or(0))
    }

    #[must_use]
    pub fn code(self) -> &'static str {
        self.0.code()
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// An amount of one currency in integer minor units.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Price {
    minor: i64,
    currency: Currency,
}

/// Why a number is not an amount of its currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAnAmount {
    #[error("is not a decimal number")]
    NotANumber,
    #[error("has more fraction digits than {0} has ({digits})", digits = .0.digits())]
    TooPrecise(Currency),
    #[error("is out of range")]
    OutOfRange,
}

impl Price {
    /// Largest amount in minor units: 2⁵³ − 1, exact in every JSON reader.
    pub const MINOR_MAX: i64 = (1 << 53) - 1;

    /// An amount already in minor units; `None` when negative or beyond [`Self::MINOR_MAX`].
    #[must_use]
    pub fn of_minor(minor: i64, currency: Currency) -> Option<Self> {
        (0..=Self::MINOR_MAX).contains(&minor).then_some(Self { minor, currency })
    }

    /// Reads a JSON number in major units as the execution API does: it may not be written with
    /// more fraction digits than the currency has, zeros included (contract.md).
    pub fn parse_major(text: &str, currency: Currency) -> Result<Self, NotAnAmount> {
        let value = Decimal::parse(text).ok_or(NotAnAmount::NotANumber)?;
        if value.written_scale > currency.digits() {
            return Err(NotAnAmount::TooPrecise(currency));
        }
        Self::of_major(value, currency).ok_or(NotAnAmount::OutOfRange)
    }

    /// The amount with this value in major units; `None` when the currency cannot express it.
    #[must_use]
    pub fn of_major(value: Decimal, currency: Currency) -> Option<Self> {
        Self::of_minor(value.scaled(currency.digits())?, currency)
    }

    /// Reads `"250.00 USD"`, the form of policy files.
    #[must_use]
    pub fn parse_text(text: &str) -> Option<Self> {
        let (amount, code) = text.split_once(' ')?;
        Self::parse_major(amount, Currency::parse(code)?).ok()
    }

    #[must_use]
    pub fn minor(self) -> i64 {
        self.minor
    }

    #[must_use]
    pub fn currency(self) -> Currency {
        self.currency
    }

    /// `self × quantity`; `None` beyond [`Self::MINOR_MAX`].
    #[must_use]
    pub fn times(self, quantity: u32) -> Option<Self> {
        Self::of_minor(self.minor.checked_mul(i64::from(quantity))?, self.currency)
    }

    /// `self + other`; `None` beyond [`Self::MINOR_MAX`] or in another currency.
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        let same = self.currency == other.currency;
        Self::of_minor(self.minor.checked_add(other.minor)?, self.currency).filter(|_| same)
    }

    /// The amount in major units with exactly the currency's fraction digits: `29.90`, `5000`.
    #[must_use]
    pub fn major(self) -> Major {
        Major(self)
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.major().spelled().text(" ").text(self.currency.code()).as_str())
    }
}

impl fmt::Debug for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Writes the amount alone, in major units.
#[derive(Clone, Copy)]
pub struct Major(Price);

impl Major {
    /// As it is written. There is room for a currency behind it.
    #[must_use]
    pub fn spelled(self) -> Spelled<28> {
        let (minor, digits) = (self.0.minor.unsigned_abs(), self.0.currency.digits());
        let unit = 10_u64.pow(digits);
        let whole = Spelled::of("").number(minor / unit);
        if digits == 0 { whole } else { whole.text(".").digits(minor % unit, digits as usize) }
    }
}

impl fmt::Display for Major {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.spelled().as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn currency(code: &str) -> Currency {
        Currency::parse(code).unwrap()
    }

    #[test]
    fn equal_values_are_equal_decimals() {
        let one = Decimal::parse("1").unwrap();
        for text in ["1.0", "1e0", "1.000", "10e-1", "0.1E1", "0.01e+2"] {
            assert_eq!(Decimal::parse(text).unwrap().integer(), one.integer(), "{text}");
        }
        for digit in 1..=9 {
            let text = format!("{digit}.{}", "0".repeat(38));
            assert_eq!(Decimal::parse(&text).and_then(Decimal::integer), Some(digit), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_number_is_no_decimal() {
        for text in [
            "",
            "-",
            "+1",
            "01",
            "1.",
            ".5",
            "1e",
            "0x1",
            "NaN",
            "Infinity",
            "1_0",
            "1 ",
            "1e400",
            "１",
            "--1",
            "1.2.3",
            "999999999999999999999999999999999999999999999",
        ] {
            assert_eq!(Decimal::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_price_has_no_more_digits_than_its_currency() {
        let cases = [("29.99", "USD", 2999), ("5000", "JPY", 5000), ("1.250", "KWD", 1250), ("29.9", "USD", 2990)];
        for (text, code, minor) in cases {
            assert_eq!(Price::parse_major(text, currency(code)).unwrap().minor(), minor);
        }
        assert_eq!(Price::parse_major("29.990", currency("USD")), Err(NotAnAmount::TooPrecise(currency("USD"))));
        assert_eq!(Price::parse_major("-1", currency("USD")), Err(NotAnAmount::OutOfRange));
    }

    #[test]
    fn a_currency_is_spelled_as_the_standard_spells_it() {
        for bad in ["usd", "US$", "USD ", "US", "ΕUR", "ZZZ", "XXX"] {
            assert_eq!(Currency::parse(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn text_and_minor_units_agree(minor in 0..=Price::MINOR_MAX, code in prop::sample::select(vec!["USD", "JPY", "KWD", "EUR"])) {
            let price = Price::of_minor(minor, currency(code)).unwrap();
            let text = price.major().to_string();
            prop_assert_eq!(Price::parse_major(&text, currency(code)), Ok(price));
        }

        #[test]
        fn reading_never_panics(text in "[-+0-9.eE]{0,45}") {
            let _ = Decimal::parse(&text);
        }

        #[test]
        fn a_decimal_prints_what_it_read(whole in 0u64..1_000_000_000, fraction in 0u32..1000) {
            let text = format!("{whole}.{fraction:03}");
            let value = Decimal::parse(&text).unwrap();
            prop_assert_eq!(Decimal::parse(&value.to_string()), Some(value).map(|v| Decimal { written_scale: v.scale, ..v }));
        }
    }
}
