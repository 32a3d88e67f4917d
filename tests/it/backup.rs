//! `permyx backup` and `permyx restore`: a copy of one moment, taken while purchases come, that proves what it
//! holds; and nothing that a restore could make worse.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use permyx::backup::archive::{Archive, Body, Refused, Target, front};
use permyx::backup::layout::Place;
use permyx::backup::manifest::{Listed, Manifest};
use serde_json::Value;

use crate::support::dir::TempDir;
use crate::support::gateway::MUG;
use crate::support::http::{Answer, exchange, get, post, request};
use crate::support::program::{self, Program};
use crate::support::{PATIENCE, files};

const MERCHANT: &str = "X-API-Key: permyx_merchant_YOUR_KEY";
const POLL: Duration = Duration::from_millis(50);

/// `permyx dev` on a data directory.
pub(crate) struct Dev {
    pub(crate) program: Program,
    pub(crate) data: PathBuf,
}

impl Dev {
    pub(crate) fn start(dir: &Path, data: &str) -> Self {
        let mut args = vec!["dev", "--data", data, "--log", "error"];
        for flag in ["--gateway-listen", "--api-listen", "--merchant-listen", "--ops-listen"] {
            args.extend([flag, "127.0.0.1:0"]);
        }
        Self { program: Program::start(dir, &args), data: dir.join(data) }
    }

    /// A token that is good now: those of the first second are of before the start.
    pub(crate) fn token(&self) -> String {
        let deadline = Instant::now() + PATIENCE;
        let body = crate::support::plane::purchase().to_string();
        loop {
            let answer = post(
                self.program.address("api"),
                "/agents/v1/exec/authorize",
                &["X-API-Key: permyx_agent_YOUR_KEY"],
                &body,
            );
            if answer.status == 200 {
                return answer.json()["executionToken"].as_str().unwrap().to_owned();
            }
            assert!(Instant::now() < deadline, "{}", answer.text());
            std::thread::park_timeout(POLL);
        }
    }

    pub(crate) fn buy(&self, token: Option<&str>, cart: &str) -> Answer {
        let header = token.map(|token| format!("Permyx-Execution-Token: {token}"));
        post(self.program.address("gateway"), "/checkout", header.as_deref().as_slice(), cart)
    }

    pub(crate) fn executed(&self) -> u64 {
        get(self.program.address("merchant"), "/stats").json()["executed"].as_u64().unwrap()
    }

    pub(crate) fn ask(&self, path: &str) -> Answer {
        exchange(self.program.address("api"), request("GET", path, &[MERCHANT, "Accept: text/plain"], "")).unwrap()
    }

    /// The story of an execution, once it tells of this.
    pub(crate) fn timeline_with(&self, id: &str, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let told = self.ask(&format!("/v1/evidence/timeline/{id}"));
            if told.status == 200 && told.text().contains(text) {
                return told.text();
            }
            assert!(Instant::now() < deadline, "no `{text}` in the timeline of {id}: {}", told.text());
            std::thread::park_timeout(POLL);
        }
    }

    /// Waits until so many events are signed, in the log of the newest year.
    pub(crate) fn signed(&self, at_least: u64) -> u64 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let size = newest(&self.data).map_or(0, |log| size_of(&log));
            if size >= at_least {
                return size;
            }
            assert!(Instant::now() < deadline, "{size} of {at_least} events are signed:\n{}", self.program.log());
            std::thread::park_timeout(POLL);
        }
    }

    pub(crate) fn stop(mut self) {
        assert!(self.program.stop().success());
    }
}

/// The directory of the newest log.
pub(crate) fn newest(data: &Path) -> Option<PathBuf> {
    let mut years: Vec<_> = std::fs::read_dir(data.join("log")).ok()?.map(|entry| entry.unwrap().path()).collect();
    years.sort();
    years.pop()
}

pub(crate) fn size_of(log: &Path) -> u64 {
    let note = std::fs::read_to_string(log.join("checkpoint")).unwrap_or_default();
    note.lines().nth(1).and_then(|size| size.parse().ok()).unwrap_or(0)
}

/// What it prints when it succeeds.
#[track_caller]
pub(crate) fn said(dir: &Path, args: &[&str]) -> String {
    let output = program::run(dir, args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// How it fails: the exit code and what it says.
fn failed(dir: &Path, args: &[&str]) -> (i32, String) {
    let Output { status, stderr, .. } = program::run(dir, args);
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}

/// Verifies a log offline, by keys that were listed from `keys`.
#[track_caller]
fn verified(dir: &Path, keys: &str, log: &Path, kept: &Path) {
    let trust = said(dir, &["evidence", "keys", "list", "--data", keys]);
    std::fs::write(dir.join("auditor.keys"), trust).unwrap();
    let (log, kept) = (log.to_str().unwrap(), kept.to_str().unwrap());
    said(
        dir,
        &["evidence", "verify", log, "--trust", "auditor.keys", "--checkpoint", kept, "--require", "consistency,tree"],
    );
}

fn shape(path: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

#[test]
fn a_backup_under_load_holds_all_that_was_answered_before_it_began() {
    let dir = TempDir::new();
    let dev = Dev::start(dir.path(), "data");
    let (answered, stop) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let mut backups = Vec::new();
    std::thread::scope(|threads| {
        let buying = || {
            while !stop.load(Ordering::Relaxed) {
                let bought = dev.buy(Some(&dev.token()), MUG);
                assert_eq!(bought.status, 200, "{}", bought.text());
                answered.lock().unwrap().push(bought.header("permyx-trace").unwrap().to_owned());
            }
        };
        threads.spawn(buying);
        threads.spawn(buying);
        for n in 1..=3 {
            let deadline = Instant::now() + PATIENCE;
            while answered.lock().unwrap().len() < n * 40 {
                assert!(Instant::now() < deadline, "nothing is sold");
                std::thread::park_timeout(POLL);
            }
            let (before, file) = (answered.lock().unwrap().clone(), format!("{n}.tar.gz"));
            let told = said(dir.path(), &["backup", "--data", "data", "-o", &file, "--json"]);
            let told: Value = serde_json::from_str(&told).unwrap();
            assert_eq!((&told["keys"], &told["leftOut"]), (&true.into(), &serde_json::json!([])), "{told}");
            backups.push((file, before));
        }
        stop.store(true, Ordering::Relaxed);
    });
    dev.stop();
    for (n, (file, before)) in backups.iter().enumerate() {
        let good = said(dir.path(), &["restore", "--check", file]);
        assert!(good.contains("good, ") && good.contains("all as they were signed"), "{good}");
        let new = format!("new-{n}");
        let told = said(dir.path(), &["restore", file, "--data", &new, "--continue-log", "--json"]);
        let told: Value = serde_json::from_str(&told).unwrap();
        let (size, log) = (told["logs"][0]["size"].as_u64().unwrap(), newest(&dir.path().join(&new)).unwrap());
        assert_eq!((size, &told["held"]), (size_of(&log), &Value::Null));
        let kept = dir.path().join(format!("kept-{n}"));
        std::fs::copy(log.join("checkpoint"), &kept).unwrap();
        let dev = Dev::start(dir.path(), &new);
        for trace in before {
            dev.timeline_with(trace, "executed once");
        }
        dev.signed(size + 1);
        dev.stop();
        verified(dir.path(), &new, &newest(&dir.path().join(&new)).unwrap(), &kept);
    }
    let left = shape(dir.path());
    assert!(left.iter().all(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.')), "{left:?}");
}

/// A backup that is taken of a restored directory at rest is the same again, and other tools open it.
#[test]
fn what_is_restored_is_what_was_there() {
    let dir = TempDir::new();
    let dev = Dev::start(dir.path(), "data");
    assert_eq!(dev.buy(Some(&dev.token()), MUG).status, 200);
    dev.signed(3);
    dev.stop();
    dir.write("data/notes.txt", "mine");
    let told = said(dir.path(), &["backup", "--data", "data", "-o", "a.tar.gz"]);
    assert!(told.contains("left out  notes.txt\n") && told.contains("private keys are in it"), "{told}");
    said(dir.path(), &["restore", "a.tar.gz", "--data", "new", "--continue-log"]);
    std::fs::remove_file(dir.path().join("data/notes.txt")).unwrap();
    let is_kept = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        !name.ends_with("lock") && !name.ends_with("-wal") && !name.ends_with("-shm") && !name.ends_with(".db")
    };
    let of = |root: &str| -> Vec<_> {
        let root = dir.path().join(root);
        let all = files(&root, "").into_iter().filter(is_kept);
        all.map(|path| (path.strip_prefix(&root).unwrap().to_owned(), std::fs::read(&path).unwrap())).collect()
    };
    assert!(of("data").len() > 10);
    // Partial tiles of the checkpoint before are there for readers of then.
    let restored = of("new");
    assert!(restored.iter().all(|file| of("data").contains(file)));
    let missing: Vec<_> =
        of("data").into_iter().filter(|file| !restored.contains(file)).map(|(path, _)| path).collect();
    assert!(missing.iter().all(|path| path.to_str().unwrap().contains(".p/")), "{missing:?}");

    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &str| std::fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("a.tar.gz"), mode("new"), mode("new/agent-keys.json")), (0o600, 0o700, 0o600));
    let names = "import tarfile, sys; print('\\n'.join(tarfile.open(sys.argv[1]).getnames()))";
    let listed = Command::new("python3").args(["-c", names]).arg(dir.path().join("a.tar.gz")).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(
        listed.starts_with("manifest.json\nagent-keys.json\n") && listed.contains("\nevidence/evidence.db\n"),
        "{listed}"
    );
}

#[test]
fn a_used_token_of_before_is_refused_after_a_restore() {
    let dir = TempDir::new();
    let dev = Dev::start(dir.path(), "data");
    let (used, later, never) = (dev.token(), dev.token(), dev.token());
    assert_eq!(dev.buy(Some(&used), MUG).status, 200);
    said(dir.path(), &["backup", "--data", "data", "-o", "a.tar.gz"]);
    assert_eq!(dev.buy(Some(&later), MUG).status, 200);
    dev.stop();
    said(dir.path(), &["restore", "a.tar.gz", "--data", "new"]);
    let dev = Dev::start(dir.path(), "new");
    // Good until now: what refuses is the start.
    let fresh = dev.token();
    for token in [&used, &later, &never] {
        let answer = dev.buy(Some(token), MUG);
        assert_eq!(answer.json()["reasonCode"], Value::Null, "{}", answer.text());
        assert!(answer.text().contains("LEDGER_QUARANTINE"), "{}", answer.text());
    }
    assert_eq!((dev.executed(), dev.buy(Some(&fresh), MUG).status, dev.executed()), (0, 200, 1));
}

#[test]
fn a_restored_log_is_held_until_somebody_says_that_nothing_was_signed_after_it() {
    let dir = TempDir::new();
    let dev = Dev::start(dir.path(), "data");
    assert_eq!(dev.buy(Some(&dev.token()), MUG).status, 200);
    let size = dev.signed(3);
    said(dir.path(), &["backup", "--data", "data", "-o", "a.tar.gz"]);
    assert_eq!(dev.buy(Some(&dev.token()), MUG).status, 200);
    dev.signed(size + 3);
    dev.stop();
    let newer = newest(&dir.path().join("data")).unwrap().join("checkpoint");
    let newer = newer.to_str().unwrap();
    // Who holds a newer one is told, and nothing is restored over that.
    let before = shape(dir.path());
    let (exit, told) = failed(dir.path(), &["restore", "a.tar.gz", "--data", "new", "--checkpoint", newer]);
    assert!(exit == 1 && told.contains("consistency: ") && told.contains("the tail is cut"), "{exit}: {told}");
    assert_eq!(shape(dir.path()), before);

    let told = said(dir.path(), &["restore", "a.tar.gz", "--data", "new"]);
    let held = told.lines().find_map(|line| line.trim().strip_prefix("if nothing was: rm ")).unwrap().to_owned();
    let dev = Dev::start(dir.path(), "new");
    let signed = size_of(&newest(&dev.data).unwrap());
    dev.timeline_with(dev.buy(Some(&dev.token()), MUG).header("permyx-trace").unwrap(), "executed once");
    let deadline = Instant::now() + PATIENCE;
    while !dev.program.log().contains("a second history is not signed") {
        assert!(Instant::now() < deadline, "{}", dev.program.log());
        std::thread::park_timeout(POLL);
    }
    assert_eq!(size_of(&newest(&dev.data).unwrap()), signed);
    // A backup of it is held too.
    said(dir.path(), &["backup", "--data", "new", "-o", "b.tar.gz"]);
    std::fs::remove_file(dir.path().join(held)).unwrap();
    dev.signed(signed + 3);
    dev.stop();
    said(dir.path(), &["restore", "b.tar.gz", "--data", "again", "--continue-log"]);
    Dev::start(dir.path(), "again").signed(signed + 3);
}

#[test]
fn without_keys_there_are_none_and_the_log_goes_on_by_a_new_one() {
    let dir = TempDir::new();
    let dev = Dev::start(dir.path(), "data");
    assert_eq!(dev.buy(Some(&dev.token()), MUG).status, 200);
    dev.signed(3);
    let told = said(dir.path(), &["backup", "--data", "data", "--without-keys", "-o", "a.tar.gz"]);
    assert!(told.contains("no private keys are in it") && told.contains("left out  keys/keys.json"), "{told}");
    dev.stop();
    let told = said(dir.path(), &["restore", "a.tar.gz", "--data", "new", "--continue-log"]);
    assert!(told.contains("permyx evidence keys rotate --overlap 0s --data new"), "{told}");
    assert!(files(&dir.path().join("new"), ".pem").is_empty() && !dir.path().join("new/keys").exists());
    let kept = dir.path().join("kept");
    let log = newest(&dir.path().join("new")).unwrap();
    std::fs::copy(log.join("checkpoint"), &kept).unwrap();
    said(dir.path(), &["keys", "generate", "--data", "new"]);
    said(dir.path(), &["evidence", "keys", "rotate", "--overlap", "0s", "--data", "new"]);
    let dev = Dev::start(dir.path(), "new");
    assert_eq!(dev.buy(Some(&dev.token()), MUG).status, 200);
    dev.signed(size_of(&kept_log(&kept)) + 3);
    dev.stop();
    verified(dir.path(), "new", &log, &kept);
}

/// A directory whose checkpoint is this file.
fn kept_log(kept: &Path) -> PathBuf {
    let dir = kept.with_extension("log");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::copy(kept, dir.join("checkpoint")).unwrap();
    dir
}

/// The files of an archive in memory, to be changed and packed again.
#[derive(Default)]
struct Memory(Vec<(String, Vec<u8>)>);

impl Target for Memory {
    type File = Vec<u8>;
    type Error = Refused;

    fn open(&mut self, _file: &Listed, _place: Place) -> Result<Vec<u8>, Refused> {
        Ok(Vec::new())
    }

    fn close(&mut self, file: &Listed, whole: Vec<u8>) -> Result<(), Refused> {
        self.0.push((file.name.clone(), whole));
        Ok(())
    }

    fn unwritten(&self, file: &Listed, source: std::io::Error) -> Refused {
        Refused::Unreadable { name: file.name.clone(), source }
    }

    fn refused(&self, why: Refused) -> Refused {
        why
    }
}

/// An archive of other files, which its manifest names rightly.
fn packed_again(archive: &Path, change: impl Fn(&str, &mut Vec<u8>) -> bool) -> Vec<u8> {
    let mut memory = Memory::default();
    let made = Archive::open(std::fs::File::open(archive).unwrap()).unwrap().unpack(&mut memory).unwrap().made;
    let mut body = Body::begin(Vec::new(), made);
    for (name, mut bytes) in memory.0 {
        if change(&name, &mut bytes) {
            body.add(&name, bytes.len() as u64, &mut bytes.as_slice()).unwrap();
        }
    }
    let (packed, listed) = body.end().unwrap();
    [front(&Manifest::new("0.1.0", made, true, listed)).unwrap(), packed].concat()
}

#[test]
fn wrong_files_are_refused_and_leave_nothing() {
    let dir = TempDir::new();
    let dev = Dev::start(dir.path(), "data");
    assert_eq!(dev.buy(Some(&dev.token()), MUG).status, 200);
    dev.signed(4);
    said(dir.path(), &["backup", "--data", "data", "-o", "good.tar.gz"]);
    dev.stop();
    let good = dir.path().join("good.tar.gz");
    let bytes = std::fs::read(&good).unwrap();
    let swapped = |name: &'static str, from: &'static [u8], to: &'static [u8]| {
        packed_again(&good, move |found, bytes| {
            for at in 0..bytes.len() {
                if found.contains(name) && bytes[at..].starts_with(from) {
                    bytes[at..at + to.len()].copy_from_slice(to);
                }
            }
            true
        })
    };
    let without = |name: &'static str| packed_again(&good, move |found, _| !found.contains(name));
    let cases = [
        ("cut", bytes[..bytes.len() / 2].to_vec(), "it is damaged or cut off at"),
        (
            "flipped",
            bytes.iter().enumerate().map(|(n, b)| if n == bytes.len() / 2 { !b } else { *b }).collect(),
            "damaged",
        ),
        ("text", b"no backup".to_vec(), "it is no backup of Permyx"),
        (
            "leaf",
            swapped("tile/entries", b"execution.", b"Execution."),
            "the leaf does not hash to what the tile says of it",
        ),
        ("root", swapped("checkpoint", b"\n\n", b"\n\t"), "is no checkpoint"),
        ("store", swapped("evidence.db", b"specversion", b"Specversion"), "the store holds other events than"),
        ("tile", without("tile/0/"), "tree: "),
        ("keys", without("log-keys/keys.json"), "nothing says whose log it is"),
    ];
    for (name, bytes, _) in &cases {
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    let before = shape(dir.path());
    for (name, _, why) in cases {
        for args in [&["restore", name, "--data", "new"][..], &["restore", "--check", name]] {
            let (exit, told) = failed(dir.path(), args);
            assert!(exit == 1 && told.contains(why), "{name}: {exit} {told}");
        }
    }
    assert_eq!(shape(dir.path()), before);
}

#[test]
fn wrong_places_are_refused_and_an_empty_one_is_taken() {
    let dir = TempDir::new();
    let dev = Dev::start(dir.path(), "data");
    said(dir.path(), &["backup", "--data", "data", "-o", "good.tar.gz"]);
    dev.stop();
    let before = shape(dir.path());
    for (args, why) in [
        (&["restore", "good.tar.gz", "--data", "data"][..], "`data` is not an empty directory"),
        (&["restore", "good.tar.gz", "--data", "good.tar.gz"], "is not an empty directory"),
        (&["restore", "nothing", "--data", "new"], "cannot read `nothing`"),
        (&["restore", "good.tar.gz"], "--data <DIR>"),
        (&["restore", "good.tar.gz", "--data", "new", "--checkpoint", "auditor"], "cannot read `auditor`"),
        (&["backup", "--data", "data", "-o", "good.tar.gz"], "nothing is overwritten"),
        (&["backup", "--data", "nowhere", "-o", "b"], "there is nothing of Permyx in `nowhere`"),
    ] {
        let (exit, told) = failed(dir.path(), args);
        assert!(exit == 2 && told.contains(why), "{args:?}: {exit} {told}");
    }
    let (exit, told) = failed(dir.path(), &["restore", "good.tar.gz", "--data", "no/such/place"]);
    assert!(exit == 3 && told.contains("cannot make `no/such/.place.restore-"), "{exit} {told}");
    assert_eq!(shape(dir.path()), before);
    // An empty directory is taken as it is.
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    said(dir.path(), &["restore", "good.tar.gz", "--data", "empty"]);
    assert!(dir.path().join("empty/evidence/evidence.db").exists());
}
