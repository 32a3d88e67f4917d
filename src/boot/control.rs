//! The control plane: execution API, evidence store and portal on one listener.

use std::sync::Arc;

use axum::Router;

use crate::authority::Authority;
use crate::config::Config;
use crate::ledger::AnyLedger;

use super::base::{Base, issuing_keys, local};
use super::listen::{BootError, listen};
use super::run::{Address, Running, until};

/// Who may look at the portal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Audience {
    /// A sandbox on this machine: everybody who reaches it.
    Sandbox,
    /// Whoever has a key.
    KeyHolders,
}

/// `permyx serve`.
pub async fn serve(config: &Config) -> Result<Running, BootError> {
    if config.api.tls.is_none() && !config.api.insecure && !config.api.listen.ip().is_loopback() {
        return Err(BootError::Insecure(config.api.listen));
    }
    let mut base = Base::open(config, "/servers/permyx".to_owned())?;
    let keys = issuing_keys(&config.data, &base.clock, &mut base.tasks)?;
    let authority = base.authority(AnyLedger::Elsewhere, keys);
    let (ops, ops_address) = base.ops(config, &authority, false).await?;
    let address = start(config, &authority, &mut base, Audience::KeyHolders).await?;
    let Base { tasks, evidence, .. } = base;
    Ok(Running {
        addresses: vec![address, ops_address],
        ops,
        tasks,
        evidence,
        data: config.data.clone(),
        scratch: None,
    })
}

/// Opens the API's listener and serves it.
pub(super) async fn start(
    config: &Config,
    _authority: &Arc<Authority>,
    base: &mut Base,
    _audience: Audience,
) -> Result<Address, BootError> {
    let listener = listen("API and portal", "--api-listen", config.api.listen).await?;
    let address = local(&listener, "api", config.api.listen, config.api.tls.is_some());
    let stop = base.tasks.stopped();
    base.tasks.serve(async move {
        let _ = axum::serve(listener, Router::new()).with_graceful_shutdown(until(stop)).await;
    });
    Ok(address)
}
