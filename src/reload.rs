//! Files that change while the program runs: read, checked whole, then swapped in at once. A bad
//! file keeps what was there before.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecursiveMode, Watcher};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};

use crate::model::intent::Sha256;

/// Largest file that is read.
pub const FILE_MAX: u64 = 1 << 20;
/// Most files of one directory.
pub const FILES_MAX: usize = 10_000;
/// Events of one change come in a burst; this long after the first, the directory is read.
const SETTLE: Duration = Duration::from_millis(150);
/// Read even without an event: some file systems send none.
const POLL: Duration = Duration::from_secs(5);

/// A value that readers take as one snapshot and a reloader replaces whole.
pub struct Reloaded<T>(ArcSwap<T>);

impl<T> Reloaded<T> {
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(ArcSwap::from_pointee(value))
    }

    /// The value as it is now. Hold it for one request: it does not change under you.
    #[must_use]
    pub fn snapshot(&self) -> Arc<T> {
        self.0.load_full()
    }

    pub fn replace(&self, value: T) {
        self.0.store(Arc::new(value));
    }
}

/// Wakes everybody who follows files: on SIGHUP, or on a command.
#[derive(Clone)]
pub struct Nudges(broadcast::Sender<()>);

impl Default for Nudges {
    fn default() -> Self {
        Self(broadcast::channel(1).0)
    }
}

impl Nudges {
    pub fn nudge(&self) {
        // Nobody may be following.
        let _ = self.0.send(());
    }

    #[must_use]
    pub fn listen(&self) -> Nudged {
        Nudged(self.0.subscribe())
    }
}

/// Where nudges arrive.
pub struct Nudged(broadcast::Receiver<()>);

impl Nudged {
    /// Resolves with the next one; several that came meanwhile are one.
    pub async fn next(&mut self) {
        match self.0.recv().await {
            Ok(()) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// The files of a directory with one ending: name → text.
pub type Files = BTreeMap<PathBuf, String>;

/// Why a directory could not be read. The old state stays.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("cannot read `{}`", .path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("`{}` is larger than {FILE_MAX} bytes", .0.display())]
    TooLarge(PathBuf),
    #[error("`{}` holds more than {FILES_MAX} files", .0.display())]
    TooMany(PathBuf),
}

/// Reads the files directly in `dir` whose name ends in `.ending`. Names that start with a dot are
/// left out: Kubernetes keeps its `..data` there, and editors their scratch.
pub fn read_dir(dir: &Path, ending: &str) -> Result<Files, ReadError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| ReadError::Io { path, source }
    };
    let mut files = Files::new();
    for entry in std::fs::read_dir(dir).map_err(io(dir))? {
        let path = entry.map_err(io(dir))?.path();
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if hidden || path.extension().is_none_or(|e| e != ending) {
            continue;
        }
        if files.len() == FILES_MAX {
            return Err(ReadError::TooMany(dir.to_owned()));
        }
        if std::fs::metadata(&path).map_err(io(&path))?.len() > FILE_MAX {
            return Err(ReadError::TooLarge(path));
        }
        let text = std::fs::read_to_string(&path).map_err(io(&path))?;
        files.insert(path, text);
    }
    Ok(files)
}

/// Fingerprint of a set of files: names and contents, never times.
#[must_use]
pub fn fingerprint(files: &Files) -> Sha256 {
    let mut all = Vec::new();
    for (path, text) in files {
        all.extend_from_slice(path.as_os_str().as_encoded_bytes());
        all.push(0);
        all.extend_from_slice(Sha256::of(text.as_bytes()).as_bytes());
    }
    Sha256::of(&all)
}

/// Calls `changed` whenever something in `dir` may have changed: on events of the *directory*
/// (ConfigMap updates swap `..data` and never touch the file), on a nudge, and every few seconds.
/// Runs until the task is dropped.
pub async fn watch(dir: PathBuf, mut nudged: Nudged, mut changed: impl FnMut() + Send + 'static) {
    let (seen, mut events) = mpsc::channel(1);
    let on_event = move |event: notify::Result<notify::Event>| {
        if event.as_ref().is_ok_and(|event| only_looked_at(event.kind)) {
            return;
        }
        // A full channel already holds the news.
        let _ = seen.try_send(());
    };
    let watcher = notify::recommended_watcher(on_event).and_then(|mut watcher| {
        watcher.watch(&dir, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    if let Err(error) = &watcher {
        tracing::warn!(dir = %dir.display(), %error, "no events of this directory, it is read every few seconds");
    }
    loop {
        tokio::select! {
            Some(()) = events.recv() => tokio::time::sleep(SETTLE).await,
            () = nudged.next() => {}
            () = tokio::time::sleep(POLL) => {}
        }
        while events.try_recv().is_ok() {}
        // Reading and parsing block, and a large catalog takes a while.
        let done = tokio::task::spawn_blocking(move || {
            changed();
            changed
        });
        match done.await {
            Ok(again) => changed = again,
            Err(error) => return tracing::error!(dir = %dir.display(), %error, "this directory is no longer followed"),
        }
    }
}

/// Our own reading of the directory is an event too; taken for a change, it would never end.
fn only_looked_at(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_change_is_seen_and_reading_is_not_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let (reads, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(tokio::sync::Notify::new()));
        let (reading, seeing, path) = (reads.clone(), seen.clone(), dir.path().to_owned());
        let following = tokio::spawn(watch(dir.path().to_owned(), Nudges::default().listen(), move || {
            read_dir(&path, "toml").unwrap();
            reading.fetch_add(1, Ordering::SeqCst);
            seeing.notify_one();
        }));
        std::fs::write(dir.path().join("a.toml"), "x = 1").unwrap();
        tokio::time::timeout(Duration::from_secs(20), seen.notified()).await.unwrap();
        // The poll comes every five seconds; a watch that feeds itself would be here at once.
        let again = tokio::time::timeout(Duration::from_secs(2), seen.notified()).await;
        assert!(again.is_err() || reads.load(Ordering::SeqCst) <= 2, "{} reads", reads.load(Ordering::SeqCst));
        following.abort();
    }
}
