//! The verbs that run something, and those that check files.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::authority::policies::{NotTaken, Policies};
use crate::boot::{self, BootError, Ending, Handover, Invocation, Running, StopSignal};
use crate::config::Config;
use crate::reload::{Files, ReadError, read_dir};
use crate::telemetry::logging;

use super::error::CliError;

#[derive(Args)]
pub struct Listeners {
    /// Where metrics and health listen
    #[arg(long, env = "PERMYX_OPS_LISTEN")]
    ops_listen: Option<SocketAddr>,
    /// Where the gateway listens
    #[arg(long, env = "PERMYX_GATEWAY_LISTEN")]
    gateway_listen: Option<SocketAddr>,
    /// Where the API and the portal listen
    #[arg(long, env = "PERMYX_API_LISTEN")]
    api_listen: Option<SocketAddr>,
    /// Print one JSON line with all addresses when ready
    #[arg(long)]
    ready_json: bool,
    /// Open everything that a start needs and that may be opened twice, and end: asked before an upgrade
    #[arg(long, hide = true)]
    rehearse: bool,
    /// Seconds of not being ready and still accepting, once told to stop
    #[arg(long, value_name = "SECONDS", env = "PERMYX_SHUTDOWN_DELAY_S", value_parser = clap::value_parser!(u64).range(0..=300))]
    shutdown_delay: Option<u64>,
}

#[derive(Args)]
#[command(after_help = "Example:\n  permyx gateway --config /etc/permyx/permyx.toml")]
pub struct ServeArgs {
    /// Configuration file
    #[arg(long, short, env = "PERMYX_CONFIG", default_value = "conf/permyx.toml")]
    config: PathBuf,
    /// Data directory, instead of the one in the file
    #[arg(long, env = "PERMYX_DATA")]
    data: Option<PathBuf>,
    #[command(flatten)]
    listeners: Listeners,
}

impl ServeArgs {
    fn load(&self) -> Result<Config, CliError> {
        let mut config = Config::load(&self.config)?;
        let listeners = &self.listeners;
        config.ops_listen = listeners.ops_listen.unwrap_or(config.ops_listen);
        config.gateway.listen = listeners.gateway_listen.unwrap_or(config.gateway.listen);
        config.api.listen = listeners.api_listen.unwrap_or(config.api.listen);
        if let Some(data) = &self.data {
            config.data.clone_from(data);
        }
        if let Some(seconds) = listeners.shutdown_delay {
            config.shutdown.delay = Duration::from_secs(seconds);
        }
        Ok(config)
    }
}

#[cfg(feature = "gateway")]
pub fn gateway(args: &ServeArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let config = args.load()?;
    logging::init(&config.log.filter, config.log.format);
    if args.listeners.rehearse {
        return Ok(boot::rehearse_gateway(&config)?);
    }
    run(async { boot::gateway(&config).await }, args.listeners.ready_json, Upgrade::InPlace, "", out)
}

#[cfg(feature = "control-plane")]
pub fn serve(args: &ServeArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let config = args.load()?;
    logging::init(&config.log.filter, config.log.format);
    if args.listeners.rehearse {
        return Ok(boot::rehearse_serve(&config)?);
    }
    run(async { boot::serve(&config).await }, args.listeners.ready_json, Upgrade::InPlace, "", out)
}

#[cfg(all(feature = "gateway", feature = "control-plane"))]
#[derive(Args)]
#[command(after_help = "It prints four commands to try. Everything is on this machine alone.")]
pub struct DevArgs {
    /// Keep keys and data here; without it they are thrown away at the end
    #[arg(long, env = "PERMYX_DATA")]
    data: Option<PathBuf>,
    /// Where the sandbox merchant listens
    #[arg(long, default_value = "127.0.0.1:8482")]
    merchant_listen: SocketAddr,
    /// What is logged, as in `info,permyx::gateway=debug`
    #[arg(long, default_value = "warn", env = "PERMYX_LOG")]
    log: String,
    #[command(flatten)]
    listeners: Listeners,
}

#[cfg(all(feature = "gateway", feature = "control-plane"))]
pub fn dev(args: &DevArgs, out: &mut dyn Write) -> Result<(), CliError> {
    logging::init(&args.log, logging::LogFormat::Text);
    let port = |asked: Option<SocketAddr>, port: u16| asked.unwrap_or(SocketAddr::from(([127, 0, 0, 1], port)));
    let options = boot::DevOptions {
        data: args.data.clone(),
        gateway_listen: port(args.listeners.gateway_listen, 8480),
        api_listen: port(args.listeners.api_listen, 8481),
        merchant_listen: args.merchant_listen,
        ops_listen: port(args.listeners.ops_listen, 9464),
    };
    run(async { boot::dev(&options).await }, args.listeners.ready_json, Upgrade::Never, STORY, out)
}

/// Told by `permyx dev` once it serves; the README tells the same. A test runs it.
#[cfg(all(feature = "gateway", feature = "control-plane"))]
pub const STORY: &str = r#"
Try it:
  T=$(target/release/permyx token request)
  curl -i --json '{"currency":"USD","items":[{"variant":"shopify:variant:123456","quantity":1,"price":29.99}]}' -H "Permyx-Execution-Token: $T" localhost:8480/checkout
    → 200 and an order; the same once more → 403 REPLAY_DETECTED
  curl -i --json '{"currency":"USD","items":[{"variant":"shopify:variant:123456","quantity":1,"price":29.99}]}' localhost:8480/checkout
    → 200, observed: shoppers share this checkout
  target/release/permyx timeline last"#;

/// Whether another program can be started in the place of this one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Upgrade {
    InPlace,
    #[cfg(all(feature = "gateway", feature = "control-plane"))]
    Never,
}

fn run(
    start: impl Future<Output = Result<Running, BootError>>,
    ready_json: bool,
    upgrade: Upgrade,
    story: &str,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let invocation = Invocation::of_this_process()?;
    let next = waiting(async {
        let mut signals = StopSignal::listen()?;
        let running = start.await?;
        let ready = || announce(&running, ready_json, story, out);
        let ending = until_told(&running, ready, upgrade, &invocation, &mut signals).await?;
        if ending == Ending::Upgrade {
            service::reloading();
            return Ok(running.make_way(invocation, &mut signals).await);
        }
        service::stopping();
        running.stop(ending, &mut signals).await;
        Ok(None)
    })?;
    next.map_or(Ok(()), |next: Handover| Err(next.exec().into()))
}

/// Serves until it is to end, and says once when it is ready. An upgrade that would not start is refused.
async fn until_told(
    running: &Running,
    announce: impl FnOnce() -> Result<(), CliError>,
    upgrade: Upgrade,
    invocation: &Invocation,
    signals: &mut StopSignal,
) -> Result<Ending, CliError> {
    let (mut ready, mut announce) = (std::pin::pin!(running.ready()), Some(announce));
    loop {
        let ending = tokio::select! {
            () = &mut ready, if announce.is_some() => {
                announce.take().map_or(Ok(()), |announce| announce())?;
                service::ready();
                continue;
            }
            ending = signals.received() => ending,
        };
        if ending != Ending::Upgrade {
            return Ok(ending);
        }
        if upgrade != Upgrade::InPlace {
            tracing::warn!("only `permyx gateway` and `permyx serve` can be upgraded in place");
            continue;
        }
        match invocation.rehearse().await {
            Ok(()) => return Ok(Ending::Upgrade),
            Err(told) => tracing::error!(told, "the program that is installed now would not start: no upgrade"),
        }
    }
}

/// What a service manager is told (sd_notify(3)); nothing, where there is none.
mod service {
    use sd_notify::NotifyState;

    pub(super) fn ready() {
        tell(&[NotifyState::Ready]);
    }

    pub(super) fn reloading() {
        let mut state = vec![NotifyState::Reloading];
        state.extend(NotifyState::monotonic_usec_now());
        tell(&state);
    }

    pub(super) fn stopping() {
        tell(&[NotifyState::Stopping]);
    }

    fn tell(state: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(state) {
            tracing::debug!(%error, "the service manager was not told");
        }
    }
}

fn announce(running: &Running, ready_json: bool, story: &str, out: &mut dyn Write) -> Result<(), CliError> {
    if ready_json {
        let mut line = serde_json::Map::new();
        line.insert("ready".to_owned(), true.into());
        line.insert("data".to_owned(), running.data.display().to_string().into());
        line.extend(running.addresses.iter().map(|a| (a.name.to_owned(), a.url.clone().into())));
        writeln!(out, "{}", serde_json::Value::Object(line))?;
        return Ok(out.flush()?);
    }
    let mut lines: Vec<_> = running.addresses.iter().map(|a| format!("{:<9} {}", a.name, a.url)).collect();
    lines.push(format!("{:<9} {}", "data", running.data.display()));
    if !story.is_empty() {
        lines.push(story.to_owned());
    }
    writeln!(out, "{}", lines.join("\n"))?;
    Ok(out.flush()?)
}

pub fn validate_config(file: &Path, out: &mut dyn Write) -> Result<(), CliError> {
    Config::load(file)?;
    Ok(writeln!(out, "{}: ok", file.display())?)
}

pub fn validate_policies(paths: &[PathBuf], out: &mut dyn Write) -> Result<(), CliError> {
    let mut files = Files::new();
    for path in paths {
        if path.is_dir() {
            files.extend(read_dir(path, "toml").map_err(NotTaken::from)?);
        } else {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|source| NotTaken::from(ReadError::Io { path: path.clone(), source }))?;
            files.insert(path.clone(), text);
        }
    }
    let policies = Policies::parse(&files).map_err(NotTaken::Wrong)?;
    for policy in policies.iter() {
        writeln!(out, "{} {} {} {}: ok", policy.store(), policy.version(), policy.base().mode.as_str(), policy.hash())?;
    }
    Ok(())
}

/// Runs something that waits, to its end.
pub fn waiting<T>(task: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(task)
}
