//! `permyx gateway` and `permyx serve`.

use std::sync::Arc;

use crate::authority::Authority;
use crate::config::{Config, JwksSource, TlsFiles};
use crate::evidence::{self, ControlPlane, Keep};
#[cfg(feature = "gateway")]
use crate::gateway::{route::Route, routes::Routes, upstream::Upstream};
use crate::jwks::{Jwks, Source};
use crate::net::client::{Client, Limits};
#[cfg(feature = "gateway")]
use crate::telemetry::access::{AccessLog, Which};
#[cfg(feature = "gateway")]
use crate::telemetry::metrics::Metrics;

use super::base::{Base, Keys, spool_dir};
use super::ledger::Opened;
use super::listen::BootError;
use super::run::{Address, Carrier, Running};

/// The issuer's clock may be this far ahead of ours where it is another process.
const FOREIGN_SKEW_S: i64 = 5;
/// How often the names of upstreams are looked up again.
#[cfg(feature = "gateway")]
const RESOLVE: std::time::Duration = std::time::Duration::from_secs(30);

/// The sidecar: verifies with a key set that it follows, burns in its own ledger or in a shared one.
#[cfg(feature = "gateway")]
pub async fn gateway(config: &Config) -> Result<Running, BootError> {
    let source = complete(config)?;
    let mut base = Base::open(config, format!("/gateways/{}", config.gateway.name))?;
    let keys = followed_keys(source, config.jwks_max_stale, &mut base).await?;
    let opened = match &config.ledger.redis {
        Some(options) => Opened::redis(options, &base, config),
        None => Opened::memory(config, &base, FOREIGN_SKEW_S)?,
    };
    let authority = base.authority(opened, keys);
    let (ops, ops_address) = base.ops(config, &authority, true).await?;
    let address = start_gateway(config, &authority, &mut base).await?;
    ship(config, &mut base)?;
    let admin_address = super::base::admin(config, &ops, &mut base).await?;
    let Base { tasks, listeners, evidence, access, carriers, .. } = base;
    Ok(Running {
        addresses: [address, ops_address].into_iter().chain(admin_address).collect(),
        ops,
        tasks,
        listeners,
        shutdown: config.shutdown,
        access,
        evidence,
        #[cfg(feature = "control-plane")]
        lane: None,
        carriers,
        data: config.data.clone(),
        scratch: None,
    })
}

/// Says what is missing in a configuration; else where the keys come from.
#[cfg(feature = "gateway")]
pub(super) fn complete(config: &Config) -> Result<JwksSource, BootError> {
    if !config.ledger.single_instance && config.ledger.redis.is_none() {
        return Err(BootError::NoLedger);
    }
    if config.gateway.routes.is_empty() && config.gateway.fallback.is_none() {
        return Err(BootError::NoRoutes);
    }
    config.jwks.clone().ok_or(BootError::NoKeys)
}

/// Events go to another host, if the configuration names one.
#[cfg(feature = "gateway")]
fn ship(config: &Config, base: &mut Base) -> Result<(), BootError> {
    let Some(ship) = &config.evidence.ship else { return Ok(()) };
    let to = ControlPlane::new(&ship.url, ship.key_file.clone(), &base.evidence.identity())?;
    let (dir, clock, metrics) = (spool_dir(config), base.clock.clone(), base.metrics.clone());
    let kept = Keep::for_a_restart(config.evidence.spool_limit);
    base.carriers.push(Carrier::start(|stop| tokio::spawn(evidence::ship(dir, to, kept, clock, metrics, stop))));
    Ok(())
}

#[cfg(feature = "gateway")]
async fn followed_keys(source: JwksSource, max_stale: std::time::Duration, base: &mut Base) -> Result<Keys, BootError> {
    let source = match source {
        JwksSource::File(path) => Source::File(path),
        JwksSource::Url(url) => {
            let limits = Limits { body: crate::jwks::SET_MAX, ..Limits::default() };
            Source::Url { url, client: Box::new(Client::new(limits)?) }
        }
    };
    let jwks = Arc::new(Jwks::new(source, max_stale, base.metrics.clone(), base.clock.clone()));
    if let Err(error) = jwks.refresh().await {
        // Not ready until it comes; an issuer that starts later is no reason to fail.
        tracing::warn!(error = %chain(&error), "no key set yet");
    }
    let keys = Keys { ring: jwks.ring.clone(), issuer: None, unknown_key: jwks.unknown_key.clone() };
    let (mut nudged, asked) = (base.tasks.nudges().listen(), jwks.unknown_key.clone());
    base.tasks.accompany(async move {
        loop {
            nudged.next().await;
            asked.notify_one();
        }
    });
    base.tasks.accompany(async move { jwks.follow().await });
    Ok(keys)
}

/// Opens the gateway's listener and serves it.
#[cfg(feature = "gateway")]
pub(super) async fn start_gateway(
    config: &Config,
    authority: &Arc<Authority>,
    base: &mut Base,
) -> Result<Address, BootError> {
    use crate::gateway::{Gateway, Settings, serve};

    let (routes, upstreams) = routes(config)?;
    base.tasks.accompany(async move {
        loop {
            tokio::time::sleep(RESOLVE).await;
            let upstreams = upstreams.clone();
            let _ = tokio::task::spawn_blocking(move || upstreams.iter().for_each(|upstream| upstream.refresh())).await;
        }
    });
    let settings = Settings {
        body_max: config.gateway.body_max,
        lease: config.ledger.lease,
        tables: config.detect.tables.clone(),
        trusted_proxies: config.gateway.trusted_proxies.clone(),
        draining: base.draining.clone(),
        access: access_log(config, base)?,
        ..Settings::default()
    };
    let gateway = Gateway::new(authority.clone(), routes, settings);
    let transport = transport(config.gateway.tls.as_ref(), base)?;
    let listener = base.listeners.open("gateway", config.gateway.listen).await?;
    let address = super::base::local(&listener, "gateway", config.gateway.listen, config.gateway.tls.is_some());
    let (connections, told) = (config.gateway.connections_max, base.tasks.told());
    base.tasks.serve(serve::serve(gateway, listener, transport, connections, told.stop, told.cut));
    Ok(address)
}

/// The routes of a configuration, and every upstream that they name. Names are looked up.
#[cfg(feature = "gateway")]
pub(super) fn routes(config: &Config) -> Result<(Routes, Vec<Arc<Upstream>>), BootError> {
    let upstream = |of: &str, text: &str| {
        Upstream::parse(text).map(Arc::new).map_err(|source| BootError::Upstream { of: of.to_owned(), source })
    };
    let mut upstreams = Vec::new();
    let mut routes = Vec::new();
    for route in &config.gateway.routes {
        let to = upstream(&route.name, &route.upstream)?;
        if !route.preset.proven {
            let (route, preset) = (&route.name, &route.preset.name);
            tracing::warn!(route, preset, "this preset was never run against a real counterpart");
        }
        upstreams.push(to.clone());
        routes.push(Arc::new(Route {
            name: route.name.as_str().into(),
            hosts: route.hosts.clone(),
            prefix: route.prefix.clone(),
            preset: route.preset.clone(),
            store: route.store.clone(),
            upstream: to,
        }));
    }
    let fallback = config.gateway.fallback.as_deref().map(|text| upstream("gateway.fallback", text)).transpose()?;
    upstreams.extend(fallback.clone());
    Ok((Routes::new(routes, fallback), upstreams))
}

/// The access log, where one is asked for. It is opened anew on SIGHUP: whoever rotates logs says so by that.
#[cfg(feature = "gateway")]
fn access_log(config: &Config, base: &mut Base) -> Result<Option<Arc<AccessLog>>, BootError> {
    let Some(log) = open_access_log(config, &base.metrics)?.map(Arc::new) else { return Ok(None) };
    let (mut nudged, reopened) = (base.tasks.nudges().listen(), log.clone());
    base.tasks.accompany(async move {
        loop {
            nudged.next().await;
            reopened.reopen();
        }
    });
    base.access = Some(log.clone());
    Ok(Some(log))
}

#[cfg(feature = "gateway")]
pub(super) fn open_access_log(config: &Config, metrics: &Metrics) -> Result<Option<AccessLog>, BootError> {
    let asked = &config.access_log;
    if asked.requests == Which::Off {
        return Ok(None);
    }
    let log = AccessLog::open(asked.requests, asked.file.as_deref(), metrics.access_dropped.clone());
    log.map(Some).map_err(|source| BootError::AccessLog { path: asked.file.clone().unwrap_or_default(), source })
}

#[cfg(all(feature = "gateway", feature = "tls"))]
fn transport(files: Option<&TlsFiles>, base: &mut Base) -> Result<crate::gateway::serve::Transport, BootError> {
    use crate::gateway::serve::Transport;
    let Some(files) = files else { return Ok(Transport::Plain) };
    Ok(Transport::Tls(super::base::tls(files, base)?))
}

#[cfg(all(feature = "gateway", not(feature = "tls")))]
fn transport(files: Option<&TlsFiles>, _base: &mut Base) -> Result<crate::gateway::serve::Transport, BootError> {
    if files.is_some() { Err(BootError::NoTls) } else { Ok(crate::gateway::serve::Transport::Plain) }
}

/// An error with its causes on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
