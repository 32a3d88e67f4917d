//! A wall clock of its own for one program: it is moved while the program runs, or fails once.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use crate::support::dir::TempDir;
use crate::support::repository;

/// The library that gives a program another clock, compiled once.
static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
    let built = repository().join("target").join(format!("faults-clock-{}.so", std::process::id()));
    let source = repository().join("tests/faults/clock.c");
    let done = Command::new("gcc").args(["-shared", "-fPIC", "-O2", "-o"]).arg(&built).arg(source).arg("-ldl").status();
    assert!(done.expect("gcc compiles the clock: apt-get install gcc").success());
    built
});

pub struct ClockOf {
    dir: TempDir,
    file: File,
}

impl ClockOf {
    pub fn new() -> Self {
        let dir = TempDir::new();
        let path = dir.write("clock", "");
        let file = File::options().write(true).open(path).unwrap();
        file.write_all_at(&[0; 16], 0).unwrap();
        Self { dir, file }
    }

    /// What the program is started by way of.
    pub fn via(&self) -> Vec<String> {
        let file = self.dir.path().join("clock");
        ["env".to_owned(), format!("LD_PRELOAD={}", LIBRARY.display()), format!("FAULTS_CLOCK={}", file.display())]
            .into()
    }

    /// From now on the wall clock is so many seconds ahead.
    pub fn set_ahead(&self, seconds: i64) {
        self.file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    /// The `nth` look at the wall clock from now on fails: whoever looks panics.
    pub fn fail_at(&self, nth: i64) {
        self.file.write_all_at(&nth.to_ne_bytes(), 8).unwrap();
    }
}

/// Removes what was compiled.
pub fn clean() {
    let _ = std::fs::remove_file(&*LIBRARY);
}
