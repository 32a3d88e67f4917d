//! A zip as far as a bundle needs one: files that are stored as they are, at one instant, without
//! comments or extra fields. There is exactly one way to write given files, and only that is read: so
//! nothing can hide between the files, and nothing grows when it is read.

use std::fmt;

/// Most files of one archive: more need a later form of zip.
const FILES_MAX: usize = u16::MAX as usize;
const NAME_MAX: usize = 100;
const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const LOCAL_BYTES: usize = 30;
/// Version 1.0, no flags, stored, and midnight of 1980-01-01, the first instant of zip.
const HOW: [u8; 10] = [10, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];

/// Why bytes are no archive of ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct NotOurs {
    pub byte: usize,
    pub what: &'static str,
}

/// It does not fit into a zip.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("it does not fit into a bundle: at most {FILES_MAX} files and 4 GiB")]
pub struct TooLarge;

/// A file by its name.
pub(super) type File<'a> = (&'a str, &'a [u8]);

/// The bytes of the archive of these files, in this order.
pub(super) fn write(files: &[File<'_>]) -> Result<Vec<u8>, TooLarge> {
    let count = u16::try_from(files.len()).map_err(|_| TooLarge)?;
    let (mut out, mut central) = (Vec::new(), Vec::new());
    for (name, bytes) in files {
        let offset = short(out.len())?;
        let (size, length) = (short(bytes.len())?, u16::try_from(name.len()).map_err(|_| TooLarge)?);
        let mut head = HOW.to_vec();
        head.extend(crc32fast::hash(bytes).to_le_bytes());
        head.extend(size.to_le_bytes());
        head.extend(size.to_le_bytes());
        head.extend(length.to_le_bytes());
        head.extend([0; 2]);
        out.extend(LOCAL.to_le_bytes());
        out.extend(&head);
        out.extend(name.as_bytes());
        out.extend_from_slice(bytes);
        central.extend(CENTRAL.to_le_bytes());
        central.extend([10, 0]);
        central.extend(&head);
        // No comment, disk 0, no attributes.
        central.extend([0; 10]);
        central.extend(offset.to_le_bytes());
        central.extend(name.as_bytes());
    }
    let (offset, size) = (short(out.len())?, short(central.len())?);
    out.extend(central);
    out.extend(END.to_le_bytes());
    out.extend([0; 4]);
    out.extend(count.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(size.to_le_bytes());
    out.extend(offset.to_le_bytes());
    out.extend([0; 2]);
    Ok(out)
}

fn short(length: usize) -> Result<u32, TooLarge> {
    u32::try_from(length).map_err(|_| TooLarge)
}

/// The files of an archive. Names are plain, none stands twice, and the archive is exactly what
/// [`write`] makes of them.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<File<'_>>, NotOurs> {
    let mut files: Vec<File<'_>> = Vec::new();
    let mut names = std::collections::HashSet::new();
    let mut at = 0;
    while bytes.get(at..at + 4) == Some(&LOCAL.to_le_bytes()) {
        let not_ours = |what| NotOurs { byte: at, what };
        let (name, content) = file_at(bytes, at).ok_or(not_ours("a file is cut or not stored as it is"))?;
        if !is_plain(name) || !names.insert(name) {
            return Err(not_ours("a name is not plain, or stands twice"));
        }
        if files.len() == FILES_MAX {
            return Err(not_ours("there are too many files"));
        }
        at += LOCAL_BYTES + name.len() + content.len();
        files.push((name, content));
    }
    // The rest, and every field that was passed over, is what we write and nothing else.
    let ours = write(&files).map_err(|TooLarge| NotOurs { byte: at, what: "it is too large" })?;
    if ours == bytes {
        return Ok(files);
    }
    let differs = ours.iter().zip(bytes).position(|(ours, theirs)| ours != theirs);
    Err(NotOurs { byte: differs.unwrap_or(ours.len().min(bytes.len())), what: "this is not how a bundle is written" })
}

fn file_at(bytes: &[u8], at: usize) -> Option<File<'_>> {
    let head = bytes.get(at..at + LOCAL_BYTES)?;
    let size = u32::from_le_bytes(*head.get(18..)?.first_chunk()?);
    let length = u16::from_le_bytes(*head.get(26..)?.first_chunk()?);
    let name = at + LOCAL_BYTES;
    let content = name + usize::from(length);
    let end = content.checked_add(usize::try_from(size).ok()?)?;
    let is_stored = head.get(6..10)? == [0; 4];
    let name = std::str::from_utf8(bytes.get(name..content)?).ok()?;
    is_stored.then_some((name, bytes.get(content..end)?))
}

/// No name leads out of a directory, or is another one in disguise.
fn is_plain(name: &str) -> bool {
    let legal = |part: &str| {
        let bytes = part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        bytes && !part.is_empty() && !part.starts_with('.')
    };
    name.len() <= NAME_MAX && name.split('/').all(legal)
}

impl fmt::Display for NotOurs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let files: [File<'_>; 3] = [("manifest", b"x"), ("proofs/1.tlog-proof", b""), ("events.jsonl", b"{}\n{}\n")];
        let bytes = write(&files).unwrap();
        assert_eq!(read(&bytes), Ok(files.to_vec()));
        assert_eq!(read(&write(&[]).unwrap()), Ok(vec![]));
    }

    #[test]
    fn names_stay_inside_and_stand_once() {
        for name in ["../x", "/x", "a/../b", "a//b", "", "a\\b", ".x", "c:x", "ä", "a/", "a\0b"] {
            assert!(read(&write(&[(name, b"")]).unwrap()).is_err(), "{name:?}");
        }
        assert!(read(&write(&[("a", b"1"), ("a", b"2")]).unwrap()).is_err());
        assert!(read(&write(&[(&"a".repeat(NAME_MAX + 1), b"")]).unwrap()).is_err());
    }

    #[test]
    fn no_bit_is_free() {
        let good = write(&[("manifest", b"abc"), ("b/c", b"\0")]).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let is_same = read(&bad).is_ok_and(|files| files == read(&good).unwrap());
            assert!(!is_same, "bit {bit}");
        }
        for cut in 0..good.len() {
            assert!(read(&good[..cut]).is_err(), "{cut}");
        }
        assert!(read(&[good.as_slice(), b"x"].concat()).is_err());
        assert!(read(&[b"x", good.as_slice()].concat()).is_err());
    }

    #[test]
    fn other_archives_are_refused() {
        let mut deflated = write(&[("a", b"abc")]).unwrap();
        deflated[8] = 8;
        assert_eq!(read(&deflated).unwrap_err().what, "a file is cut or not stored as it is");
        let mut huge = write(&[("a", b"abc")]).unwrap();
        huge[18..26].fill(0xff);
        assert!(read(&huge).is_err());
    }
}
