//! Bringing a backup back: unpacked beside its place, verified, and given its name in one step. The types follow
//! each other: only what was checked has a way to its place.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::archive::{Archive, Refused, Target};
use super::layout::{LOG_KEYS, Place};
use super::manifest::{Listed, Manifest};
use super::scratch::Scratch;
use super::verify::{LogFound, Logs, verify};
use super::{BackupError, Tell};
use crate::audit::trust::Kept;
use crate::durable::{self, Readers};
use crate::evidence::log::LogKeys;
use crate::model::time::Timestamp;

const BUFFER: usize = 1 << 20;
const MIB: u64 = 1 << 20;

/// The files of an archive on the disk, each as the manifest says.
pub struct Unpacked {
    manifest: Manifest,
    scratch: Scratch,
    dir: PathBuf,
}

/// Its logs are what was signed.
pub struct Checked {
    unpacked: Unpacked,
    logs: Logs,
}

/// What is in its place now.
pub struct Restored {
    pub manifest: Manifest,
    pub logs: Vec<LogFound>,
    /// What holds the last log, below the directory.
    pub held: Option<PathBuf>,
}

impl Unpacked {
    /// Unpacks beside the directory that is to be restored, which is not there or empty.
    pub fn beside(archive: &Path, data: &Path, now: Timestamp, tell: Tell<'_>) -> Result<Self, BackupError> {
        let opened = open(archive)?;
        let made = opened.manifest().made;
        // In whole seconds, as tokens are told from each other.
        if made.seconds() > now.seconds() {
            return Err(BackupError::Clock { now, made });
        }
        Self::unpack(opened, archive, Scratch::beside(&place(data)?, "restore")?, true, tell)
    }

    /// Unpacks to look at it alone, in a new directory in `temporary`. Private keys are compared and not written.
    pub fn to_check(archive: &Path, temporary: &Path, tell: Tell<'_>) -> Result<Self, BackupError> {
        let opened = open(archive)?;
        Self::unpack(opened, archive, Scratch::beside(&temporary.join("permyx"), "check")?, false, tell)
    }

    fn unpack(
        opened: Archive<BufReader<File>>,
        archive: &Path,
        scratch: Scratch,
        keys: bool,
        tell: Tell<'_>,
    ) -> Result<Self, BackupError> {
        let dir = scratch.file("data");
        make_dir(&dir)?;
        let all = opened.manifest().bytes() / MIB;
        let manifest = opened.unpack(&mut Disk { archive, dir: &dir, keys, done: 0, all, tell })?;
        Ok(Self { manifest, scratch, dir })
    }

    /// Verifies its logs, also against checkpoints that somebody kept.
    pub fn check(self, kept: &[Kept], tell: Tell<'_>) -> Result<Checked, BackupError> {
        let logs = verify(&self.dir, kept, tell)?;
        Ok(Checked { unpacked: self, logs })
    }
}

impl Checked {
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.unpacked.manifest
    }

    /// The oldest first.
    #[must_use]
    pub fn logs(&self) -> &[LogFound] {
        &self.logs.all
    }

    /// Gives it its place. Its log is held unless it is said to go on: a backup cannot know what was signed after it,
    /// and whoever keeps a checkpoint of that would see two histories.
    pub fn restore(self, data: &Path, goes_on: bool) -> Result<Restored, BackupError> {
        let Self { unpacked: Unpacked { manifest, scratch, dir }, logs: Logs { all, current } } = self;
        let mut held = None;
        if let Some(year) = current.filter(|_| dir.join(LOG_KEYS).exists()) {
            let keys = LogKeys::existing(&dir)?;
            if goes_on {
                // It may have been held when it was taken.
                keys.let_go(year)?;
            } else {
                let last = all.iter().find(|log| log.year == year);
                let file = keys.hold(year, last.map(|log| &log.note))?;
                held = file.strip_prefix(&dir).ok().map(Path::to_owned);
            }
        }
        let data = place(data)?;
        let owner = data.metadata().ok();
        flush(&dir, owner.as_ref().map(|owner| (owner.uid(), owner.gid())))?;
        if let Some(owner) = owner {
            let mode = std::fs::Permissions::from_mode(owner.mode() & 0o7777);
            std::fs::set_permissions(&dir, mode).map_err(BackupError::io("change", &dir))?;
        }
        durable::rename(&dir, &data)?;
        drop(scratch);
        Ok(Restored { manifest, logs: all, held })
    }
}

fn open(archive: &Path) -> Result<Archive<BufReader<File>>, BackupError> {
    let file = File::open(archive).map_err(BackupError::io("read", archive))?;
    let refused = |source| BackupError::Refused { path: archive.to_owned(), source };
    Archive::open(BufReader::with_capacity(BUFFER, file)).map_err(refused)
}

/// Where it goes: nothing is there, or an empty directory.
fn place(data: &Path) -> Result<PathBuf, BackupError> {
    let occupied = || BackupError::NotEmpty(data.to_owned());
    if data.symlink_metadata().is_err() {
        return if data.file_name().is_some() { Ok(data.to_owned()) } else { Err(occupied()) };
    }
    // A link to a directory, and `.`, are replaced where they lead to.
    let whole = data.canonicalize().map_err(|_| occupied())?;
    let mut inside = std::fs::read_dir(&whole).map_err(|_| occupied())?;
    if inside.next().is_some() || whole.file_name().is_none() {
        return Err(occupied());
    }
    let device = |path: &Path| path.metadata().map(|found| found.dev()).ok();
    if whole.parent().and_then(device) == device(&whole) {
        Ok(whole)
    } else {
        Err(BackupError::Mounted(data.to_owned()))
    }
}

/// Files as they come out of an archive.
struct Disk<'a, 't> {
    archive: &'a Path,
    dir: &'a Path,
    /// Whether private keys are written.
    keys: bool,
    done: u64,
    all: u64,
    tell: Tell<'t>,
}

impl Target for Disk<'_, '_> {
    type File = Box<dyn Write>;
    type Error = BackupError;

    fn open(&mut self, file: &Listed, place: Place) -> Result<Self::File, BackupError> {
        if place.private && !self.keys {
            return Ok(Box::new(io::sink()));
        }
        let path = self.dir.join(&file.name);
        if let Some(parent) = path.parent().filter(|parent| !parent.exists()) {
            make_dir(parent)?;
        }
        let mode = if place.readers == Readers::Owner { 0o600 } else { 0o644 };
        let new = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
        Ok(Box::new(new.map_err(BackupError::io("make", path))?))
    }

    fn close(&mut self, file: &Listed, _whole: Self::File) -> Result<(), BackupError> {
        self.done += file.size;
        (self.tell)(self.done / MIB, self.all, "MiB are unpacked");
        Ok(())
    }

    fn unwritten(&self, file: &Listed, error: io::Error) -> BackupError {
        BackupError::io("write", self.dir.join(&file.name))(error)
    }

    fn refused(&self, source: Refused) -> BackupError {
        BackupError::Refused { path: self.archive.to_owned(), source }
    }
}

/// For its owner alone, but what a web server may show.
fn make_dir(path: &Path) -> Result<(), BackupError> {
    let shown = path.components().any(|part| part.as_os_str() == "tile");
    let mode = if shown { 0o755 } else { 0o700 };
    let made = DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(BackupError::io("make", path))
}

/// Brings everything to the disk, files before the directories that name them, and gives it to its owner.
fn flush(dir: &Path, owner: Option<(u32, u32)>) -> Result<(), BackupError> {
    let failed = |source| BackupError::io("flush", dir)(source);
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            flush(&path, owner)?;
        } else {
            File::open(&path).and_then(|file| file.sync_all()).map_err(BackupError::io("flush", &path))?;
            give(&path, owner)?;
        }
    }
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
    give(dir, owner)
}

fn give(path: &Path, owner: Option<(u32, u32)>) -> Result<(), BackupError> {
    let Some((user, group)) = owner else { return Ok(()) };
    let is_theirs = path.metadata().is_ok_and(|found| (found.uid(), found.gid()) == (user, group));
    if is_theirs {
        return Ok(());
    }
    chown(path, Some(user), Some(group)).map_err(BackupError::io("give to its owner", path))
}
