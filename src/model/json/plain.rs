//! What may stand in a JSON string as it is: all but quotation marks, backslashes and control characters (RFC 8259 §7).

/// So many words of eight bytes are looked through one by one: most strings end in them.
const WORDS: usize = 4;

/// How many bytes from the first one on may stand there as they are.
#[must_use]
pub fn plain_length(bytes: &[u8]) -> usize {
    let (words, tail) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().take(WORDS).enumerate() {
        let odd = odd_bytes(u64::from_le_bytes(*word));
        if odd != 0 {
            return 8 * at + odd.trailing_zeros() as usize / 8;
        }
    }
    if words.len() <= WORDS {
        let odd = odd_bytes(filled_up(tail));
        let plain = if odd == 0 { tail.len() } else { odd.trailing_zeros() as usize / 8 };
        return 8 * words.len() + plain;
    }
    8 * WORDS + length_of_long(bytes.get(8 * WORDS..).unwrap_or_default())
}

/// Fewer than eight bytes, and what is plain behind them.
fn filled_up(tail: &[u8]) -> u64 {
    tail.iter().rev().fold(u64::MAX, |word, byte| word << 8 | u64::from(*byte))
}

fn length_of_long(rest: &[u8]) -> usize {
    let quoted = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
    let unquoted = rest.get(..quoted).unwrap_or_default();
    // A fold over all of them is faster than a search that may end early.
    let is_plain = !unquoted.iter().fold(false, |odd, byte| odd | (*byte < 0x20));
    let plain = if is_plain { None } else { unquoted.iter().position(|byte| *byte < 0x20) };
    plain.unwrap_or(quoted)
}

/// The highest bit of each byte that may not, as far as the first of them: those behind it may be wrong.
const fn odd_bytes(word: u64) -> u64 {
    const EACH: u64 = u64::MAX / 0xff;
    const HIGHEST: u64 = EACH * 0x80;
    const fn zeros(word: u64) -> u64 {
        word.wrapping_sub(EACH) & !word
    }
    let control = word.wrapping_sub(EACH * 0x20) & !word;
    (zeros(word ^ (EACH * b'"' as u64)) | zeros(word ^ (EACH * b'\\' as u64)) | control) & HIGHEST
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one_by_one(bytes: &[u8]) -> usize {
        let is_odd = |byte: &u8| matches!(byte, 0..0x20 | b'"' | b'\\');
        bytes.iter().position(is_odd).unwrap_or(bytes.len())
    }

    #[test]
    fn each_byte_in_each_place_is_seen() {
        for length in 0..80 {
            for at in 0..length {
                for byte in 0..=255 {
                    let mut bytes = vec![b'a'; length];
                    bytes[at] = byte;
                    assert_eq!(plain_length(&bytes), one_by_one(&bytes), "{byte} at {at} of {length}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn it_is_what_one_finds_byte_by_byte(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(plain_length(&bytes), one_by_one(&bytes));
        }

        #[test]
        fn neighbours_do_not_disturb_each_other(bytes in prop::collection::vec(0x1eu8..0x24, 0..50)) {
            prop_assert_eq!(plain_length(&bytes), one_by_one(&bytes));
        }
    }
}
