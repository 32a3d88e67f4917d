//! When events are on the disk: every 10 ms, and at once where a request waits for it.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::{Class, Phase, Receipt, Spool, SpoolError};
use crate::evidence::{room, segment};

/// How long an event may be written and not yet on the disk.
const SYNC_EVERY: Duration = Duration::from_millis(10);
/// Other processes release segments: this many syncs apart, the directory is measured anew.
const MEASURE_EVERY: u32 = 100;
/// How long a request of class `strict` waits for the disk.
const DURABLE_WITHIN: Duration = Duration::from_secs(2);

/// How far the disk is.
pub(super) struct Disk {
    /// Held for the length of a sync, so that a second caller waits for the first one's. The segment that has its room, by
    /// its first sequence.
    syncing: Mutex<Option<u64>>,
    /// Somebody waits.
    wanted: Notify,
    reached: watch::Sender<Reached>,
}

/// What the disk has taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reached {
    /// Everything up to this sequence.
    Through(u64),
    Failed,
}

impl Default for Disk {
    fn default() -> Self {
        Self { syncing: Mutex::default(), wanted: Notify::default(), reached: watch::channel(Reached::Through(0)).0 }
    }
}

impl Spool {
    /// Waits until everything that was appended before this call is on the disk.
    pub fn sync(&self) -> Result<(), SpoolError> {
        let disk = &self.disk;
        let mut roomy = disk.syncing.lock();
        let (sealed, file, last, segment) = {
            let mut state = self.state.lock();
            if state.phase == Phase::Broken {
                let _ = disk.reached.send_replace(Reached::Failed);
                return Err(SpoolError::Broken);
            }
            // What fails here is noted, and told to those who wait for it.
            let _ = self.flush(&mut state);
            if !std::mem::take(&mut state.unsynced) {
                return Ok(());
            }
            let sealed = std::mem::take(&mut state.unsynced_sealed);
            (sealed, state.active.file(), state.next - 1, state.active.first())
        };
        if roomy.replace(segment) != Some(segment) {
            // Before its first bytes are brought to the disk: they stand in the same piece.
            if !room::take(&file, self.options.segment_bytes) {
                let _nobody_writes = self.state.lock();
                room::give_back(&file);
            }
        }
        let synced = self.reach(&sealed, &file);
        let _ = disk.reached.send_replace(if synced.is_ok() { Reached::Through(last) } else { Reached::Failed });
        synced.map_err(|source| {
            // The kernel may have dropped the unwritten pages: a later sync that succeeds would prove nothing.
            self.state.lock().phase = Phase::Broken;
            self.failed("reach the disk", source)
        })
    }

    /// True while it is open, everything in it is on the disk, and no count is due.
    fn rests(&self) -> bool {
        let state = self.state.lock();
        let quiet = state.phase == Phase::Open && !state.unsynced && state.batch.bytes() == 0;
        drop(state);
        quiet && !self.has_folded_due()
    }

    /// Brings full segments to the disk, and the newest with its name.
    fn reach(&self, sealed: &[Arc<File>], newest: &File) -> io::Result<()> {
        for file in sealed {
            room::give_back(file);
            file.sync_data()?;
        }
        if !sealed.is_empty() {
            segment::sync_dir(&self.options.dir)?;
        }
        newest.sync_data()
    }

    /// Waits as long as the class asks for: not at all, or until the event is on the disk.
    pub async fn secure(&self, receipt: Receipt) -> Result<(), SpoolError> {
        if self.options.class == Class::Spool {
            return Ok(());
        }
        let mut reached = self.disk.reached.subscribe();
        self.disk.wanted.notify_one();
        let there = reached.wait_for(|reached| match reached {
            Reached::Through(last) => *last >= receipt.sequence(),
            Reached::Failed => true,
        });
        match tokio::time::timeout(DURABLE_WITHIN, there).await {
            Ok(Ok(reached)) if *reached != Reached::Failed => Ok(()),
            Ok(_) => Err(SpoolError::Broken),
            Err(_elapsed) => Err(SpoolError::Slow(DURABLE_WITHIN.as_millis())),
        }
    }
}

/// Brings a spool to the disk every 10 ms, and when a request waits for it, on a blocking thread,
/// until it is closed or broken. Tells what was folded when its second is over.
pub async fn sync_loop(spool: Arc<Spool>) {
    let mut tick = tokio::time::interval(SYNC_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for round in 0_u32.. {
        tokio::select! {
            _ = tick.tick() => {}
            () = spool.disk.wanted.notified() => {}
        }
        let measures = round.is_multiple_of(MEASURE_EVERY);
        if !measures && spool.rests() {
            // An idle process wakes no other thread a hundred times a second.
            continue;
        }
        let spool_ = Arc::clone(&spool);
        let synced = tokio::task::spawn_blocking(move || {
            spool_.tell_folded_when_due();
            spool_.sync()?;
            if measures { spool_.measure() } else { Ok(()) }
        });
        match synced.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "cannot bring the spool to the disk"),
            Err(error) => tracing::error!(%error, "the thread that syncs the spool died"),
        }
        if spool.state.lock().phase != Phase::Open {
            return;
        }
    }
}
