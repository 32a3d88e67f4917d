//! The parts of a data directory, in the order in which they are taken while the program runs on it. Events go
//!
//! ```text
//! spool → store → tiles → what was signed (log-keys/signed-…) → what is shown (checkpoint)
//! ```
//!
//! and what is taken first is oldest. So the order is the other way round: each part is at least as new as all that
//! it is needed for.
//!
//! 1. *Checkpoints*, with the right edge of their tiles. A full tile never changes, so those can be read at any time.
//! 2. *The store*, one moment of it. It holds all that is signed in 1; a store that holds less is one that was set
//!    back, and its log would not be continued.
//! 3. *The spool*, up to its end. It holds all that the store does, so that no number is given twice; what the store
//!    does not have yet comes from there after a restore. Its reader may release segments while the store is copied,
//!    so they are held open since before 2.
//! 4. *Keys, revocations, policies, catalogs*. A key that signed in 1 is among them, and what was revoked until now
//!    stays revoked.
//!
//! Each step is a type that only the step before it makes. How far orders were judged is taken before 2: a place
//! behind the end of the store would be passed over in silence.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::layout::{DIRECTORIES, LOG_KEYS, RECONCILED, STORE, is_scratch, place_of, year_of};
use super::{BackupError, Tell};
use crate::audit::source::{Directory, Moment, Source};
use crate::evidence::{Held, Snapshot};
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::note::{NOTE_MAX, Note};
use crate::tlog::tile::tiles;

/// How often parts that move are looked at again until they fit each other.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(20);
/// Largest edge of one kind: entries, all as long as can be.
const EDGE_MAX: usize = 255 * (2 + 0xFFFF);
const MIB: u64 = 1 << 20;

/// One file of a backup.
pub struct Piece {
    pub name: String,
    pub content: Content,
}

impl Piece {
    fn is(&self, bytes: &[u8]) -> bool {
        matches!(&self.content, Content::Bytes(ours) if ours == bytes)
    }
}

pub enum Content {
    Bytes(Vec<u8>),
    /// The first so many bytes.
    Held(File, u64),
    /// It does not change, or only whole: opened when it is its turn.
    Path(PathBuf),
}

/// What a log has signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Log {
    pub year: u16,
    pub checkpoint: Checkpoint,
}

/// Step 1: what is signed.
struct Signed<'d> {
    data: &'d Path,
    logs: Vec<Log>,
    pieces: Vec<Piece>,
}

/// Steps 1 to 3, all of one moment.
pub struct Moved<'d> {
    signed: Signed<'d>,
    store: Option<Snapshot>,
}

/// All steps.
pub struct Gathered {
    pub logs: Vec<Log>,
    /// In the order of their names.
    pub pieces: Vec<Piece>,
    /// What is in the directory and not in the backup: what nobody here knows, and private keys if they are not wanted.
    pub left_out: Vec<String>,
}

impl<'d> Signed<'d> {
    fn read(data: &'d Path) -> Result<Self, BackupError> {
        let mut signed = Self { data, logs: Vec::new(), pieces: Vec::new() };
        for name in names(&data.join("log"))? {
            if let Some(year) = year_of(&name) {
                signed.log(year)?;
            }
        }
        // Of a log that was moved away, or is not shown yet: it says what must not be signed again.
        for name in names(&data.join("log-keys"))?.into_iter().filter(|name| name.starts_with("signed-")) {
            let name = format!("log-keys/{name}");
            if place_of(&name).is_some() && !signed.pieces.iter().any(|piece| piece.name == name) {
                signed.pieces.extend(small(data, &name)?);
            }
        }
        Ok(signed)
    }

    fn log(&mut self, year: u16) -> Result<(), BackupError> {
        for again in (0..TRIES).rev() {
            if self.looked_at(year, again == 0)? {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
        Err(BackupError::Changed(format!("log/{year}")))
    }

    /// False where it is published just now. What is signed is remembered just before it is shown; where the two
    /// stay apart, both are kept as they are.
    fn looked_at(&mut self, year: u16, apart: bool) -> Result<bool, BackupError> {
        let root = self.data.join("log").join(year.to_string());
        let (directory, named) = (Directory(root.clone()), |file: &str| format!("log/{year}/{file}"));
        let remembered = small(self.data, &format!("log-keys/signed-{year}"))?;
        let moment = Moment::of(&directory);
        let read = |file: &str, max| moment.read(file, max).map_err(BackupError::io("read", root.join(file)));
        let Some(shown) = read("checkpoint", NOTE_MAX)? else { return Ok(true) };
        if !apart && remembered.as_ref().is_some_and(|piece| !piece.is(&shown)) {
            return Ok(false);
        }
        let claimed = Note::parse(&shown).ok().and_then(|note| Checkpoint::claimed(&note));
        let strange = || BackupError::NotSigned(format!("`{}` is no checkpoint", named("checkpoint")));
        let checkpoint = claimed.ok_or_else(strange)?;
        let mut pieces = Vec::new();
        for tile in tiles(checkpoint.size) {
            let file = tile.to_string();
            let name = named(&file);
            if tile.is_full() {
                pieces.push(Piece { name, content: Content::Path(root.join(file)) });
            } else {
                let Some(bytes) = read(&file, EDGE_MAX)? else { return Ok(false) };
                pieces.push(Piece { name, content: Content::Bytes(bytes) });
            }
        }
        self.pieces.append(&mut pieces);
        self.pieces.push(Piece { name: named("checkpoint"), content: Content::Bytes(shown) });
        self.pieces.extend(remembered);
        self.logs.push(Log { year, checkpoint });
        Ok(true)
    }

    /// Whether the logs that are over are signed to their end: a year may have turned just now.
    fn is_whole_in(&self, store: &Snapshot) -> Result<bool, BackupError> {
        let all = store.logs()?;
        let is_whole = |log: &Log| {
            let first = |n: usize| all.get(n).map(|log| log.first);
            let at = all.iter().position(|kept| kept.year == log.year);
            let ends = at.and_then(|at| first(at + 1)?.checked_sub(first(at)?));
            ends.is_none_or(|leaves| log.checkpoint.size >= leaves)
        };
        Ok(self.logs.iter().all(is_whole))
    }
}

impl<'d> Moved<'d> {
    /// Takes what moves, all of one moment.
    pub fn take(data: &'d Path) -> Result<Self, BackupError> {
        let (spool, store) = (data.join("spool"), data.join(STORE));
        let unread = |source| BackupError::io("read", &spool)(source);
        for again in (0..TRIES).rev() {
            let mut signed = Signed::read(data)?;
            signed.pieces.extend(small(data, RECONCILED)?);
            let held = if spool.is_dir() { Some(Held::open(&spool).map_err(unread)?) } else { None };
            let store = if store.exists() { Some(Snapshot::hold(&store)?) } else { None };
            // Logs that stay behind are what the directory is like; only for time that passes it is waited.
            let is_whole = match &store {
                Some(store) if again > 0 => signed.is_whole_in(store)?,
                _ => true,
            };
            let Some(mut held) = held else { return Ok(Self { signed, store }) };
            if held.renew().map_err(unread)? && is_whole {
                let segments = held.segments().map_err(unread)?.into_iter();
                let piece =
                    |(name, file, bytes)| Piece { name: format!("spool/{name}"), content: Content::Held(file, bytes) };
                signed.pieces.extend(segments.map(piece));
                return Ok(Self { signed, store });
            }
            std::thread::sleep(PAUSE);
        }
        Err(BackupError::Changed("spool".to_owned()))
    }

    /// Copies the store to `scratch`, and takes the rest.
    pub fn then_rest(mut self, scratch: &Path, keys: bool, tell: Tell<'_>) -> Result<Gathered, BackupError> {
        if let Some(store) = self.store.take() {
            store.copy_to(scratch, &mut |done, all| tell(done / MIB, all / MIB, "MiB of the store are copied"))?;
            let copy = File::open(scratch).map_err(BackupError::io("open", scratch))?;
            let bytes = copy.metadata().map_err(BackupError::io("open", scratch))?.len();
            self.signed.pieces.push(Piece { name: STORE.to_owned(), content: Content::Held(copy, bytes) });
        }
        let Signed { data, logs, mut pieces } = self.signed;
        let mut left_out = Vec::new();
        let keyed = settled(data)?;
        for name in all_names(data)? {
            match place_of(&name) {
                _ if is_moving(&name) => {}
                None => left_out.push(name),
                Some(place) if place.private && !keys => left_out.push(name),
                Some(_) if is_keyed(&name) => {}
                Some(_) => {
                    let content = Content::Path(data.join(&name));
                    pieces.push(Piece { name, content });
                }
            }
        }
        pieces.extend(
            keyed.into_iter().filter(|piece| keys || place_of(&piece.name).is_some_and(|place| !place.private)),
        );
        pieces.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(Gathered { logs, pieces, left_out })
    }
}

/// Taken in steps 1 to 3, or left there: what came since belongs to a later moment.
fn is_moving(name: &str) -> bool {
    let spooled = name.starts_with("spool/") && name.ends_with(".spool");
    spooled || name == STORE || name == RECONCILED || name.starts_with("log-keys/signed-")
}

/// A list of keys, and the keys that it names: they fit each other.
fn is_keyed(name: &str) -> bool {
    (name.starts_with("keys/") || name.starts_with("log-keys/")) && !is_moving(name)
}

/// The keys, seen twice the same: a rotation writes several files.
fn settled(data: &Path) -> Result<Vec<Piece>, BackupError> {
    let look = || -> Result<Vec<Piece>, BackupError> {
        let mut found = Vec::new();
        for dir in ["keys", "log-keys"] {
            for name in names(&data.join(dir))? {
                let name = format!("{dir}/{name}");
                if is_keyed(&name) && place_of(&name).is_some() {
                    found.extend(small(data, &name)?);
                }
            }
        }
        Ok(found)
    };
    let bytes = |piece: &Piece| match &piece.content {
        Content::Bytes(bytes) => (piece.name.clone(), bytes.clone()),
        Content::Held(..) | Content::Path(_) => (piece.name.clone(), Vec::new()),
    };
    let mut before = look()?;
    for _ in 0..TRIES {
        let now = look()?;
        if now.iter().map(bytes).eq(before.iter().map(bytes)) {
            return Ok(now);
        }
        before = now;
    }
    Err(BackupError::Changed(LOG_KEYS.to_owned()))
}

/// A file that is replaced whole; none, where it is not there.
fn small(data: &Path, name: &str) -> Result<Option<Piece>, BackupError> {
    let path = data.join(name);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(Piece { name: name.to_owned(), content: Content::Bytes(bytes) })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BackupError::io("read", path)(error)),
    }
}

/// Every file that may belong to the directory, and each that does not. Of a log only the years are looked at:
/// its checkpoint names its files.
fn all_names(data: &Path) -> Result<Vec<String>, BackupError> {
    let mut all = Vec::new();
    for name in names(data)? {
        let is_dir = data.join(&name).is_dir();
        if !is_dir {
            all.push(name);
        } else if DIRECTORIES.contains(&name.as_str()) {
            let inside = names(&data.join(&name))?.into_iter();
            all.extend(inside.map(|file| format!("{name}/{file}")));
        } else if name == "log" {
            let strange = names(&data.join("log"))?.into_iter().filter(|year| year_of(year).is_none());
            all.extend(strange.map(|year| format!("log/{year}")));
        } else {
            all.push(format!("{name}/"));
        }
    }
    Ok(all)
}

/// What is in a directory, without locks and scratch.
fn names(dir: &Path) -> Result<Vec<String>, BackupError> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(BackupError::io("read", dir))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(BackupError::io("read", dir))?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    names.retain(|name| !is_scratch(name));
    names.sort();
    Ok(names)
}
