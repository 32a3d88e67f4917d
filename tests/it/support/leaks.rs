//! Looks for secrets in everything that a program leaves behind: what it said, what it counted and
//! what it kept. The support does so by itself, whatever a test is about.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::files;
use super::http::{Connection, request};
use super::secrets::refuse;

/// How long metrics are waited for: a program that was stopped or cut off has none to tell.
const SCRAPE: Duration = Duration::from_millis(500);
/// Between two looks at the metrics of a program that many tests share.
const PACE: Duration = Duration::from_secs(1);
/// What is looked at twice where a file grew: a secret may have been written in two pieces.
const OVERLAP: u64 = 4096;

/// Where private keys rightly are, below a data directory.
const KEYS: [&str; 2] = ["keys", "log-keys"];

/// Looks at every file below `dir` but those that the test wrote itself.
pub fn directory(dir: &Path, written: &BTreeSet<PathBuf>) {
    let is_ours = |path: &PathBuf| path.symlink_metadata().is_ok_and(|found| found.is_file());
    for path in files(dir, "").into_iter().filter(is_ours) {
        if written.contains(&path) || is_private_key(&path) || keeps_answers(&path) {
            continue;
        }
        // Another process may take a file away while we look.
        let Ok(text) = std::fs::read(&path) else { continue };
        refuse(path.display(), &text);
        #[cfg(feature = "control-plane")]
        if path.extension().is_some_and(|kind| kind == "db") {
            rows(&path);
        }
    }
}

fn is_private_key(path: &Path) -> bool {
    let parent = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    // Whoever is killed while it writes a key leaves it where it was to be.
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    parent.is_some_and(|parent| KEYS.contains(&parent)) && (name.ends_with(".pem") || name.ends_with(".pem.tmp"))
}

/// Where a Redis keeps what the ledger does: with an Idempotency-Key also the merchant's answer, for a
/// retry, as long as its token could be used.
fn keeps_answers(path: &Path) -> bool {
    path.parent().is_some_and(|parent| parent.ends_with("appendonlydir"))
}

/// Each value of a database in one piece: in its file a long one is cut to pages.
#[cfg(feature = "control-plane")]
fn rows(database: &Path) {
    let store = rusqlite::Connection::open(database).unwrap();
    let names = |sql: &str| -> Vec<String> {
        let mut asked = store.prepare(sql).unwrap();
        asked.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    for table in names("SELECT name FROM sqlite_schema WHERE type = 'table'") {
        let mut all = store.prepare(&format!("SELECT * FROM \"{table}\"")).unwrap();
        let columns = all.column_count();
        let mut found = all.query([]).unwrap();
        while let Some(row) = found.next().unwrap() {
            for column in 0..columns {
                let value = row.get_ref(column).unwrap();
                let text = value.as_bytes_or_null().ok().flatten().unwrap_or_default();
                refuse(format_args!("table {table} of {}", database.display()), text);
            }
        }
    }
}

/// What a program counts, while it answers.
pub fn metrics(ops: SocketAddr) -> Vec<u8> {
    let ask = || {
        let mut connection = Connection::try_open(ops, SCRAPE).ok()?;
        connection.send(request("GET", "/metrics", &[], ""));
        connection.answer_to("GET").ok()?
    };
    ask().map(|answer| answer.body).unwrap_or_default()
}

/// A program that many tests share and that nobody drops: it is looked at whenever a caller of it
/// hangs up, each time at what is new.
pub struct Followed {
    pub log: Arc<Mutex<String>>,
    pub spool: PathBuf,
    pub ops: SocketAddr,
    pub seen: Mutex<Seen>,
}

/// How far it was looked at.
#[derive(Default)]
pub struct Seen {
    log: usize,
    files: BTreeMap<PathBuf, u64>,
    counted: Option<Instant>,
}

static FOLLOWED: Mutex<BTreeMap<SocketAddr, Arc<Followed>>> = Mutex::new(BTreeMap::new());

/// From here on, looks at the program that listens there.
pub fn follow(address: SocketAddr, program: Followed) {
    FOLLOWED.lock().unwrap().insert(address, Arc::new(program));
}

/// A caller has hung up.
pub fn hung_up(address: SocketAddr) {
    let followed = FOLLOWED.lock().unwrap().get(&address).cloned();
    if let Some(followed) = followed.filter(|_| !std::thread::panicking()) {
        for (place, text) in followed.news() {
            refuse(place, &text);
        }
    }
}

impl Followed {
    fn news(&self) -> Vec<(String, Vec<u8>)> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let log = self.log.lock().unwrap().as_bytes()[seen.log..].to_vec();
        // The end of it may not be there yet.
        seen.log += log.len().saturating_sub(OVERLAP as usize);
        let mut news = vec![("the log".to_owned(), log)];
        for path in files(&self.spool, ".spool") {
            let from = seen.files.entry(path.clone()).or_default();
            let Some((text, end)) = grown(&path, *from) else { continue };
            *from = end;
            news.push((path.display().to_string(), text));
        }
        if seen.counted.is_none_or(|last| last.elapsed() > PACE) {
            seen.counted = Some(Instant::now());
            news.push(("the metrics".to_owned(), metrics(self.ops)));
        }
        news
    }
}

/// What stands behind `from` in a file, with [`OVERLAP`] of what is before, and where it ends; `None`,
/// if nothing does.
fn grown(path: &Path, from: u64) -> Option<(Vec<u8>, u64)> {
    let mut file = std::fs::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    if length <= from {
        return None;
    }
    let start = file.seek(SeekFrom::Start(from.saturating_sub(OVERLAP))).ok()?;
    let mut text = Vec::new();
    file.read_to_end(&mut text).ok()?;
    let end = start + text.len() as u64;
    Some((text, end))
}
