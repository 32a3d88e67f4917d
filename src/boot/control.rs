//! The control plane: execution API, evidence store and portal on one listener.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use tokio::sync::mpsc;

use crate::api::evidence::{EvidenceApi, evidence_router};
use crate::authority::Authority;
use crate::config::Config;
use crate::evidence::{Consumed, Followed, Follower, Store, store};
use crate::keystore::agent_file::ApiKeyStore;
use crate::keystore::agents::ApiKeys;
use crate::ledger::AnyLedger;
use crate::portal::{Audience, Portal, Transport};
use crate::reload::{self, Reloaded};

use super::base::{Base, issuing_keys, local, make_dir};
use super::listen::{BootError, listen};
use super::run::{Address, Running, Tasks, until};

/// `permyx serve`.
pub async fn serve(config: &Config) -> Result<Running, BootError> {
    if config.api.tls.is_none() && !config.api.insecure && !config.api.listen.ip().is_loopback() {
        return Err(BootError::Insecure(config.api.listen));
    }
    let mut base = Base::open(config, "/servers/permyx".to_owned())?;
    let keys = issuing_keys(&config.data, &base.clock, &mut base.tasks)?;
    let authority = base.authority(AnyLedger::Elsewhere, keys);
    let (ops, ops_address) = base.ops(config, &authority, false).await?;
    let (address, follower) = start(config, &authority, &mut base, Audience::KeyHolders).await?;
    let Base { tasks, evidence, .. } = base;
    Ok(Running {
        addresses: vec![address, ops_address],
        ops,
        tasks,
        evidence,
        follower: Some(follower),
        data: config.data.clone(),
        scratch: None,
    })
}

/// Opens the API's listener and serves it, and fills the evidence store.
pub(super) async fn start(
    config: &Config,
    authority: &Arc<Authority>,
    base: &mut Base,
    audience: Audience,
) -> Result<(Address, Follower), BootError> {
    let listener = listen("API and portal", "--api-listen", config.api.listen).await?;
    let address = local(&listener, "api", config.api.listen, config.api.tls.is_some());
    let keys = followed_api_keys(&config.data, &mut base.tasks)?;
    let (store, follower) = filled_store(config, base)?;
    let transport = if config.api.tls.is_some() { Transport::Tls } else { Transport::Plain };
    let portal = Portal::new(store.clone(), keys.clone(), authority.clone(), audience, transport);
    let router = Router::new().merge(evidence_router(EvidenceApi { store, keys })).merge(portal.router());
    let stop = base.tasks.stopped();
    base.tasks.serve(async move {
        let _ = axum::serve(listener, router).with_graceful_shutdown(until(stop)).await;
    });
    Ok((address, follower))
}

/// The API keys, followed as their file changes.
fn followed_api_keys(data: &Path, tasks: &mut Tasks) -> Result<Arc<Reloaded<ApiKeys>>, BootError> {
    let file = ApiKeyStore::of(data);
    let keys = Arc::new(Reloaded::new(file.load()?));
    let (following, dir) = (keys.clone(), file.dir().to_owned());
    tasks.accompany(reload::watch(dir, mpsc::channel(1).1, move || match file.load() {
        Ok(keys) => following.replace(keys),
        Err(error) => tracing::error!(%error, "API keys not taken, those before stay"),
    }));
    Ok(keys)
}

/// The evidence store, filled from our own spool and from those of gateways on this host. It has a
/// directory of its own: whoever watches the data directory is not woken by every event.
fn filled_store(config: &Config, base: &Base) -> Result<(Arc<Store>, Follower), BootError> {
    let dir = config.data.join("evidence");
    make_dir(&dir)?;
    let (store, writer) = store::open(&dir.join("evidence.db"))?;
    let spools = std::iter::once(&base.spool_dir).chain(&config.evidence.spools);
    let spools = spools.map(|dir| Followed { dir: dir.clone(), consumed: Consumed::Released }).collect();
    let follower = Follower::start(writer, spools, base.clock.clone(), base.metrics.clone());
    let follower = follower.map_err(|source| BootError::Dir { path: dir, source })?;
    Ok((Arc::new(store), follower))
}
