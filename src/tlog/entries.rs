//! Entry bundles (C2SP tlog-tiles): the leaves of one tile as they are, each behind its length.

/// Longest entry: its length is written in 16 bits.
pub const ENTRY_MAX: usize = u16::MAX as usize;

/// An entry is longer than [`ENTRY_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an entry of {0} bytes does not fit into a log: at most {ENTRY_MAX}")]
pub struct TooLong(pub usize);

/// Adds an entry to the bytes of a bundle.
pub fn push(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), TooLong> {
    let length = u16::try_from(entry.len()).map_err(|_| TooLong(entry.len()))?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// The entries of a bundle; `None` where they are not exactly `count`, or bytes are left over.
#[must_use]
pub fn read(bundle: &[u8], count: u16) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::with_capacity(count.into());
    let mut rest = bundle;
    for _ in 0..count {
        let (length, behind) = rest.split_first_chunk::<2>()?;
        let (entry, behind) = behind.split_at_checked(u16::from_be_bytes(*length).into())?;
        entries.push(entry);
        rest = behind;
    }
    rest.is_empty().then_some(entries)
}
