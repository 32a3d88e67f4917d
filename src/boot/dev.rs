//! `permyx dev`: everything in one process, with throw-away keys and data and a sandbox merchant.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::{Catalog, Variant};
use crate::config::Config;
use crate::keystore::agent_file::ApiKeyStore;
use crate::keystore::agents::{Allowance, Enrolment, Role, Terms};
use crate::keystore::signing::SigningStore;
use crate::model::ids::{StoreId, VariantId};
use crate::model::money::Price;
use crate::model::time::Timestamp;
use crate::sandbox::{ITEMS, Sandbox};

use super::base::{Base, local, make_dir};
use super::control::issuing_keys;
use super::ledger::Opened;
use super::listen::{BootError, listen};
use super::roles::start_gateway;
use super::run::Running;
use super::stop::until;

/// The key of the public documents. It opens nothing but a sandbox.
pub const DEMO_KEY: &str = "permyx_agent_YOUR_KEY";
/// The merchant's key of the sandbox, for its evidence and catalog.
pub const DEMO_MERCHANT_KEY: &str = "permyx_merchant_YOUR_KEY";
const STORE: &str = "store-123";
/// The sandbox's prices are confirmed this often, as a real shop would.
const STAMP_EVERY: Duration = Duration::from_secs(3600);

/// What `permyx dev` may be told.
#[derive(Clone, Debug)]
pub struct DevOptions {
    /// Kept at the end; without one a temporary directory is made and removed.
    pub data: Option<PathBuf>,
    pub gateway_listen: SocketAddr,
    pub api_listen: SocketAddr,
    pub merchant_listen: SocketAddr,
    pub ops_listen: SocketAddr,
}

/// Starts everything.
pub async fn dev(options: &DevOptions) -> Result<Running, BootError> {
    let (data, scratch) = match &options.data {
        Some(data) => (data.clone(), None),
        None => {
            let data = std::env::temp_dir().join(format!("permyx-dev-{}", uuid::Uuid::new_v4().simple()));
            (data.clone(), Some(data))
        }
    };
    prepare(&data)?;
    let merchant = listen("merchant", options.merchant_listen).await?;
    let merchant_address = local(&merchant, "merchant", options.merchant_listen, false);
    let config = config(options, &data, &merchant_address.url);
    let mut base = Base::open(&config, "/gateways/dev".to_owned())?;
    seed(&data, &base)?;
    base.tasks.accompany(stamp(base.catalog.clone(), base.clock.clone()));
    let stop = base.tasks.stopped();
    base.tasks.serve(async move {
        let _ = Sandbox::serve(merchant, until(stop)).await;
    });
    let keys = issuing_keys(&data, &mut base)?;
    let opened = Opened::memory(&config, &base, 0)?;
    let authority = base.authority(opened, keys);
    let (ops, ops_address) = base.ops(&config, &authority, true).await?;
    let gateway_address = start_gateway(&config, &authority, &mut base).await?;
    let (api_address, lane) =
        super::control::start(&config, &authority, &mut base, crate::portal::Audience::Everybody).await?;
    let addresses = vec![gateway_address, api_address, merchant_address, ops_address];
    let Base { tasks, listeners, evidence, carriers, .. } = base;
    let shutdown = config.shutdown;
    Ok(Running {
        addresses,
        ops,
        tasks,
        listeners,
        shutdown,
        access: None,
        evidence,
        lane: Some(lane),
        carriers,
        data,
        scratch,
    })
}

/// Policy, keys and demo keys, where there are none yet.
fn prepare(data: &Path) -> Result<(), BootError> {
    let policies = data.join("policies");
    make_dir(&policies)?;
    let policy = policies.join(format!("{STORE}.toml"));
    if !policy.exists() {
        let text = include_str!("../../policies/store-123.toml");
        std::fs::write(&policy, text).map_err(|source| BootError::Dir { path: policy, source })?;
    }
    Ok(())
}

fn seed(data: &Path, base: &Base) -> Result<(), BootError> {
    let now = base.clock.now();
    let keys = SigningStore::of(data);
    if keys.load(now).is_err() {
        keys.generate(now)?;
    }
    let agents = ApiKeyStore::of(data);
    if agents.list()?.is_empty() {
        agents.create_fixed(DEMO_KEY, terms(Role::Agent), now)?;
        agents.create_fixed(DEMO_MERCHANT_KEY, terms(Role::Merchant), now)?;
    }
    stock(&base.catalog, now)?;
    Ok(())
}

fn terms(role: Role) -> Terms {
    let stores = StoreId::parse(STORE).map_or(Enrolment::AllStores, |store| Enrolment::Only(vec![store]));
    Terms { role, stores, allowance: Allowance::UNLIMITED }
}

fn stock(catalog: &Catalog, now: Timestamp) -> Result<(), BootError> {
    let Ok(store) = StoreId::parse(STORE) else { return Ok(()) };
    let variant = |(id, _title, price): &(&str, &str, &str)| {
        Some(Variant { id: VariantId::parse(id).ok()?, price: Price::parse_text(price)?, verified_at: now })
    };
    if !catalog.has(&store) {
        catalog.put(&store, &ITEMS.iter().filter_map(variant).collect::<Vec<_>>())?;
    }
    catalog.stamp_all(now);
    Ok(())
}

/// The catalog of a demo never turns stale.
async fn stamp(catalog: Arc<Catalog>, clock: crate::clock::Clock) {
    loop {
        tokio::time::sleep(STAMP_EVERY).await;
        catalog.stamp_all(clock.now());
    }
}

/// The configuration of the sandbox, as a file would have it.
fn config(options: &DevOptions, data: &Path, merchant: &str) -> Config {
    let text = format!(
        "data = \".\"\n[gateway]\nname = \"dev\"\nfallback = \"{merchant}\"\n[[gateway.routes]]\nname = \"checkout\"\n\
         path = \"/checkout\"\npreset = \"oneshot-json\"\nstore = \"{STORE}\"\nupstream = \"{merchant}\"\n\
         [ledger]\nsingle_instance = true\n[shutdown]\ndelay_s = 0\n[policies]\ndir = \"policies\"\n[catalog]\ndir = \"catalog\"\n"
    );
    // INVARIANT: the text above is a good configuration; a test reads it.
    let mut config = Config::parse(&text, data).unwrap_or_else(|_| Config::plain(data));
    config.gateway.listen = options.gateway_listen;
    config.api.listen = options.api_listen;
    config.ops_listen = options.ops_listen;
    config
}
