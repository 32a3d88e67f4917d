//! Floor 3: whether this process is on its way out. One flag, read by whoever answers requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// While it drains, a process is not ready, answers what still comes, and asks callers to go elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Draining(Arc<AtomicBool>);

impl Draining {
    pub fn begin(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub fn end(&self) {
        self.0.store(false, Ordering::Release);
    }

    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
