//! The control plane: execution API, evidence store and portal on one listener.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::api::log::{LogApi, log_router};
use crate::api::orders::{Hook, OrdersApi, orders_router};
use crate::api::stream::{StreamApi, stream_router};
use crate::api::{self, Api, Beside};
use crate::authority::Authority;
use crate::config::{Config, HookConfig, TlsFiles};
use crate::keystore::agent_file::ApiKeyStore;
use crate::keystore::agents::ApiKeys;
use crate::keystore::signing::SigningStore;
use crate::portal::{self, Portal};
use crate::quota::allowance::Allowances;
use crate::reload::Reloaded;
use crate::token::keys::KeyRing;

use super::base::{Base, Keys, local};
use super::lane::Lane;
use super::ledger::Opened;
use super::listen::BootError;
use super::run::{Address, Running};
use super::stop::{Tasks, until};

/// How often the counts of allowances are saved.
const SAVE: Duration = Duration::from_secs(1);

/// `permyx serve`: issues tokens, keeps evidence. It burns only in a ledger that it shares with the
/// gateways.
pub async fn serve(config: &Config) -> Result<Running, BootError> {
    complete(config)?;
    let mut base = Base::open(config, "/servers/permyx".to_owned())?;
    let keys = issuing_keys(&config.data, &mut base)?;
    let opened = match &config.ledger.redis {
        Some(options) => Opened::redis(options, &base, config),
        None => Opened::elsewhere(config),
    };
    let authority = base.authority(opened, keys);
    let (ops, ops_address) = base.ops(config, &authority, config.ledger.redis.is_some()).await?;
    let (address, lane) = start(config, &authority, &mut base, portal::Audience::KeyHolders).await?;
    let admin_address = super::base::admin(config, &ops, &mut base).await?;
    let Base { tasks, listeners, evidence, carriers, .. } = base;
    Ok(Running {
        addresses: [address, ops_address].into_iter().chain(admin_address).collect(),
        ops,
        tasks,
        listeners,
        shutdown: config.shutdown,
        access: None,
        evidence,
        lane: Some(lane),
        carriers,
        data: config.data.clone(),
        scratch: None,
    })
}

/// Says what stands against serving by a configuration.
pub(super) fn complete(config: &Config) -> Result<(), BootError> {
    if config.api.tls.is_none() && !config.api.insecure && !config.api.listen.ip().is_loopback() {
        return Err(BootError::Insecure(config.api.listen));
    }
    Ok(())
}

/// Opens the listener of API, evidence and portal, and serves it.
pub(super) async fn start(
    config: &Config,
    authority: &Arc<Authority>,
    base: &mut Base,
    audience: portal::Audience,
) -> Result<(Address, Lane), BootError> {
    let keys = api_keys(config, &mut base.tasks)?;
    let allowances = Arc::new(Allowances::open(&config.data)?);
    let (lane, kept) = Lane::start(config, base)?;
    let store = kept.store.clone();
    let listener = base.listeners.open("api", config.api.listen).await?;
    let address = local(&listener, "api", config.api.listen, config.api.tls.is_some());
    let (stream, looking) = StreamApi::new(store.clone(), keys.clone(), base.tasks.stopped());
    base.tasks.accompany(looking);
    let (log, events) = (kept.look(), stream.clone());
    let beside = Box::new(move || Beside { log: log(), events: events.state() });
    let api = Arc::new(Api::new(authority.clone(), keys.clone(), allowances.clone(), beside));
    let transport = if config.api.tls.is_some() { portal::Transport::Tls } else { portal::Transport::Plain };
    let portal = Portal::new(store.clone(), keys.clone(), authority.clone(), audience, transport);
    let router = api::router(api.clone())
        .merge(api::evidence::evidence_router(api::evidence::EvidenceApi { store: store.clone(), keys: keys.clone() }))
        .merge(stream_router(stream))
        .merge(api::streams::streams_router(api::streams::StreamsApi {
            inbox: lane.follower.inbox(),
            keys: keys.clone(),
        }))
        .merge(log_router(LogApi::new(&kept.store, &kept.place, authority, keys)))
        .merge(orders_router(OrdersApi::new(api.clone(), store.clone(), hooks(config))))
        .merge(portal.router());
    let router = api::closed(router, api);
    save_allowances(allowances, &mut base.tasks);
    super::reconcile::accompany(config, base, store)?;
    accept(listener, router, config.api.tls.as_ref(), base)?;
    Ok((address, lane))
}

/// How stores tell of their orders, as the configuration says.
fn hooks(config: &Config) -> Vec<Hook> {
    let hook = |hook: &HookConfig| Hook {
        store: hook.store.clone(),
        platform: hook.platform,
        secret_file: hook.secret_file.clone(),
        naming: hook.naming.clone(),
    };
    config.hooks.iter().map(hook).collect()
}

/// The keys of an issuer: signer and ring from one directory, followed as it changes.
pub(super) fn issuing_keys(data: &Path, base: &mut Base) -> Result<Keys, BootError> {
    let Base { clock, tasks, .. } = base;
    let store = SigningStore::of(data);
    let keys = store.load(clock.now())?;
    let ring = Arc::new(Reloaded::new(KeyRing::of_set(keys.published()).0));
    let issuer = Arc::new(Reloaded::new(keys));
    let (following, ring_too, clock, dir) = (issuer.clone(), ring.clone(), clock.clone(), store.dir().to_owned());
    tasks.follow(dir, move || match store.load(clock.now()) {
        Ok(keys) => {
            ring_too.replace(KeyRing::of_set(keys.published()).0);
            following.replace(keys);
        }
        Err(error) => tracing::error!(%error, "signing keys not taken, those before stay"),
    });
    Ok(Keys { ring, issuer: Some(issuer), unknown_key: Arc::default() })
}

/// The API keys, followed as the CLI changes them.
fn api_keys(config: &Config, tasks: &mut Tasks) -> Result<Arc<Reloaded<ApiKeys>>, BootError> {
    let store = ApiKeyStore::of(&config.data);
    let keys = Arc::new(Reloaded::new(store.load()?));
    let (following, dir) = (keys.clone(), store.dir().to_owned());
    tasks.follow(dir, move || match store.load() {
        Ok(keys) => following.replace(keys),
        Err(error) => tracing::error!(%error, "API keys not taken, those before stay"),
    });
    Ok(keys)
}

/// Month counts survive a restart: saved every second, and at the end.
fn save_allowances(allowances: Arc<Allowances>, tasks: &mut Tasks) {
    let stop = tasks.stopped();
    tasks.serve(async move {
        loop {
            let ended = tokio::time::timeout(SAVE, until(stop.clone())).await.is_ok();
            let saving = allowances.clone();
            if let Ok(Err(error)) = tokio::task::spawn_blocking(move || saving.flush()).await {
                tracing::error!(%error, "counts of allowances not saved");
            }
            if ended {
                return;
            }
        }
    });
}

#[cfg(feature = "tls")]
fn accept(listener: TcpListener, router: Router, tls: Option<&TlsFiles>, base: &mut Base) -> Result<(), BootError> {
    let Some(files) = tls else { return accept_plain(listener, router, &mut base.tasks) };
    let config = super::base::tls(files, base)?;
    let tasks = &mut base.tasks;
    let config = axum_server::tls_rustls::RustlsConfig::from_config(config);
    let listener = listener.into_std().map_err(BootError::Thread)?;
    let server = axum_server::from_tcp_rustls(listener, config).map_err(BootError::Thread)?;
    let (handle, stop) = (axum_server::Handle::new(), tasks.stopped());
    let stopping = handle.clone();
    tasks.accompany(async move {
        until(stop).await;
        stopping.graceful_shutdown(Some(Duration::from_secs(5)));
    });
    tasks.serve(async move {
        let _ = server.handle(handle).serve(router.into_make_service()).await;
    });
    Ok(())
}

#[cfg(not(feature = "tls"))]
fn accept(listener: TcpListener, router: Router, tls: Option<&TlsFiles>, base: &mut Base) -> Result<(), BootError> {
    if tls.is_some() { Err(BootError::NoTls) } else { accept_plain(listener, router, &mut base.tasks) }
}

fn accept_plain(listener: TcpListener, router: Router, tasks: &mut Tasks) -> Result<(), BootError> {
    let stop: watch::Receiver<bool> = tasks.stopped();
    tasks.serve(async move {
        let _ = axum::serve(listener, router).with_graceful_shutdown(until(stop)).await;
    });
    Ok(())
}
