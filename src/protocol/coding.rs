//! Undoes a content coding, to look at a body. The body itself goes on as it came.

use std::borrow::Cow;
use std::io::Read;

use flate2::bufread::{GzDecoder, ZlibDecoder};

use super::media::Coding;

/// Most that a body may grow: beyond it is a bomb and no purchase.
const RATIO_MAX: usize = 100;

/// Why a body cannot be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    #[error("decoded, it is longer than the limit, or more than {RATIO_MAX} times as long as it came")]
    TooLong,
    #[error("it is not what its Content-Encoding says, or something follows it")]
    Broken,
}

/// The body without its coding, of at most `most` bytes.
pub fn decoded(body: &[u8], coding: Coding, most: usize) -> Result<Cow<'_, [u8]>, Undecodable> {
    let most = most.min(body.len().saturating_mul(RATIO_MAX));
    match coding {
        Coding::Identity => Ok(Cow::Borrowed(body)),
        Coding::Gzip => {
            let mut decoder = GzDecoder::new(body);
            let plain = read(&mut decoder, most)?;
            // A second member is one more body to some readers and nothing to others.
            ended(decoder.into_inner(), plain)
        }
        Coding::Deflate => {
            let mut decoder = ZlibDecoder::new(body);
            let plain = read(&mut decoder, most)?;
            ended(decoder.into_inner(), plain)
        }
    }
}

fn read(from: &mut impl Read, most: usize) -> Result<Vec<u8>, Undecodable> {
    let mut plain = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    from.take(limit).read_to_end(&mut plain).map_err(|_| Undecodable::Broken)?;
    if plain.len() > most { Err(Undecodable::TooLong) } else { Ok(plain) }
}

fn ended<'b>(rest: &[u8], plain: Vec<u8>) -> Result<Cow<'b, [u8]>, Undecodable> {
    if rest.is_empty() { Ok(Cow::Owned(plain)) } else { Err(Undecodable::Broken) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;
    use std::io::Write;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(plain: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let bomb = gzip(&vec![b' '; 10 << 20]);
        assert_eq!(decoded(&bomb, Coding::Gzip, 64 << 10), Err(Undecodable::TooLong));
        assert_eq!(decoded(&gzip(&[b' '; 50_000]), Coding::Gzip, 64 << 10), Err(Undecodable::TooLong));
    }

    #[test]
    fn what_is_not_one_whole_stream_is_broken() {
        let two = [gzip(b"{}"), gzip(b"{}")].concat();
        let mut cut = gzip(b"{\"a\":1}");
        cut.pop();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::best());
        raw.write_all(b"{}").unwrap();
        let raw = raw.finish().unwrap();
        for (body, coding) in [(&two, Coding::Gzip), (&cut, Coding::Gzip), (&raw, Coding::Deflate)] {
            assert_eq!(decoded(body, coding, 1 << 20), Err(Undecodable::Broken));
        }
        assert_eq!(decoded(b"{}", Coding::Gzip, 1 << 20), Err(Undecodable::Broken));
        assert_eq!(decoded(b"", Coding::Gzip, 1 << 20), Err(Undecodable::Broken));
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_out(plain in proptest::collection::vec(any::<u8>(), 1..2000)) {
            prop_assert_eq!(&*decoded(&plain, Coding::Identity, 0).unwrap(), &plain[..]);
            let (gzipped, deflated) = (gzip(&plain), zlib(&plain));
            prop_assert_eq!(&*decoded(&gzipped, Coding::Gzip, 4000).unwrap(), &plain[..]);
            prop_assert_eq!(&*decoded(&deflated, Coding::Deflate, 4000).unwrap(), &plain[..]);
        }

        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decoded(&body, Coding::Gzip, 1000);
            let _ = decoded(&body, Coding::Deflate, 1000);
        }
    }
}
