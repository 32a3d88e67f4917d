//! A library that is loaded into a program before libc, and the numbers that tell it what to do: they
//! are changed while the program runs.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

use crate::support::dir::TempDir;
use crate::support::repository;

/// What was compiled, by name.
static BUILT: Mutex<BTreeMap<&str, PathBuf>> = Mutex::new(BTreeMap::new());

pub struct Shim {
    library: PathBuf,
    name: &'static str,
    dir: TempDir,
    file: File,
}

impl Shim {
    /// That of `tests/faults/NAME.c`, with so many numbers that are all 0.
    pub fn of(name: &'static str, numbers: usize) -> Self {
        let (library, dir) = (compiled(name), TempDir::new());
        let path = dir.write("numbers", "");
        let file = File::options().read(true).write(true).open(path).unwrap();
        file.write_all_at(&vec![0; numbers * size_of::<i64>()], 0).unwrap();
        Self { library, name, dir, file }
    }

    /// What a program is started by way of.
    pub fn via(&self) -> Vec<String> {
        let (file, variable) = (self.dir.path().join("numbers"), format!("FAULTS_{}", self.name.to_uppercase()));
        ["env".to_owned(), format!("LD_PRELOAD={}", self.library.display()), format!("{variable}={}", file.display())]
            .into()
    }

    pub fn set(&self, number: usize, value: i64) {
        self.file.write_all_at(&value.to_ne_bytes(), at(number)).unwrap();
    }

    pub fn get(&self, number: usize) -> i64 {
        let mut bytes = [0; size_of::<i64>()];
        self.file.read_exact_at(&mut bytes, at(number)).unwrap();
        i64::from_ne_bytes(bytes)
    }
}

fn at(number: usize) -> u64 {
    (number * size_of::<i64>()) as u64
}

/// Compiled once.
fn compiled(name: &'static str) -> PathBuf {
    let build = || {
        let built = repository().join("target").join(format!("faults-{name}-{}.so", std::process::id()));
        let source = repository().join("tests/faults").join(format!("{name}.c"));
        let mut gcc = Command::new("gcc");
        let done = gcc.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&built).arg(source).arg("-ldl").status();
        assert!(done.expect("gcc is there: apt-get install gcc").success());
        built
    };
    BUILT.lock().unwrap().entry(name).or_insert_with(build).clone()
}

/// Removes what was compiled; who needs it again compiles it again.
pub fn clean() {
    for built in std::mem::take(&mut *BUILT.lock().unwrap()).values() {
        let _ = std::fs::remove_file(built);
    }
}
