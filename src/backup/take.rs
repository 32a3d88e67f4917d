//! Taking a backup: parts in their order, one archive, and its name last of all.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::archive::{Body, NotAdded, front};
use super::gather::{Content, Gathered, Log, Moved, Piece};
use super::layout::place_of;
use super::manifest::Manifest;
use super::scratch::Scratch;
use super::{BackupError, Tell};
use crate::durable;
use crate::model::time::Timestamp;

const BUFFER: usize = 1 << 20;

/// What is to be taken.
pub struct Wanted<'a> {
    pub data: &'a Path,
    /// The new file.
    pub output: &'a Path,
    /// Private keys too.
    pub keys: bool,
    /// The version of this program, and the time.
    pub version: &'a str,
    pub now: Timestamp,
}

/// What was taken.
pub struct Taken {
    pub manifest: Manifest,
    /// Bytes of the archive.
    pub bytes: u64,
    pub logs: Vec<Log>,
    pub left_out: Vec<String>,
}

/// Takes a backup. On return it is on the disk under its name.
pub fn take(wanted: &Wanted<'_>, tell: Tell<'_>) -> Result<Taken, BackupError> {
    let Wanted { data, output, keys, version, now } = *wanted;
    must_be_new(output)?;
    let moved = Moved::take(data)?;
    let scratch = Scratch::beside(output, "backup")?;
    let Gathered { logs, pieces, left_out } = moved.then_rest(&scratch.file("store"), keys, tell)?;
    if pieces.is_empty() {
        return Err(BackupError::NothingThere(data.to_owned()));
    }
    let packed = scratch.file("files");
    let mut body = Body::begin(BufWriter::with_capacity(BUFFER, new(&packed)?), now);
    let all = pieces.len() as u64;
    for (done, piece) in (1..).zip(pieces) {
        add(&mut body, piece, &packed)?;
        tell(done, all, "files are packed");
    }
    let (out, files) = body.end().map_err(BackupError::io("write", &packed))?;
    let body = out.into_inner().map_err(|error| BackupError::io("write", &packed)(error.into_error()))?;
    let manifest = Manifest::new(version, now, keys, files);
    let whole = scratch.file("whole");
    let bytes = join(&manifest, body, &whole).map_err(BackupError::io("write", &whole))?;
    // Long work: somebody else may have taken the name.
    must_be_new(output)?;
    durable::rename(&whole, output)?;
    Ok(Taken { manifest, bytes, logs, left_out })
}

fn must_be_new(path: &Path) -> Result<(), BackupError> {
    if path.symlink_metadata().is_ok() { Err(BackupError::IsThere(path.to_owned())) } else { Ok(()) }
}

fn new(path: &Path) -> Result<File, BackupError> {
    let new = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path);
    new.map_err(BackupError::io("make", path))
}

fn add(body: &mut Body<impl Write>, Piece { name, content }: Piece, to: &Path) -> Result<(), BackupError> {
    let (added, from) = match content {
        Content::Bytes(bytes) => (body.add(&name, bytes.len() as u64, &mut bytes.as_slice()), None),
        Content::Held(mut file, size) => (body.add(&name, size, &mut file), None),
        Content::Path(path) => {
            let opened = File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
            let (size, mut file) = match opened {
                Ok(opened) => opened,
                // A key that retired, a policy that was taken away: it is not there.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !name.starts_with("log/") => return Ok(()),
                Err(error) => return Err(BackupError::io("read", path)(error)),
            };
            if place_of(&name).is_none_or(|place| size > place.max) {
                return Err(BackupError::io("take", path)(io::ErrorKind::FileTooLarge.into()));
            }
            (body.add(&name, size, &mut file), Some(path))
        }
    };
    added.map_err(|why| match why {
        NotAdded::Short | NotAdded::NoPlace => BackupError::Changed(name.clone()),
        NotAdded::Unread(source) => BackupError::io("read", from.unwrap_or_else(|| name.clone().into()))(source),
        NotAdded::Unwritten(source) => BackupError::io("write", to)(source),
    })
}

/// The manifest, and behind it what was packed. It is on the disk then.
fn join(manifest: &Manifest, mut body: File, path: &Path) -> io::Result<u64> {
    let mut whole = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let front = front(manifest)?;
    whole.write_all(&front)?;
    body.rewind()?;
    let copied = io::copy(&mut body, &mut whole)?;
    whole.sync_all()?;
    Ok(front.len() as u64 + copied)
}
