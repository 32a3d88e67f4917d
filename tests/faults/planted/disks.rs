//! A disk on which nothing fails would make its cells pass.

use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use crate::disk::{DiskOf, Ill};
use crate::support::dir::TempDir;

const LATE: Duration = Duration::from_millis(120);
/// Within the directory that is on the disk, and beside it.
const ON: &str = "data/spool/file";
const BESIDE: &str = "data/spools";

/// Runs this as a program that uses the disk, in this directory.
fn run(disk: &DiskOf, dir: &Path, words: &[&str]) -> ExitStatus {
    let via = disk.via();
    let mut command = Command::new(&via[0]);
    command.args(&via[1..]).args(words).current_dir(dir).stderr(std::process::Stdio::null()).status().unwrap()
}

/// Appends to a file in one write.
fn append(disk: &DiskOf, dir: &Path, file: &str, text: &str) -> bool {
    run(disk, dir, &["sh", "-c", "printf %s \"$1\" >> \"$2\"", "sh", text, file]).success()
}

fn place() -> TempDir {
    let dir = TempDir::new();
    dir.write(ON, "");
    dir
}

fn content(dir: &TempDir) -> String {
    std::fs::read_to_string(dir.path().join(ON)).unwrap()
}

#[test]
fn a_full_disk_takes_what_has_room() {
    let (disk, dir) = (DiskOf::new(), place());
    assert!(append(&disk, dir.path(), ON, "well "));
    disk.set(Ill::Full { room: 3 });
    append(&disk, dir.path(), ON, "hello");
    assert_eq!(content(&dir), "well hel");
    assert!(!append(&disk, dir.path(), ON, "more"));
    assert!(append(&disk, dir.path(), BESIDE, "more"));
    assert!(disk.met() >= 2);
    disk.heal();
    assert!(append(&disk, dir.path(), ON, "lo"));
    assert_eq!(content(&dir), "well hello");
}

#[test]
fn a_read_only_disk_is_read() {
    let (disk, dir) = (DiskOf::new(), place());
    assert!(append(&disk, dir.path(), ON, "hello"));
    disk.set(Ill::ReadOnly);
    assert!(run(&disk, dir.path(), &["cat", ON]).success());
    assert_eq!(disk.met(), 0);
    for refused in [["sh", "-c", "> data/spool/new"], ["sh", "-c", "echo >> data/spool/file"], ["truncate", "-s0", ON]]
    {
        assert!(!run(&disk, dir.path(), &refused).success(), "{refused:?}");
    }
    assert_eq!((disk.met(), content(&dir).as_str()), (3, "hello"));
    assert!(append(&disk, dir.path(), BESIDE, "more"));
}

#[test]
fn a_disk_may_be_late_or_never_there() {
    let (disk, dir) = (DiskOf::new(), place());
    disk.set(Ill::SyncSlow(LATE));
    for how in [["sync", ON].as_slice(), &["sync", "-d", ON]] {
        let started = Instant::now();
        assert!(run(&disk, dir.path(), how).success());
        assert!(started.elapsed() >= LATE, "{how:?}");
    }
    disk.heal();
    disk.set(Ill::SyncFails);
    assert!(!run(&disk, dir.path(), &["sync", "-d", ON]).success());
    assert!(run(&disk, dir.path(), &["sync", "data"]).success());
    disk.heal();
    assert!(run(&disk, dir.path(), &["sync", "-d", ON]).success());
    assert_eq!(disk.met(), 3);
}
