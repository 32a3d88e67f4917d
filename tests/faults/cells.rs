//! The matrix: which cells there are, what they stand on, and in which order they run.

use std::sync::LazyLock;

use crate::cells_config::{self, Issuer};
use crate::cells_delivery::{self, Delivering};
use crate::cells_evidence::{self, Disked};
use crate::cells_failover::{self, Replicated};
use crate::cells_forgetting::{self, Clocks};
use crate::cells_ledger;
use crate::cells_machine::{self, Odd};
use crate::cells_merchant::{self, Outside};
use crate::cells_process;
use crate::cells_restart;
use crate::cells_split::{self, Split};
use crate::cells_waiting::{self, Silent};
use crate::size::Size;
use crate::stand::Stand;
use crate::table::Row;
pub use crate::trial::Plant;

/// What cells stand on; each is started when it is first needed, and ends with the value.
pub struct Stands {
    pub outside: LazyLock<Outside>,
    pub silent: LazyLock<Silent>,
    pub slow: LazyLock<Silent>,
    pub issuer: LazyLock<Issuer>,
    pub limited: LazyLock<Stand>,
    pub narrow: LazyLock<Stand>,
    pub odd: LazyLock<Odd>,
    pub shared: LazyLock<Stand>,
    /// As the shared one, for what leaves a lot of evidence.
    pub raced: LazyLock<Stand>,
    /// Its Redis is made to forget.
    pub forgetful: LazyLock<Stand>,
    /// Its gateways are killed.
    pub mortal: LazyLock<Stand>,
    /// Its gateways are restarted in order, and upgraded.
    pub rolling: LazyLock<Stand>,
    pub clocks: LazyLock<Clocks>,
    /// What is recorded is written, and its disk fails.
    pub written: LazyLock<Disked>,
    /// The same, and requests wait for the disk.
    pub strict: LazyLock<Disked>,
    pub delivering: LazyLock<Delivering>,
    pub split: LazyLock<Option<Split>>,
    pub confirmed: LazyLock<Replicated>,
    pub unconfirmed: LazyLock<Replicated>,
}

impl Stands {
    pub fn new() -> Self {
        Self {
            outside: LazyLock::new(Outside::open),
            silent: LazyLock::new(Silent::open),
            slow: LazyLock::new(Silent::open),
            issuer: LazyLock::new(Issuer::open),
            limited: LazyLock::new(cells_config::open_limited),
            narrow: LazyLock::new(cells_machine::open_narrow),
            odd: LazyLock::new(Odd::open),
            shared: LazyLock::new(cells_ledger::open_shared),
            raced: LazyLock::new(cells_ledger::open_shared),
            forgetful: LazyLock::new(cells_ledger::open_shared),
            mortal: LazyLock::new(cells_process::open_mortal),
            rolling: LazyLock::new(cells_restart::open_rolling),
            clocks: LazyLock::new(Clocks::open),
            written: LazyLock::new(|| Disked::open("spool")),
            strict: LazyLock::new(|| Disked::open("strict")),
            delivering: LazyLock::new(Delivering::open),
            split: LazyLock::new(Split::try_open),
            confirmed: LazyLock::new(|| Replicated::open("replicas")),
            unconfirmed: LazyLock::new(|| Replicated::open("async")),
        }
    }

    /// Starts what all of them need, together: a ledger's first seconds are a wait.
    pub fn start(&self) {
        std::thread::scope(|scope| {
            scope.spawn(|| LazyLock::force(&self.outside));
            scope.spawn(|| LazyLock::force(&self.silent));
            scope.spawn(|| LazyLock::force(&self.slow));
            scope.spawn(|| LazyLock::force(&self.issuer));
            scope.spawn(|| LazyLock::force(&self.limited));
            scope.spawn(|| LazyLock::force(&self.narrow));
            scope.spawn(|| LazyLock::force(&self.odd));
            scope.spawn(|| LazyLock::force(&self.shared));
            scope.spawn(|| LazyLock::force(&self.raced));
            scope.spawn(|| LazyLock::force(&self.forgetful));
            scope.spawn(|| LazyLock::force(&self.mortal));
            scope.spawn(|| LazyLock::force(&self.rolling));
            scope.spawn(|| LazyLock::force(&self.clocks));
            scope.spawn(|| LazyLock::force(&self.written));
            scope.spawn(|| LazyLock::force(&self.strict));
            scope.spawn(|| LazyLock::force(&self.delivering));
            scope.spawn(|| LazyLock::force(&self.split));
            scope.spawn(|| LazyLock::force(&self.confirmed));
            scope.spawn(|| LazyLock::force(&self.unconfirmed));
        });
    }
}

/// One row of the matrix.
pub struct Cell {
    pub number: u8,
    pub run: fn(&Stands, Size, Plant) -> Row,
    /// Its run without a fault takes long: the short form does without.
    pub slow_control: bool,
}

const fn cell(number: u8, run: fn(&Stands, Size, Plant) -> Row) -> Cell {
    Cell { number, run, slow_control: number == 9 }
}

/// Cells that do little but wait: the short form runs each of these lists beside the others.
pub const WAITING: &[&[Cell]] = &[
    &[cell(17, cells_waiting::silent_merchant)],
    &[cell(22, cells_waiting::slow_callers)],
    &[cell(29, cells_config::key_set_goes_bad), cell(28, cells_config::control_plane_down)],
];

/// Cells that run alone, one after the other.
pub const CELLS: &[Cell] = &[
    cell(1, cells_ledger::races),
    cell(2, cells_ledger::refused),
    cell(3, cells_ledger::paused),
    cell(4, cells_ledger::reply_lost),
    cell(5, cells_ledger::request_lost),
    cell(6, cells_forgetting::killed),
    cell(7, cells_forgetting::emptied),
    cell(8, cells_failover::promoted),
    cell(9, cells_split::split),
    cell(10, cells_ledger::errors),
    cell(11, cells_ledger::slow),
    cell(12, cells_ledger::garbage),
    cell(13, cells_forgetting::clocks),
    cell(14, cells_merchant::refused),
    cell(15, cells_merchant::closed_on_reuse),
    cell(16, cells_merchant::reset_within_the_request),
    cell(18, cells_merchant::failing),
    cell(19, cells_merchant::truncated),
    cell(20, cells_merchant::interim),
    cell(21, cells_merchant::callers_leave),
    cell(23, cells_process::killed),
    cell(24, cells_restart::replaced),
    cell(25, cells_evidence::disk_fails),
    cell(26, cells_delivery::spool_harmed),
    cell(27, cells_delivery::not_taken),
    cell(30, cells_config::policy_goes_bad),
    cell(31, cells_machine::descriptors),
    cell(32, cells_machine::panics),
    cell(33, cells_machine::clock_steps),
    cell(34, cells_ledger::partition),
    cell(35, cells_ledger::delivered_twice),
];
