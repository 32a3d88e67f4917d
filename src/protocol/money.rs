//! How amounts are written where a checkout keeps them.

use serde::Deserialize;

use crate::model::json::Value;
use crate::model::money::{Currency, Decimal, Price};

/// The kinds of writing. Fixed by the preset: a text is never taken for a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Money {
    /// A JSON number of whole minor units (`2999`).
    Minor,
    /// The same as a text (`"2999"`).
    MinorText,
    /// A JSON number of major units (`29.99`).
    #[default]
    Major,
    /// The same as a text (`"29.99"`).
    MajorText,
    /// A text of whole units of a token of which a currency's major unit has many (`"29990000"`);
    /// how many is the preset's `decimals`.
    Atomic,
}

impl Money {
    /// The amount that `value` writes. `decimals`: how many digits a major unit has here, where it
    /// is not as the currency's standard says.
    #[must_use]
    pub fn read(self, value: &Value<'_>, currency: Currency, decimals: Option<u32>) -> Option<Price> {
        let text = match self {
            Self::Minor | Self::Major => value.as_number()?,
            Self::MinorText | Self::MajorText | Self::Atomic => value.as_str()?,
        };
        let number = Decimal::parse(text)?;
        match (self, decimals) {
            (Self::Major | Self::MajorText, _) => Price::of_major(number, currency),
            (_, None) => Price::of_minor(number.integer()?, currency),
            (_, Some(decimals)) => Price::of_major(Decimal::of_units(number, decimals)?, currency),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_reads_its_own_writing() {
        let number = |text| Value::Number(text);
        let text = |text: &'static str| Value::String(text.into());
        let read = |money: Money, value, code, decimals| {
            money.read(&value, Currency::parse(code).unwrap(), decimals).map(Price::minor)
        };
        assert_eq!(read(Money::Minor, number("2999"), "USD", None), Some(2999));
        assert_eq!(read(Money::Minor, text("2999"), "USD", None), None);
        assert_eq!(read(Money::MinorText, text("2999"), "USD", Some(2)), Some(2999));
        assert_eq!(read(Money::MinorText, text("500000"), "JPY", Some(2)), Some(5000));
        assert_eq!(read(Money::MinorText, text("500001"), "JPY", Some(2)), None);
        assert_eq!(read(Money::Major, number("29.990"), "USD", None), Some(2999));
        assert_eq!(read(Money::MajorText, text("1.250"), "KWD", None), Some(1250));
        assert_eq!(read(Money::MajorText, number("1.25"), "KWD", None), None);
        assert_eq!(read(Money::Atomic, text("29990000"), "USD", Some(6)), Some(2999));
        assert_eq!(read(Money::Atomic, text("29990001"), "USD", Some(6)), None);
        // Of a token with 18 digits, ten are more units than an integer of 64 bits holds.
        assert_eq!(read(Money::Atomic, text("29990000000000000000"), "USD", Some(18)), Some(2999));
        assert_eq!(read(Money::MinorText, text(" 1"), "USD", None), None);
        assert_eq!(read(Money::MinorText, text("-1"), "USD", None), None);
    }
}
