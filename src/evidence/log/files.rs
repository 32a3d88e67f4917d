//! Tiles as files. A tile is written to a neighbour and renamed, so a reader sees all of it or none;
//! many are flushed together, before the checkpoint that names them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::LogError;
use crate::tlog::entries::{self, ENTRY_MAX};
use crate::tlog::hash::Hash;
use crate::tlog::tile::{self, Kind, Tile, WIDTH};

/// Most files that wait for their flush, each of them open.
const WAITING_MAX: usize = 128;
/// Largest tile: a bundle of entries that are all as long as can be.
const TILE_MAX: u64 = WIDTH as u64 * (2 + ENTRY_MAX as u64);

/// Files below one directory that were written and not yet flushed.
pub(super) struct Batch {
    root: PathBuf,
    files: Vec<File>,
    dirs: BTreeSet<PathBuf>,
}

impl Batch {
    pub(super) fn below(root: &Path) -> Self {
        Self { root: root.to_owned(), files: Vec::new(), dirs: BTreeSet::new() }
    }

    /// Writes a tile in the place of the one that may be there.
    pub(super) fn write(&mut self, tile: Tile, bytes: &[u8]) -> Result<(), LogError> {
        let path = self.root.join(tile.to_string());
        self.write_file(&path, bytes).map_err(|source| LogError::Io { doing: "write", path, source })?;
        if self.files.len() >= WAITING_MAX { self.flush() } else { Ok(()) }
    }

    fn write_file(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let dir = path.parent().unwrap_or(&self.root);
        if !self.dirs.contains(dir) {
            std::fs::create_dir_all(dir)?;
            // Which of those above are new is not worth asking: they are few.
            let above = dir.ancestors().take_while(|above| above.starts_with(&self.root));
            self.dirs.extend(above.map(Path::to_owned));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let scratch = path.with_file_name(format!(".{name}.tmp"));
        let mut file = File::create(&scratch)?;
        file.write_all(bytes)?;
        std::fs::rename(&scratch, path)?;
        self.files.push(file);
        Ok(())
    }

    /// On return everything that was written is on the disk.
    pub(super) fn flush(&mut self) -> Result<(), LogError> {
        let flushed = self.files.iter().try_for_each(File::sync_all);
        flushed.map_err(|source| LogError::Io { doing: "flush the tiles of", path: self.root.clone(), source })?;
        self.dirs.iter().try_for_each(|dir| flush_dir(dir))?;
        self.files.clear();
        self.dirs.clear();
        Ok(())
    }
}

/// The bytes of a tile. When the tree has grown, the full tile may stand in its place: it begins
/// with the same bytes.
pub(super) fn read(root: &Path, tile: Tile) -> Result<Vec<u8>, LogError> {
    let path = root.join(tile.to_string());
    if let Some(bytes) = read_file(&path)? {
        return Ok(bytes);
    }
    let full = read_file(&root.join(tile.filled().to_string()))?.ok_or(LogError::Missing(path))?;
    cut(tile, full).ok_or_else(|| LogError::Damaged(root.join(tile.filled().to_string())))
}

/// The hashes of a tile.
pub(super) fn hashes(root: &Path, tile: Tile) -> Result<Vec<Hash>, LogError> {
    let bytes = read(root, tile)?;
    tile::hashes_of(tile, &bytes).ok_or_else(|| LogError::Damaged(root.join(tile.to_string())))
}

/// As much of a full tile as the partial one had.
fn cut(tile: Tile, mut full: Vec<u8>) -> Option<Vec<u8>> {
    let width = usize::from(tile.width());
    let length = match tile.kind() {
        Kind::Hashes(_) => width * Hash::BYTES,
        Kind::Entries => {
            let entries = entries::read(&full, WIDTH)?;
            entries.into_iter().take(width).map(|entry| 2 + entry.len()).sum()
        }
    };
    full.truncate(length);
    Some(full)
}

fn read_file(path: &Path) -> Result<Option<Vec<u8>>, LogError> {
    let failed = |source| LogError::Io { doing: "read", path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(TILE_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > TILE_MAX { Err(LogError::Damaged(path.to_owned())) } else { Ok(Some(bytes)) }
}

/// Takes a partial tile away.
pub(super) fn remove(root: &Path, tile: Tile) -> Result<(), LogError> {
    let path = root.join(tile.to_string());
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(LogError::Io { doing: "remove", path, source }),
        _ => Ok(()),
    }
}

/// Takes all partial tiles away that were forerunners of the full one, also what a crash left.
pub(super) fn remove_forerunners(root: &Path, tile: Tile) -> Result<(), LogError> {
    remove_dir(&root.join(format!("{}.p", tile.filled())))
}

/// Removes a directory with all that is in it; one that is not there is no error.
pub(super) fn remove_dir(path: &Path) -> Result<(), LogError> {
    match std::fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(LogError::Io { doing: "remove", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Makes names that were added to a directory survive a loss of power.
pub(super) fn flush_dir(path: &Path) -> Result<(), LogError> {
    let flushed = File::open(path).and_then(|dir| dir.sync_all());
    flushed.map_err(|source| LogError::Io { doing: "flush", path: path.to_owned(), source })
}
