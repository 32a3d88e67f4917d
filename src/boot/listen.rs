//! Listeners. A busy port is named together with what changes it.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::net::TcpListener;

use crate::authority::policies::NotTaken;
use crate::catalog::CatalogError;
use crate::evidence::SpoolError;
use crate::keystore::KeystoreError;
use crate::ledger::memory::LockError;
use crate::revocation::RevocationError;

/// Why the program could not start. Each message names the thing and the fix.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    #[error("cannot listen on {address} for the {what}: {source}; choose another address with `{flag}`")]
    Listen { what: &'static str, flag: &'static str, address: SocketAddr, source: std::io::Error },
    #[error("cannot make the directory `{}`", .path.display())]
    Dir { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Policies(#[from] NotTaken),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Keys(#[from] KeystoreError),
    #[error(transparent)]
    Revocations(#[from] RevocationError),
    #[error(transparent)]
    Ledger(#[from] LockError),
    #[error("metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
    #[error(
        "it is not said where tokens are burned: add [ledger.redis] for several gateways, or set `ledger.single_instance = true` if this is the only one"
    )]
    NoLedger,
    #[error("a gateway needs to know whose tokens it takes: set `keys.jwks_url` or `keys.jwks_file`")]
    NoKeys,
    #[error("a gateway needs a route or a fallback: add [[gateway.routes]] or `gateway.fallback`")]
    NoRoutes,
    #[error(
        "`{0}` would serve other machines without TLS: add [api.tls], or set `api.insecure = true` if something before it encrypts"
    )]
    Insecure(SocketAddr),
    #[error("the access log `{}` cannot be opened", .path.display())]
    AccessLog { path: PathBuf, source: std::io::Error },
    #[error("this build has no TLS: build it with the feature `tls`")]
    NoTls,
    #[cfg(feature = "gateway")]
    #[error("the upstream of `{of}`")]
    Upstream { of: String, source: crate::gateway::upstream::NotAnUpstream },
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Tls(#[from] crate::net::tls::TlsError),
    #[cfg(feature = "otlp")]
    #[error(transparent)]
    Collector(#[from] crate::collector::CollectorError),
    #[error(transparent)]
    Client(#[from] crate::net::client::ClientError),
    #[cfg(feature = "control-plane")]
    #[error(transparent)]
    Store(#[from] crate::evidence::StoreError),
    #[cfg(feature = "control-plane")]
    #[error("the judgement of orders does not start")]
    Reconcile(#[from] crate::governance::reconcile::ReconcileError),
    #[error(transparent)]
    Allowances(#[from] crate::quota::allowance::AllowanceError),
    #[error("the system gives no thread or socket")]
    Thread(#[source] std::io::Error),
}

pub(super) async fn listen(name: &'static str, address: SocketAddr) -> Result<TcpListener, BootError> {
    let (what, flag) = match name {
        "gateway" => ("gateway", "--gateway-listen"),
        "api" => ("API and portal", "--api-listen"),
        "merchant" => ("sandbox merchant", "--merchant-listen"),
        "admin" => ("administration", "[admin] listen"),
        _ => ("metrics and health", "--ops-listen"),
    };
    TcpListener::bind(address).await.map_err(|source| BootError::Listen { what, flag, address, source })
}
