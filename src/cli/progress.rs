//! How far long work is, for whoever waits at a terminal.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Between two words.
const PACE: Duration = Duration::from_millis(200);

pub(super) struct Progress {
    is_watched: bool,
    told: Option<(Instant, &'static str)>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { is_watched: std::io::stderr().is_terminal(), told: None }
    }

    pub(super) fn tell(&mut self, done: u64, all: u64, what: &'static str) {
        let soon = self.told.is_some_and(|(at, of)| at.elapsed() < PACE && of == what && done < all);
        if !self.is_watched || soon {
            return;
        }
        let begins = self.told.is_some_and(|(_, of)| of != what);
        self.told = Some((Instant::now(), what));
        let mut stderr = std::io::stderr();
        let line = if begins { "\n" } else { "\r" };
        // Nobody is harmed where it cannot be told.
        let _ = write!(stderr, "{line}{done} of {all} {what}").and_then(|()| stderr.flush());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.told.is_some() {
            let _ = writeln!(std::io::stderr());
        }
    }
}
