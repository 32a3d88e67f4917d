//! Where finished requests are sent, if the configuration says so.

use std::sync::Arc;

use crate::collector::{self, Courier, Destination, Queue};
use crate::config::Config;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Traces;

use super::listen::BootError;
use super::run::Carrier;

/// What is traced, and who takes it away. `name` is that of this process in evidence.
pub(super) fn start(
    config: &Config,
    name: &str,
    metrics: &Metrics,
) -> Result<Option<(Arc<Traces>, Carrier)>, BootError> {
    let Some((share, queue, courier)) = open(config, name, metrics)? else { return Ok(None) };
    let traces = Arc::new(Traces::new(share, Box::new(queue)));
    Ok(Some((traces, Carrier::start(|stop| tokio::spawn(courier.run(stop))))))
}

/// Everything that a start needs for it, and nothing is sent.
pub(super) fn open(config: &Config, name: &str, metrics: &Metrics) -> Result<Option<(f64, Queue, Courier)>, BootError> {
    let Some(asked) = &config.traces else { return Ok(None) };
    let to = Destination { url: &asked.url, headers: asked.headers.as_deref(), name };
    let (queue, courier) = collector::open(&to, metrics.traces.clone())?;
    Ok(Some((asked.share, queue, courier)))
}
