//! The verbs that run something, and those that check files.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::authority::policies::{NotTaken, Policies};
use crate::boot::{self, BootError, Running};
use crate::config::{Config, ConfigError};
use crate::reload::{Files, ReadError, read_dir};
use crate::telemetry::logging::{self, LogFormat};

/// Why a verb failed, and with which exit code.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Boot(#[from] BootError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Policies(#[from] NotTaken),
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
    #[error("cannot write to standard output")]
    Output(#[source] std::io::Error),
}

impl Failure {
    /// Tells it on standard error, with its causes.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        let mut text = format!("permyx: {self}");
        let mut cause = std::error::Error::source(self);
        while let Some(inner) = cause {
            let inner_text = inner.to_string();
            if !text.contains(&inner_text) {
                text = format!("{text}\n  because {inner_text}");
            }
            cause = inner.source();
        }
        let _ = writeln!(std::io::stderr(), "{text}");
        ExitCode::from(match self {
            Self::Config(_) | Self::Policies(_) => 1,
            _ => 2,
        })
    }
}

/// Writes lines for a person or a program.
pub fn say(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(Failure::Output)
}

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
    fn load(&self) -> Result<Config, Failure> {
        let mut config = Config::load(&self.config)?;
        let listeners = &self.listeners;
        config.ops_listen = listeners.ops_listen.unwrap_or(config.ops_listen);
        config.gateway.listen = listeners.gateway_listen.unwrap_or(config.gateway.listen);
        config.api.listen = listeners.api_listen.unwrap_or(config.api.listen);
        if let Some(data) = &self.data {
            config.data.clone_from(data);
        }
        Ok(config)
    }
}

#[cfg(feature = "gateway")]
pub fn gateway(args: &ServeArgs) -> Result<(), Failure> {
    let config = args.load()?;
    logging::init(&config.log.filter, config.log.format);
    run(async { boot::gateway(&config).await }, args.listeners.ready_json, "")
}

#[cfg(feature = "control-plane")]
pub fn serve(args: &ServeArgs) -> Result<(), Failure> {
    let config = args.load()?;
    logging::init(&config.log.filter, config.log.format);
    run(async { boot::serve(&config).await }, args.listeners.ready_json, "")
}

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
pub fn dev(args: &DevArgs) -> Result<(), Failure> {
    logging::init(&args.log, LogFormat::Text);
    let port = |asked: Option<SocketAddr>, port: u16| asked.unwrap_or(SocketAddr::from(([127, 0, 0, 1], port)));
    let options = boot::DevOptions {
        data: args.data.clone(),
        gateway_listen: port(args.listeners.gateway_listen, 8480),
        api_listen: port(args.listeners.api_listen, 8481),
        merchant_listen: args.merchant_listen,
        ops_listen: port(args.listeners.ops_listen, 9464),
    };
    run(async { boot::dev(&options).await }, args.listeners.ready_json, STORY)
}

/// Told by `permyx dev` once it serves; the README tells the same. A test runs it.
pub const STORY: &str = r#"
Try it:
  T=$(target/release/permyx token request)
  curl -i --json '{"currency":"USD","items":[{"variant":"shopify:variant:123456","quantity":1,"price":29.99}]}' -H "Permyx-Execution-Token: $T" localhost:8480/checkout
    → 200 and an order; the same once more → 403 REPLAY_DETECTED
  curl -i --json '{"currency":"USD","items":[{"variant":"shopify:variant:123456","quantity":1,"price":29.99}]}' localhost:8480/checkout
    → 200, observed: shoppers share this checkout
  target/release/permyx timeline last"#;

fn run(start: impl Future<Output = Result<Running, BootError>>, ready_json: bool, story: &str) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::Runtime)?;
    runtime.block_on(async {
        let running = start.await?;
        running.ready().await;
        announce(&running, ready_json, story)?;
        running.wait().await;
        Ok(())
    })
}

fn announce(running: &Running, ready_json: bool, story: &str) -> Result<(), Failure> {
    if ready_json {
        let mut line = serde_json::Map::new();
        line.insert("ready".to_owned(), true.into());
        line.insert("data".to_owned(), running.data.display().to_string().into());
        line.extend(running.addresses.iter().map(|a| (a.name.to_owned(), a.url.clone().into())));
        return say(&serde_json::Value::Object(line).to_string());
    }
    let mut lines: Vec<_> = running.addresses.iter().map(|a| format!("{:<9} {}", a.name, a.url)).collect();
    lines.push(format!("{:<9} {}", "data", running.data.display()));
    say(&format!("{}{}{story}", lines.join("\n"), if story.is_empty() { "" } else { "\n" }))
}

pub fn validate_config(file: &Path) -> Result<(), Failure> {
    Config::load(file)?;
    say(&format!("{}: ok", file.display()))
}

pub fn validate_policies(paths: &[PathBuf]) -> Result<(), Failure> {
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
        say(&format!("{} {} {} {}: ok", policy.store(), policy.version(), policy.base().mode.as_str(), policy.hash()))?;
    }
    Ok(())
}
