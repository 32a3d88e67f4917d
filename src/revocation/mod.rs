//! Floor 4: the kill switch. What is revoked is in force in this process from memory, survives in
//! a file, and is exchanged with other processes: by the file on one host, by Redis between hosts.
//!
//! Every way in merges, and nothing but a later command takes a revocation back: a file that is
//! lost or a Redis that is flushed is filled again from whoever remembers.

mod file;
pub mod shared;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::durable::FileError;
use crate::model::revocation::{Kind, NoCommand, Note, Revocation, Revocations, Subject, Taken};
use crate::reload::Reloaded;
use crate::telemetry::metrics::Metrics;

use file::{Content, RevocationFile};

/// Why revocations cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum RevocationError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("`{}` is damaged: restore it from a backup, or move it away and revoke again", .path.display())]
    Damaged { path: std::path::PathBuf, source: serde_json::Error },
    #[error(transparent)]
    NoCommand(#[from] NoCommand),
}

/// Told of each command that reaches this process by its file: whoever wrote it keeps no log.
pub type Heard = Box<dyn Fn(&Revocation) + Send + Sync>;

/// The revocations of one data directory, in force in this process.
pub struct KillSwitch {
    in_force: Reloaded<Revocations>,
    /// One change of memory at a time; readers never wait.
    changing: Mutex<()>,
    file: RevocationFile,
    /// What the file held when it was last read or written. Also: one user of the file at a time.
    on_disk: Mutex<Content>,
    changed: Notify,
    /// False while what other hosts revoked was never read.
    met: AtomicBool,
    clock: Clock,
    metrics: Arc<Metrics>,
    heard: Heard,
}

impl KillSwitch {
    /// Reads the file. A damaged one is fatal: what it revoked must not be let in.
    pub fn open(data: &Path, clock: Clock, metrics: Arc<Metrics>, heard: Heard) -> Result<Self, RevocationError> {
        let file = RevocationFile::of(data);
        let content = file.read()?;
        let mut all = content.records.clone();
        all.prune(clock.now());
        let switch = Self {
            in_force: Reloaded::new(all),
            changing: Mutex::default(),
            file,
            on_disk: Mutex::new(content),
            changed: Notify::new(),
            met: AtomicBool::new(true),
            clock,
            metrics,
            heard,
        };
        switch.metrics.revocation_sync_ok.set(1);
        switch.count(&switch.snapshot());
        Ok(switch)
    }

    /// What is revoked now; one snapshot for one question.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Revocations> {
        self.in_force.snapshot()
    }

    /// Revokes: in force here at once, even if it cannot be written, and then the error says so.
    /// What is revoked already stays as it is. The second value is true when the record is new.
    /// Blocks the thread.
    pub fn revoke(&self, subject: Subject, reason: Note, by: Note) -> Result<(Revocation, bool), RevocationError> {
        self.command(|all, clock| match all.revoke(subject.clone(), reason, by, clock.now())? {
            Some(record) => Ok((record, true)),
            None => all.get(&subject).cloned().map(|known| (known, false)).ok_or(NoCommand::NotRevoked(subject)),
        })
    }

    /// Takes a revocation back. Blocks the thread.
    pub fn lift(&self, subject: Subject, reason: Note, by: Note) -> Result<Revocation, RevocationError> {
        let lifted = self.command(|all, clock| Ok((all.lift(subject, reason, by, clock.now())?, true)));
        lifted.map(|(record, _new)| record)
    }

    fn command(
        &self,
        make: impl FnOnce(&Revocations, &Clock) -> Result<(Revocation, bool), NoCommand>,
    ) -> Result<(Revocation, bool), RevocationError> {
        let mut on_disk = self.on_disk.lock();
        let read = self.read(&mut on_disk);
        let (record, new) = make(&self.snapshot(), &self.clock)?;
        self.take([record.clone()]);
        self.changed.notify_one();
        read.and_then(|()| self.write(&mut on_disk))?;
        Ok((record, new))
    }

    /// Takes what the file has and is newer, and writes what it lacks. Cheap when nothing changed.
    /// Blocks the thread.
    pub fn refresh(&self) -> Result<(), RevocationError> {
        let mut on_disk = self.on_disk.lock();
        self.read(&mut on_disk)?;
        self.write(&mut on_disk)
    }

    /// There are other hosts: until what they revoked was read once, this process is not ready.
    pub fn expect_others(&self) {
        self.met.store(false, Ordering::Release);
    }

    /// Whether everything that should be known at the start is known.
    #[must_use]
    pub fn has_met(&self) -> bool {
        self.met.load(Ordering::Acquire)
    }

    /// Tells in the metrics whether the file was taken.
    pub fn count_reload(&self, taken: bool) {
        self.metrics.reload_ok.with_label_values(&["revocations"]).set(i64::from(taken));
        let result = if taken { "taken" } else { "rejected" };
        self.metrics.reloads.with_label_values(&["revocations", result]).inc();
    }

    /// Takes the records of other processes into force. They are not in the file before the next
    /// [`Self::refresh`]. True when one of them was new here.
    pub fn learn(&self, records: impl IntoIterator<Item = Revocation>) -> bool {
        self.take(records)
    }

    /// Resolves when a command was given here that others should hear of.
    async fn changed(&self) {
        self.changed.notified().await;
    }

    fn read(&self, on_disk: &mut Content) -> Result<(), RevocationError> {
        let Some(content) = self.file.read_if_changed(on_disk)? else { return Ok(()) };
        let now = self.clock.now();
        let fresh = content.records.newer_than(&on_disk.records).filter(|record| !record.is_spent(now));
        let fresh: Vec<_> = fresh.cloned().collect();
        *on_disk = content;
        if self.take(fresh.iter().cloned()) {
            self.changed.notify_one();
        }
        fresh.iter().for_each(|record| (self.heard)(record));
        Ok(())
    }

    fn write(&self, on_disk: &mut Content) -> Result<(), RevocationError> {
        self.take([]);
        if *self.snapshot() == on_disk.records {
            return Ok(());
        }
        let lock = self.file.lock()?;
        // What another process wrote before we had the lock.
        self.read(on_disk)?;
        *on_disk = self.file.write(&self.snapshot(), &lock)?;
        Ok(())
    }

    /// Merges, and drops what is over.
    fn take(&self, records: impl IntoIterator<Item = Revocation>) -> bool {
        let _changing = self.changing.lock();
        let before = self.snapshot();
        let (mut all, now) = (Revocations::clone(&before), self.clock.now());
        let mut new = false;
        for record in records {
            let since_s = now.millis_since(record.at).max(0);
            match all.take(record) {
                Taken::New => {
                    new = true;
                    #[expect(clippy::cast_precision_loss, reason = "a duration, exact far beyond any that occurs")]
                    self.metrics.revocation_propagation.observe(since_s as f64 / 1000.0);
                }
                Taken::Known => {}
                Taken::Full => tracing::error!("there is no room for a revocation that another process made"),
            }
        }
        all.prune(now);
        if all != *before {
            self.count(&all);
            self.in_force.replace(all);
        }
        new
    }

    fn count(&self, all: &Revocations) {
        for kind in Kind::ALL {
            let count = i64::try_from(all.count(kind)).unwrap_or(i64::MAX);
            self.metrics.revocations.with_label_values(&[kind.as_str()]).set(count);
        }
    }
}

#[cfg(test)]
mod tests;
