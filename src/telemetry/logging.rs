//! Structured logs on standard error. Nothing that a caller sent is a field, unless it was checked.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How log lines are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Json,
    Text,
}

/// Starts logging. `filter` as in `info,permyx::gateway=debug`; an unreadable one becomes `info`.
/// A second call changes nothing.
pub fn init(filter: &str, format: LogFormat) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    // pingora logs each downstream it could not read as an error; that is a client's doing.
    let filter = ["pingora_proxy=off", "pingora_core=warn"]
        .iter()
        .filter_map(|directive| directive.parse().ok())
        .fold(filter, EnvFilter::add_directive);
    let registry = tracing_subscriber::registry().with(filter);
    let _ = match format {
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
}
