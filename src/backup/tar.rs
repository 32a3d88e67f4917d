//! A tar as far as a backup needs one: plain files with a mode, at one instant, of nobody (POSIX ustar). There is
//! exactly one header for a given file, and only that is read: so there are no links, no devices, no second names
//! and no notes for other tools.

/// Everything comes in blocks.
pub const BLOCK: usize = 512;
pub type Block = [u8; BLOCK];
/// What an archive ends with.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

const NAME: std::ops::Range<usize> = 0..100;
const SIZE: std::ops::Range<usize> = 124..136;
const TIME: std::ops::Range<usize> = 136..148;
const SUM: std::ops::Range<usize> = 148..156;
const PREFIX_MAX: usize = 155;
/// The largest number that eleven octal digits hold. A longer file has its size in binary, as GNU tar, BSD tar
/// and Python write and read it.
const OCTAL_MAX: u64 = (1 << 33) - 1;
/// Says that binary follows.
const BINARY: u8 = 0x80;

/// What stands in front of a file; `None` where its name is too long for it.
#[must_use]
pub fn header(name: &str, size: u64, mode: u32, seconds: u64) -> Option<Block> {
    let (prefix, name) = if name.len() <= NAME.len() { ("", name) } else { name.rsplit_once('/')? };
    if name.len() > NAME.len() || prefix.len() > PREFIX_MAX {
        return None;
    }
    let mut block = [0; BLOCK];
    put(&mut block, NAME.start, name.as_bytes());
    put(&mut block, 100, format!("{mode:07o}").as_bytes());
    put(&mut block, 108, b"0000000");
    put(&mut block, 116, b"0000000");
    put(&mut block, SIZE.start, &number(size));
    put(&mut block, TIME.start, &number(seconds));
    // A sum counts its own place as spaces.
    put(&mut block, SUM.start, b"        ");
    put(&mut block, SUM.end, b"0");
    put(&mut block, 257, b"ustar\x0000");
    put(&mut block, 329, b"0000000");
    put(&mut block, 337, b"0000000");
    put(&mut block, 345, prefix.as_bytes());
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    put(&mut block, SUM.start, format!("{sum:06o}\0").as_bytes());
    Some(block)
}

/// The size and the time in the header of a file with this name and mode, if it is the one that we write.
#[must_use]
pub fn read(block: &Block, name: &str, mode: u32) -> Option<(u64, u64)> {
    let (size, time) = (value(block.get(SIZE)?)?, value(block.get(TIME)?)?);
    (header(name, size, mode, time)? == *block).then_some((size, time))
}

/// How many zeros follow a file of so many bytes.
#[must_use]
pub fn padding(size: u64) -> usize {
    // INVARIANT: a remainder of 512 fits.
    (size.wrapping_neg() % BLOCK as u64) as usize
}

fn put(block: &mut Block, at: usize, bytes: &[u8]) {
    if let Some(place) = block.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

fn number(value: u64) -> [u8; 12] {
    let mut field = [0; 12];
    if value > OCTAL_MAX {
        let [kind, _, _, _, binary @ ..] = &mut field;
        (*kind, *binary) = (BINARY, value.to_be_bytes());
        return field;
    }
    for (place, byte) in field.iter_mut().zip(format!("{value:011o}").bytes()) {
        *place = byte;
    }
    field
}

fn value(field: &[u8]) -> Option<u64> {
    match field {
        [BINARY, 0, 0, 0, binary @ ..] => Some(u64::from_be_bytes(binary.try_into().ok()?)),
        [octal @ .., 0] => u64::from_str_radix(std::str::from_utf8(octal).ok()?, 8).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_reads_back_and_no_other_is_read() {
        for size in [0, 1, OCTAL_MAX, OCTAL_MAX + 1, u64::MAX >> 1] {
            let block = header("a/b", size, 0o600, 1_800_000_000).unwrap();
            assert_eq!(read(&block, "a/b", 0o600), Some((size, 1_800_000_000)));
            assert_eq!((read(&block, "a/c", 0o600), read(&block, "a/b", 0o644)), (None, None));
            for at in 0..BLOCK {
                let mut other = block;
                other[at] ^= 1;
                assert_eq!(read(&other, "a/b", 0o600), None, "byte {at}");
            }
        }
    }

    #[test]
    fn long_names_are_cut_at_the_last_slash() {
        let name = format!("policies/{}", "a".repeat(100));
        assert!(header(&name, 1, 0o600, 0).unwrap()[345..].starts_with(b"policies\0"));
        assert!(header(&format!("policies/{}", "a".repeat(101)), 1, 0o600, 0).is_none());
        assert!(header(&"a".repeat(101), 1, 0o600, 0).is_none());
        assert!(header(&format!("{}/a", "a".repeat(156)), 1, 0o600, 0).is_none());
    }

    proptest! {
        #[test]
        fn any_block_is_read_or_refused(bytes: [u8; 32], at in 0_usize..480) {
            let mut block = header("a", 5, 0o600, 5).unwrap();
            block[at..at + 32].copy_from_slice(&bytes);
            if let Some((size, time)) = read(&block, "a", 0o600) {
                prop_assert_eq!(header("a", size, 0o600, time), Some(block));
            }
        }

        #[test]
        fn a_file_ends_with_its_block(size: u64) {
            prop_assert_eq!((u128::from(size) + padding(size) as u128) % 512, 0);
            prop_assert!(padding(size) < BLOCK);
        }
    }
}
