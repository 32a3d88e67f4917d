//! Room on the disk for a segment, taken in one piece. To a file that grows bit by bit, nobody can write while its new
//! blocks are joined to the old ones (ext4: 1 to 5 ms at nearly every sync). Where none is given, each write finds its own.

use std::fs::File;
use std::io;

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};

/// A disk with room for fewer segments than this keeps it for whoever needs it at once.
const SEGMENTS_FREE: u64 = 8;

/// Takes room for the first so many bytes, written or not. False where the disk gave a part of it at most: what it gave is
/// to be given back.
#[must_use]
pub fn take(file: &File, bytes: u64) -> bool {
    !has_plenty(file, bytes) || fallocate(file, FallocateFlags::KEEP_SIZE, 0, bytes).is_ok()
}

/// Gives back what is not used. Nobody may write meanwhile. Where it fails the disk has less room, and nothing else happens.
pub fn give_back(file: &File) {
    let _ = file.metadata().and_then(|found| file.set_len(found.len()));
}

fn has_plenty(file: &File, bytes: u64) -> bool {
    let free = fstatvfs(file).map_err(io::Error::from).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    free.is_ok_and(|free| free / SEGMENTS_FREE > bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_disk_with_little_room_keeps_it() {
        let file = tempfile::tempfile().unwrap();
        let taken = || file.metadata().unwrap().blocks();
        let free = fstatvfs(&file).map(|disk| disk.f_bavail * disk.f_frsize).unwrap();
        assert!(take(&file, free / SEGMENTS_FREE + 1));
        assert_eq!(taken(), 0);
        assert!(take(&file, 1 << 16));
        assert!(512 * taken() >= 1 << 16);
        give_back(&file);
        assert_eq!((taken(), file.metadata().unwrap().len()), (0, 0));
    }
}
