//! Structured logs on standard error. Nothing that a caller sent is a field, unless it was checked.

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Duration;

use parking_lot::Mutex;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// Longest filter that is taken.
const FILTER_MAX: usize = 1024;

/// How log lines are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Json,
    Text,
}

/// What is logged now, and what sets that. One for a process, as logging is.
static LEVEL: OnceLock<Level> = OnceLock::new();

struct Level {
    handle: reload::Handle<EnvFilter, Registry>,
    /// The filter of the configuration.
    configured: String,
    /// The filter as it was asked for, and how often it was changed.
    now: Mutex<(String, u64)>,
}

/// The filter in force; empty where nothing is logged.
#[must_use]
pub fn filter() -> String {
    LEVEL.get().map(|level| level.now.lock().0.clone()).unwrap_or_default()
}

#[must_use]
pub fn is_filter(text: &str) -> bool {
    text.len() <= FILTER_MAX && !text.is_empty() && EnvFilter::builder().parse(text).is_ok()
}

/// Logs by another filter for a while, then by the configured one again. Needs a runtime.
pub fn set_for(text: &str, time: Duration) {
    let Some(level) = LEVEL.get() else { return };
    let number = level.set(text);
    tokio::spawn(async move {
        tokio::time::sleep(time).await;
        // Unless it was changed again: then that has a time of its own.
        if level.now.lock().1 == number {
            level.set(&level.configured);
            tracing::info!(filter = level.configured, "the log level is as configured");
        }
    });
}

impl Level {
    /// Answers how often it was changed.
    fn set(&self, text: &str) -> u64 {
        let mut now = self.now.lock();
        if let Err(error) = self.handle.reload(filtered(text)) {
            tracing::error!(%error, "the log level was not changed");
        }
        *now = (text.to_owned(), now.1 + 1);
        now.1
    }
}

fn filtered(text: &str) -> EnvFilter {
    let filter = EnvFilter::try_new(text).unwrap_or_else(|_| EnvFilter::new("info"));
    // pingora logs each downstream it could not read as an error; that is a client's doing.
    ["pingora_proxy=off", "pingora_core=warn"]
        .iter()
        .filter_map(|directive| directive.parse().ok())
        .fold(filter, EnvFilter::add_directive)
}

/// Starts logging. `filter` as in `info,permyx::gateway=debug`; an unreadable one becomes `info`.
/// A second call changes nothing.
pub fn init(filter: &str, format: LogFormat) {
    let (layer, handle) = reload::Layer::new(filtered(filter));
    let registry = tracing_subscriber::registry().with(layer);
    let started = match format {
        LogFormat::Json => {
            let layer = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
            registry.with(layer).try_init()
        }
        LogFormat::Text => {
            // Colours are for a person at a terminal, not for a file.
            let layer = tracing_subscriber::fmt::layer().with_target(false).with_writer(std::io::stderr);
            let layer = layer.with_ansi(std::io::stderr().is_terminal());
            registry.with(layer).try_init()
        }
    };
    if started.is_ok() {
        let _ = LEVEL.set(Level { handle, configured: filter.to_owned(), now: Mutex::new((filter.to_owned(), 0)) });
    }
}
