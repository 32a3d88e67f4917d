//! The bytes of an archive. It is written in one pass over the files, with what they hash to told in front of them:
//! the files are packed first, as a member of their own, and the manifest in front of it (RFC 1952 §2.2: members
//! one behind the other are one file). So one look at a file is what is kept of it and what is hashed, and a reader
//! knows what comes before it takes any of it.

use std::io::{self, Read, Write};

use aws_lc_rs::digest::{Context, SHA256};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::layout::{Place, place_of};
use super::manifest::{self, Listed, MANIFEST_MAX, Manifest};
use super::tar::{self, BLOCK, Block};
use crate::durable::Readers;
use crate::model::intent::Sha256;
use crate::model::time::Timestamp;

const CHUNK: usize = 128 << 10;
/// Of the manifest itself.
const MODE: u32 = 0o600;

/// Why bytes are no backup.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("it is no backup of Permyx: {0}")]
    NoBackup(&'static str),
    #[error(
        "it was made by permyx {version} in the format {format}, and this program reads format {}: use that one or a later",
        manifest::FORMAT
    )]
    Format { format: u32, version: String },
    #[error("its manifest is not as this program writes it")]
    Manifest(#[source] serde_json::Error),
    #[error("it holds `{name}`: {why}")]
    Stranger { name: String, why: &'static str },
    #[error("`{name}` is damaged: {what}. Take another backup")]
    Damaged { name: String, what: &'static str },
    #[error("it is damaged or cut off at `{name}`")]
    Unreadable { name: String, source: io::Error },
}

/// The files of an archive, as they are packed one after the other.
pub struct Body<W: Write> {
    out: GzEncoder<W>,
    made: Timestamp,
    files: Vec<Listed>,
}

/// Why a file was not added.
#[derive(Debug)]
pub enum NotAdded {
    /// It has fewer bytes than was said.
    Short,
    NoPlace,
    Unread(io::Error),
    Unwritten(io::Error),
}

impl<W: Write> Body<W> {
    pub fn begin(out: W, made: Timestamp) -> Self {
        Self { out: GzEncoder::new(out, Compression::fast()), made, files: Vec::new() }
    }

    /// Adds a file, of which `size` bytes are taken.
    pub fn add(&mut self, name: &str, size: u64, from: &mut dyn Read) -> Result<(), NotAdded> {
        let place = place_of(name).ok_or(NotAdded::NoPlace)?;
        let head = head_of(name, size, place, self.made).ok_or(NotAdded::NoPlace)?;
        self.out.write_all(&head).map_err(NotAdded::Unwritten)?;
        let (mut hash, mut left, mut chunk) = (Context::new(&SHA256), size, vec![0; CHUNK]);
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let read = match from.read(chunk.get_mut(..wanted).unwrap_or_default()) {
                Ok(0) => return Err(NotAdded::Short),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(NotAdded::Unread(error)),
            };
            let bytes = chunk.get(..read).unwrap_or_default();
            hash.update(bytes);
            self.out.write_all(bytes).map_err(NotAdded::Unwritten)?;
            left -= read as u64;
        }
        self.pad(size).map_err(NotAdded::Unwritten)?;
        self.files.push(Listed::new(name.to_owned(), size, &sha256(hash)));
        Ok(())
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let zeros: Block = [0; BLOCK];
        self.out.write_all(zeros.get(..tar::padding(size)).unwrap_or_default())
    }

    /// What was packed, and what of it is to be told in front.
    pub fn end(mut self) -> io::Result<(W, Vec<Listed>)> {
        self.out.write_all(&tar::END)?;
        Ok((self.out.finish()?, self.files))
    }
}

/// What stands in front of the files that a manifest names.
pub fn front(manifest: &Manifest) -> io::Result<Vec<u8>> {
    let bytes = manifest.written().map_err(io::Error::other)?;
    let size = bytes.len() as u64;
    let head = tar::header(manifest::NAME, size, MODE, seconds(manifest.made));
    let mut front = GzEncoder::new(Vec::new(), Compression::fast());
    front.write_all(&head.ok_or(io::ErrorKind::InvalidData)?)?;
    front.write_all(&bytes)?;
    let zeros: Block = [0; BLOCK];
    front.write_all(zeros.get(..tar::padding(size)).unwrap_or_default())?;
    front.finish()
}

/// Takes files as they come out of an archive.
pub trait Target {
    type File: Write;
    type Error;

    fn open(&mut self, file: &Listed, place: Place) -> Result<Self::File, Self::Error>;
    /// Its bytes are those that the manifest names.
    fn close(&mut self, file: &Listed, whole: Self::File) -> Result<(), Self::Error>;
    fn unwritten(&self, file: &Listed, error: io::Error) -> Self::Error;
    fn refused(&self, why: Refused) -> Self::Error;
}

/// An archive whose manifest was read, and nothing behind it.
pub struct Archive<R: Read> {
    from: MultiGzDecoder<R>,
    manifest: Manifest,
}

impl<R: Read> Archive<R> {
    pub fn open(from: R) -> Result<Self, Refused> {
        let mut from = MultiGzDecoder::new(from);
        let mut block: Block = [0; BLOCK];
        let no = Refused::NoBackup;
        from.read_exact(&mut block).map_err(|_| no("it is not packed by gzip, or has no bytes"))?;
        let head = tar::read(&block, manifest::NAME, MODE);
        let (size, time) = head.ok_or(no("it does not begin with a manifest"))?;
        if size > MANIFEST_MAX {
            return Err(no("its manifest is longer than any"));
        }
        let mut bytes = Vec::new();
        let cut = |source| Refused::Unreadable { name: manifest::NAME.to_owned(), source };
        (&mut from).take(size).read_to_end(&mut bytes).map_err(cut)?;
        if bytes.len() as u64 != size {
            return Err(cut(io::ErrorKind::UnexpectedEof.into()));
        }
        zeros(&mut from, tar::padding(size), manifest::NAME)?;
        let manifest = Manifest::read(&bytes)?;
        if seconds(manifest.made) != time {
            return Err(no("its manifest is of another time than it says"));
        }
        Ok(Self { from, manifest })
    }

    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Hands every file over. Each is exactly what the manifest says, none is missing, and nothing else is there:
    /// else it is an error, and what was handed over by then is worth nothing.
    pub fn unpack<T: Target>(mut self, into: &mut T) -> Result<Manifest, T::Error> {
        let mut chunk = vec![0; CHUNK];
        for file in self.manifest.files() {
            let damaged = |what| Refused::Damaged { name: file.name.clone(), what };
            let place = place_of(&file.name).ok_or(damaged("it has no place"));
            let place = place.map_err(|why| into.refused(why))?;
            let mut block: Block = [0; BLOCK];
            read(&mut self.from, &mut block, file).map_err(|why| into.refused(why))?;
            if head_of(&file.name, file.size, place, self.manifest.made) != Some(block) {
                return Err(
                    into.refused(damaged("it does not come where the manifest says, or is another kind of file"))
                );
            }
            let (mut to, mut hash, mut left) = (into.open(file, place)?, Context::new(&SHA256), file.size);
            while left > 0 {
                let wanted = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
                let bytes = chunk.get_mut(..wanted).unwrap_or_default();
                read(&mut self.from, bytes, file).map_err(|why| into.refused(why))?;
                hash.update(bytes);
                to.write_all(bytes).map_err(|error| into.unwritten(file, error))?;
                left -= wanted as u64;
            }
            if !sha256(hash).is_printed_as(&file.sha256) {
                return Err(into.refused(damaged("its bytes are not those of the manifest")));
            }
            zeros(&mut self.from, tar::padding(file.size), &file.name).map_err(|why| into.refused(why))?;
            into.close(file, to)?;
        }
        self.ends().map_err(|why| into.refused(why))?;
        Ok(self.manifest)
    }

    fn ends(&mut self) -> Result<(), Refused> {
        const NAME: &str = "the end";
        zeros(&mut self.from, tar::END.len(), NAME)?;
        let mut more = [0];
        match self.from.read(&mut more) {
            Ok(0) => Ok(()),
            Ok(_) => Err(Refused::Damaged { name: NAME.to_owned(), what: "more follows than the manifest names" }),
            Err(source) => Err(Refused::Unreadable { name: NAME.to_owned(), source }),
        }
    }
}

fn head_of(name: &str, size: u64, place: Place, made: Timestamp) -> Option<Block> {
    let mode = match place.readers {
        Readers::Owner => 0o600,
        Readers::Everyone => 0o644,
    };
    tar::header(name, size, mode, seconds(made))
}

fn read(from: &mut impl Read, bytes: &mut [u8], file: &Listed) -> Result<(), Refused> {
    from.read_exact(bytes).map_err(|source| Refused::Unreadable { name: file.name.clone(), source })
}

fn zeros(from: &mut impl Read, count: usize, name: &str) -> Result<(), Refused> {
    let mut bytes = vec![0; count];
    from.read_exact(&mut bytes).map_err(|source| Refused::Unreadable { name: name.to_owned(), source })?;
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    Err(Refused::Damaged { name: name.to_owned(), what: "something stands behind it" })
}

fn seconds(made: Timestamp) -> u64 {
    made.seconds().max(0).unsigned_abs()
}

fn sha256(hash: Context) -> Sha256 {
    // INVARIANT: a digest of SHA-256 has 32 bytes.
    Sha256::read(hash.finish().as_ref()).unwrap_or_else(|| Sha256::of(&[]))
}
