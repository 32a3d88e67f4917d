//! Short texts without the heap: ids, digests and times are written into every event, several times a
//! request.

use uuid::Uuid;

/// ASCII text of at most `N` bytes. What does not fit is cut off, which no caller here lets happen.
pub struct Spelled<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Spelled<N> {
    /// Begins with this.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self { bytes: [0; N], length: 0 }.text(text)
    }

    /// All of it at once. The bytes are ASCII.
    #[must_use]
    pub const fn whole(bytes: [u8; N]) -> Self {
        Self { bytes, length: N }
    }

    #[must_use]
    pub fn text(mut self, text: &str) -> Self {
        let end = self.length + text.len();
        if let Some(place) = self.bytes.get_mut(self.length..end) {
            place.copy_from_slice(text.as_bytes());
            self.length = end;
        }
        self
    }

    /// Two lower-case digits for each byte.
    #[must_use]
    pub fn hex(mut self, bytes: &[u8]) -> Self {
        let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble };
        if let Some(place) = self.bytes.get_mut(self.length..self.length + 2 * bytes.len()) {
            for ([high, low], byte) in place.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
                (*high, *low) = (digit(byte >> 4), digit(byte & 15));
            }
            self.length += 2 * bytes.len();
        }
        self
    }

    /// A number with so many digits, with zeros in front.
    #[must_use]
    pub fn digits(mut self, mut number: u64, count: usize) -> Self {
        if let Some(place) = self.bytes.get_mut(self.length..self.length + count) {
            place.fill(b'0');
            let mut digits = place.iter_mut().rev();
            while let (1.., Some(digit)) = (number, digits.next()) {
                // INVARIANT: a remainder of ten is one digit.
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
            self.length += count;
        }
        self
    }

    #[must_use]
    pub fn number(self, number: u64) -> Self {
        self.digits(number, number.checked_ilog10().unwrap_or(0) as usize + 1)
    }

    /// With hyphens, in lower case.
    #[must_use]
    pub fn uuid(self, id: Uuid) -> Self {
        self.text(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

/// Display and Serialize of a type that spells itself.
macro_rules! spelled {
    ($($name:ty),*) => {$(
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.spelled().as_str())
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.spelled().as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.spelled().as_str())
            }
        }
    )*};
}
pub(crate) use spelled;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn spelled_is_as_the_standard_library_writes_it(number: u64, bytes: [u8; 16], id: u128) {
            let id = Uuid::from_u128(id);
            let spelled = Spelled::<130>::of("a:").digits(number, 20).text("-").number(number).text("-").hex(&bytes).text("-").uuid(id);
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            prop_assert_eq!(spelled.as_str(), format!("a:{number:020}-{number}-{hex}-{id}"));
        }
    }

    #[test]
    fn what_does_not_fit_is_cut_off() {
        assert_eq!(Spelled::<3>::of("ab").text("cd").digits(7, 1).hex(&[1]).as_str(), "ab7");
    }
}
