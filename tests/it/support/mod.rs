//! What tests are built from: temporary directories, the real program, a client that sends exact
//! bytes, a load of many requests, and a merchant that records what reaches it.
//!
//! The clients plant secrets in what they send ([`secrets`]), and none may be in what comes of it
//! ([`leaks`]): every test of this suite looks for that, whatever it is about.
//!
//! Every wait has a deadline ([`PATIENCE`]) and ends with an event, never with a sleep.

#[cfg(all(feature = "gateway", feature = "control-plane"))]
pub mod control;
pub mod dir;
pub mod gateway;
pub mod graphql;
pub mod http;
pub mod leaks;
pub mod load;
pub mod medusa;
pub mod merchant;
#[cfg(feature = "control-plane")]
pub mod plane;
pub mod program;
pub mod real;
pub mod redis;
pub mod secrets;
pub mod shop;
#[cfg(all(feature = "gateway", feature = "control-plane"))]
pub mod stream;
pub mod ucp;

use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a test waits for something that should happen at once. Generous, because machines
/// that run tests are busy; reaching it is a failure.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What whoever runs the tests says of their length or their chance, by this variable.
#[expect(clippy::disallowed_methods, reason = "the length of a test is the word of who runs it")]
pub fn told(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The repository that is tested.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `dir` whose name ends in `ending`, sorted.
pub fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(dir) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}
