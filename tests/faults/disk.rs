//! A disk of its own for the spool of one gateway: it is filled, made read-only, slow or bad while the
//! gateway runs. Nothing else that the gateway writes is touched.

use std::time::Duration;

use crate::shim::Shim;

const FULL: usize = 0;
const ROOM: usize = 1;
const READ_ONLY: usize = 2;
const SYNC_FAILS: usize = 3;
const SYNC_MS: usize = 4;
const MET: usize = 5;
const NUMBERS: usize = 6;

/// What is wrong with a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ill {
    /// It takes so many bytes more; the write that has more than that is a short one.
    Full { room: i64 },
    /// Nothing is written, made or cut.
    ReadOnly,
    /// What was written does not come to the disk.
    SyncFails,
    /// Everything takes so long to come to the disk.
    SyncSlow(Duration),
}

/// The part of a gateway's directory that is on this disk.
const SPOOL: &str = "data/spool";

pub struct DiskOf(Shim);

impl DiskOf {
    pub fn new() -> Self {
        Self(Shim::of("disk", NUMBERS))
    }

    /// What the gateway is started by way of.
    pub fn via(&self) -> Vec<String> {
        [self.0.via(), vec![format!("FAULTS_DISK_DIR={SPOOL}")]].concat()
    }

    pub fn set(&self, ill: Ill) {
        match ill {
            Ill::Full { room } => {
                self.0.set(ROOM, room);
                self.0.set(FULL, 1);
            }
            Ill::ReadOnly => self.0.set(READ_ONLY, 1),
            Ill::SyncFails => self.0.set(SYNC_FAILS, 1),
            Ill::SyncSlow(time) => self.0.set(SYNC_MS, time.as_millis() as i64),
        }
    }

    /// Nothing is wrong any more. What waits for it waits no longer.
    pub fn heal(&self) {
        [FULL, READ_ONLY, SYNC_FAILS, SYNC_MS].into_iter().for_each(|number| self.0.set(number, 0));
    }

    /// How many calls met what is wrong.
    pub fn met(&self) -> i64 {
        self.0.get(MET)
    }
}
