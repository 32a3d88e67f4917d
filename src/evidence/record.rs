//! How one event stands in a spool segment: `crc32 | length | sequence | body`, little endian.
//!
//! The checksum covers everything after itself. A body is JSON, so it holds no zero byte, and a
//! header always does: bytes inside a body are never mistaken for a record.

/// Bytes before the body.
pub const HEADER: usize = 16;
/// Longest body. Two bytes of the length are therefore always zero.
pub const BODY_MAX: usize = 0xFFFF;

/// One whole record, its checksum verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// Place in the producer's stream; the first is 1.
    pub sequence: u64,
    /// The exact bytes of the event.
    pub body: &'a [u8],
}

impl Record<'_> {
    /// Bytes that the record takes in the segment.
    #[must_use]
    pub const fn framed_len(&self) -> usize {
        HEADER + self.body.len()
    }
}

/// What stands at the start of some bytes of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next<'a> {
    Record(Record<'a>),
    /// These bytes are no record, and a whole one follows them.
    Damage {
        bytes: usize,
    },
    /// No whole record: the end, or a record that is torn or still being written.
    Tail,
}

/// The body is longer than [`BODY_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the event has {0} bytes, more than {BODY_MAX}")]
pub struct TooLarge(pub usize);

/// Replaces `out` with the record whose body `write_body` appends.
pub fn encode(out: &mut Vec<u8>, sequence: u64, write_body: impl FnOnce(&mut Vec<u8>)) -> Result<(), TooLarge> {
    out.clear();
    out.extend_from_slice(&[0; HEADER]);
    write_body(out);
    let length = out.len() - HEADER;
    let Some(short) = u16::try_from(length).ok().filter(|short| *short > 0) else {
        return Err(TooLarge(length));
    };
    put(out, 4, &u32::from(short).to_le_bytes());
    put(out, 8, &sequence.to_le_bytes());
    let checksum = crc32fast::hash(out.get(4..).unwrap_or_default());
    put(out, 0, &checksum.to_le_bytes());
    Ok(())
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = out.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// Reads what stands at the start of `bytes`.
#[must_use]
pub fn next(bytes: &[u8]) -> Next<'_> {
    if let Some(record) = whole(bytes) {
        return Next::Record(record);
    }
    let found = (1..bytes.len()).find(|at| bytes.get(*at..).and_then(whole).is_some());
    found.map_or(Next::Tail, |bytes| Next::Damage { bytes })
}

/// The record at the start of `bytes`, without a search for a later one.
#[must_use]
pub fn next_at_once(bytes: &[u8]) -> Next<'_> {
    whole(bytes).map_or(Next::Tail, Next::Record)
}

/// The record at the start of `bytes`, if all of it is there and its checksum holds.
fn whole(bytes: &[u8]) -> Option<Record<'_>> {
    let (checksum, covered) = bytes.split_first_chunk::<4>()?;
    let (length, rest) = covered.split_first_chunk::<4>()?;
    let (sequence, rest) = rest.split_first_chunk::<8>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| (1..=BODY_MAX).contains(length))?;
    let body = rest.get(..length)?;
    let holds = crc32fast::hash(covered.get(..HEADER - 4 + length)?) == u32::from_le_bytes(*checksum);
    holds.then_some(Record { sequence: u64::from_le_bytes(*sequence), body })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(sequence: u64, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&mut out, sequence, |out| out.extend_from_slice(body)).unwrap();
        out
    }

    /// Sequences and bodies of the whole records, and the bytes of the tail.
    fn read_all(mut bytes: &[u8]) -> (Vec<(u64, Vec<u8>)>, usize) {
        let mut records = Vec::new();
        loop {
            match next(bytes) {
                Next::Record(record) => {
                    records.push((record.sequence, record.body.to_vec()));
                    bytes = &bytes[record.framed_len()..];
                }
                Next::Damage { bytes: skip } => bytes = &bytes[skip..],
                Next::Tail => return (records, bytes.len()),
            }
        }
    }

    #[test]
    fn a_body_has_a_limit() {
        let mut out = Vec::new();
        let mut of_length = |length: usize| encode(&mut out, 1, |out| out.resize(HEADER + length, b'x'));
        assert_eq!(of_length(BODY_MAX), Ok(()));
        assert_eq!(of_length(BODY_MAX + 1), Err(TooLarge(BODY_MAX + 1)));
        assert_eq!(of_length(0), Err(TooLarge(0)));
    }

    #[test]
    fn zeros_are_no_records() {
        assert_eq!(next(&[0; 4096]), Next::Tail);
        assert_eq!(next(&[]), Next::Tail);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(bodies in prop::collection::vec("\\{[ -~]{0,300}\\}", 1..20), first in 1u64..1 << 50) {
            let mut file = Vec::new();
            let mut written = Vec::new();
            for (sequence, body) in (first..).zip(&bodies) {
                file.extend(framed(sequence, body.as_bytes()));
                written.push((sequence, body.clone().into_bytes()));
            }
            prop_assert_eq!(read_all(&file), (written, 0));
        }

        #[test]
        fn one_flipped_bit_costs_one_record(bodies in prop::collection::vec("\\{[ -~]{0,60}\\}", 2..6), place: prop::sample::Index, bit in 0u8..8) {
            let records: Vec<_> = (1u64..).zip(&bodies).map(|(n, body)| framed(n, body.as_bytes())).collect();
            let mut file = records.concat();
            let at = place.index(file.len());
            file[at] ^= 1 << bit;
            let ends = records.iter().scan(0, |end, record| { *end += record.len(); Some(*end) });
            let hit = 1 + ends.take_while(|end| *end <= at).count() as u64;
            let read: Vec<u64> = read_all(&file).0.into_iter().map(|(sequence, _)| sequence).collect();
            let rest: Vec<u64> = (1..=records.len() as u64).filter(|sequence| *sequence != hit).collect();
            prop_assert_eq!(read, rest);
        }

        #[test]
        fn a_cut_file_keeps_every_whole_record(bodies in prop::collection::vec("\\{[ -~]{0,60}\\}", 1..6), place: prop::sample::Index) {
            let records: Vec<_> = (1u64..).zip(&bodies).map(|(n, body)| framed(n, body.as_bytes())).collect();
            let file = records.concat();
            let cut = place.index(file.len());
            let ends = records.iter().scan(0, |end, record| { *end += record.len(); Some(*end) });
            let whole = ends.take_while(|end| *end <= cut).count();
            prop_assert_eq!(read_all(&file[..cut]).0.len(), whole);
        }

        #[test]
        fn junk_is_read_without_panic(junk in prop::collection::vec(any::<u8>(), 0..600)) {
            read_all(&junk);
        }
    }
}
