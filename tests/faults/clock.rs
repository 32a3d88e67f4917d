//! A wall clock of its own for one program: it is moved while the program runs, or fails once.

use crate::shim::Shim;

const AHEAD: usize = 0;
const FAILS: usize = 1;

pub struct ClockOf(Shim);

impl ClockOf {
    pub fn new() -> Self {
        Self(Shim::of("clock", 2))
    }

    /// What the program is started by way of.
    pub fn via(&self) -> Vec<String> {
        self.0.via()
    }

    /// From now on the wall clock is so many seconds ahead.
    pub fn set_ahead(&self, seconds: i64) {
        self.0.set(AHEAD, seconds);
    }

    /// The `nth` look at the wall clock from now on fails: whoever looks panics.
    pub fn fail_at(&self, nth: i64) {
        self.0.set(FAILS, nth);
    }
}
