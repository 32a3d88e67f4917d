//! Server-sent events as they are read (WHATWG HTML, "server-sent events"): blocks of fields, in pieces
//! of any size.

/// Longest block that is read.
pub const BLOCK_MAX: usize = 1 << 20;

/// One block of a stream.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Block {
    /// The place in the stream behind this block.
    pub id: Option<String>,
    /// The event's own bytes; none where the block is no event.
    pub data: Option<String>,
}

/// A block is longer than [`BLOCK_MAX`], or no text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("this is not a stream of events")]
pub struct NotEvents;

/// Takes the bytes of a stream and gives its blocks. Lines end with a line feed, alone or behind a
/// carriage return.
#[derive(Default)]
pub struct Blocks {
    line: Vec<u8>,
    block: Block,
    /// Bytes of this block so far.
    length: usize,
}

impl Blocks {
    /// The blocks that these bytes complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Block>, NotEvents> {
        let mut complete = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.length += part.len();
            if self.length > BLOCK_MAX {
                return Err(NotEvents);
            }
            self.line.extend_from_slice(part);
            if self.line.pop_if(|byte| *byte == b'\n').is_none() {
                continue;
            }
            self.line.pop_if(|byte| *byte == b'\r');
            let line = String::from_utf8(std::mem::take(&mut self.line)).map_err(|_| NotEvents)?;
            if line.is_empty() {
                self.length = 0;
                complete.push(std::mem::take(&mut self.block));
            } else {
                self.field(&line);
            }
        }
        Ok(complete)
    }

    fn field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match (name, &mut self.block.data) {
            ("id", _) => self.block.id = Some(value.to_owned()),
            ("data", Some(data)) => {
                data.push('\n');
                data.push_str(value);
            }
            ("data", none) => *none = Some(value.to_owned()),
            // A comment, or a field that nobody here asks for.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STREAM: &str =
        ": here\nid: 3\n\nid: 4\r\nevent: a\r\ndata: {}\r\n\r\ndata:é\ndata\ndata: : x\nretry: 1\n\nid: 5\n";

    fn block(id: Option<&str>, data: Option<&str>) -> Block {
        Block { id: id.map(str::to_owned), data: data.map(str::to_owned) }
    }

    fn expected() -> Vec<Block> {
        vec![block(Some("3"), None), block(Some("4"), Some("{}")), block(None, Some("é\n\n: x"))]
    }

    #[test]
    fn blocks_have_their_places_and_their_bytes() {
        assert_eq!(Blocks::default().feed(STREAM.as_bytes()).unwrap(), expected());
    }

    #[test]
    fn a_block_without_an_end_is_not_kept_for_ever() {
        let mut blocks = Blocks::default();
        assert_eq!(blocks.feed(&vec![b'x'; BLOCK_MAX]), Ok(vec![]));
        assert_eq!(blocks.feed(b"x"), Err(NotEvents));
        assert_eq!(Blocks::default().feed(b"\xff\n"), Err(NotEvents));
    }

    proptest! {
        #[test]
        fn however_it_is_cut_it_reads_the_same(mut cuts in proptest::collection::vec(0..STREAM.len(), 0..9)) {
            cuts.extend([0, STREAM.len()]);
            cuts.sort_unstable();
            let mut blocks = Blocks::default();
            let read = cuts.windows(2).flat_map(|two| blocks.feed(&STREAM.as_bytes()[two[0]..two[1]]).unwrap());
            prop_assert_eq!(read.collect::<Vec<_>>(), expected());
        }

        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Blocks::default().feed(&bytes);
        }
    }
}
