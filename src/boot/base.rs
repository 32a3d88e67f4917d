//! What every role starts with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::authority::Authority;
use crate::authority::policies::PolicyBook;
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::config::Config;
#[cfg(feature = "tls")]
use crate::config::TlsFiles;
use crate::draining::Draining;
use crate::evidence::{Spool, SpoolOptions, Unsettled, sync_loop, unsettled};
use crate::keystore::admin::AdminToken;
use crate::keystore::signing::SigningKeys;
use crate::ledger::front::Front;
#[cfg(feature = "tls")]
use crate::net::tls::Certificate;
use crate::ops::Ops;
use crate::ops::admin::Admin;
use crate::reload::Reloaded;
use crate::revocation::KillSwitch;
use crate::telemetry::access::AccessLog;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Traces;
use crate::token::keys::KeyRing;

use super::handover::Listeners;
use super::ledger::{self, Opened};
use super::listen::BootError;
use super::revocations::kill_switch;
use super::run::{Address, Carrier};
use super::stop::Tasks;

/// Largest segment of a spool.
const SEGMENT: u64 = 16 << 20;

/// Time, metrics, evidence, policies and catalogs.
pub(super) struct Base {
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) evidence: Arc<Spool>,
    pub(super) policies: Arc<PolicyBook>,
    pub(super) catalog: Arc<Catalog>,
    pub(super) revocations: Arc<KillSwitch>,
    pub(super) tasks: Tasks,
    pub(super) listeners: Listeners,
    pub(super) draining: Draining,
    /// Written to its end when the process ends.
    pub(super) access: Option<Arc<AccessLog>>,
    traces: Option<Arc<Traces>>,
    pub(super) carriers: Vec<Carrier>,
    /// What an earlier life of this process reserved and did not settle.
    left: Vec<Unsettled>,
}

impl Base {
    /// `source` names this producer in evidence.
    pub(super) fn open(config: &Config, source: String) -> Result<Self, BootError> {
        #[cfg(feature = "tls")]
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (clock, metrics) = (Clock::system(), Arc::new(Metrics::new()?));
        make_dir(&config.data)?;
        let spool_dir = spool_dir(config);
        make_dir(&spool_dir)?;
        // Before anything of this life is written.
        let left = unsettled(&spool_dir).map_err(|source| BootError::Dir { path: spool_dir.clone(), source })?;
        #[cfg(feature = "otlp")]
        let (traces, courier) = super::traces::start(config, &source, &metrics)?.unzip();
        #[cfg(not(feature = "otlp"))]
        let (traces, courier) = (None, None);
        let options = SpoolOptions {
            dir: spool_dir,
            source,
            limit_bytes: config.evidence.spool_limit,
            segment_bytes: SEGMENT,
            class: config.evidence.class,
        };
        let evidence = Arc::new(Spool::open(options, clock.clone(), metrics.clone())?);
        let policies = PolicyBook::open(config.policies.clone(), clock.clone(), metrics.clone())?;
        let catalog = config.catalog.as_deref().map_or_else(|| Ok(Catalog::none()), Catalog::open)?;
        let (policies, catalog) = (Arc::new(policies), Arc::new(catalog));
        let mut tasks = Tasks::new();
        let revocations = kill_switch(config, &clock, &metrics, &evidence, &mut tasks)?;
        let (listeners, draining) = (Listeners::inherited(), Draining::default());
        let mut base = Self {
            clock,
            metrics,
            evidence,
            policies,
            catalog,
            revocations,
            tasks,
            listeners,
            draining,
            access: None,
            traces,
            carriers: courier.into_iter().collect(),
            left,
        };
        base.accompany(config);
        Ok(base)
    }

    fn accompany(&mut self, config: &Config) {
        self.tasks.accompany(sync_loop(self.evidence.clone()));
        if let Some(dir) = config.policies.clone() {
            let (policies, evidence) = (self.policies.clone(), self.evidence.clone());
            self.tasks.follow(dir, move || policies.reload(&evidence));
        }
        if let Some(dir) = config.catalog.clone() {
            let catalog = self.catalog.clone();
            self.tasks.follow(dir, move || {
                if let Err(error) = catalog.reload() {
                    tracing::error!(%error, "catalogs not taken, those before stay");
                }
            });
        }
    }

    /// The lane over this base.
    pub(super) fn authority(&mut self, opened: Opened, keys: Keys) -> Arc<Authority> {
        let (ledger, notices, sweep) = opened.parts();
        let authority = Arc::new(Authority {
            clock: self.clock.clone(),
            ledger,
            front: Front::default(),
            evidence: self.evidence.clone(),
            metrics: self.metrics.clone(),
            traces: self.traces.clone(),
            keys: keys.ring,
            issuer: keys.issuer,
            policies: self.policies.clone(),
            catalog: self.catalog.clone(),
            revocations: self.revocations.clone(),
            unknown_key: keys.unknown_key,
        });
        let left = std::mem::take(&mut self.left);
        ledger::accompany(self, &authority, left, notices, sweep);
        authority
    }

    /// Metrics and health.
    pub(super) async fn ops(
        &mut self,
        config: &Config,
        authority: &Arc<Authority>,
        burns: bool,
    ) -> Result<(Ops, Address), BootError> {
        let listener = self.listeners.open("ops", config.ops_listen).await?;
        let address = local(&listener, "ops", config.ops_listen, false);
        let ops = Ops::new(authority.clone(), burns, self.draining.clone());
        let router = ops.clone().router();
        // To the end: who asks whether it still runs is told.
        self.tasks.accompany(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok((ops, address))
    }
}

/// TLS settings of a listener. Its certificate is followed as it is renewed.
#[cfg(feature = "tls")]
pub(super) fn tls(files: &TlsFiles, base: &mut Base) -> Result<Arc<rustls::ServerConfig>, BootError> {
    let certificate = Certificate::open(&files.certificate, &files.key)?;
    let config = certificate.server_config(&[b"http/1.1"])?;
    let mut dirs: Vec<_> = [&files.certificate, &files.key].iter().filter_map(|file| file.parent()).collect();
    dirs.dedup();
    for dir in dirs {
        let (certificate, metrics, clock) = (certificate.clone(), base.metrics.clone(), base.clock.clone());
        let mut well = true;
        base.tasks.follow(dir.to_owned(), move || {
            match certificate.reload() {
                Ok(false) if well => return,
                Ok(renewed) => {
                    tracing::info!(renewed, "certificate read again");
                    well = true;
                }
                // Told once.
                Err(_) if !well => return,
                Err(error) => {
                    tracing::error!(%error, "certificate not taken, the one before stays");
                    well = false;
                }
            }
            metrics.reloaded("certificate", well, clock.now());
        });
    }
    Ok(config)
}

/// Administration, where the configuration asks for it.
pub(super) async fn admin(config: &Config, ops: &Ops, base: &mut Base) -> Result<Option<Address>, BootError> {
    let Some(asked) = config.admin_listen else { return Ok(None) };
    let listener = base.listeners.open("admin", asked).await?;
    let address = local(&listener, "admin", asked, false);
    let token = AdminToken::open(&config.data)?;
    tracing::info!(file = %AdminToken::path(&config.data).display(), "the token of administration is in this file");
    let admin =
        Admin { ops: ops.clone(), config: Arc::new(config.effective()), token, nudges: base.tasks.nudges().clone() };
    base.tasks.accompany(async move {
        let _ = axum::serve(listener, admin.router()).await;
    });
    Ok(Some(address))
}

/// Whose tokens are taken, and what signs new ones.
pub(super) struct Keys {
    pub(super) ring: Arc<Reloaded<KeyRing>>,
    pub(super) issuer: Option<Arc<Reloaded<SigningKeys>>>,
    pub(super) unknown_key: Arc<Notify>,
}

/// This process's own spool.
pub(super) fn spool_dir(config: &Config) -> PathBuf {
    config.data.join("spool")
}

pub(super) fn make_dir(path: &Path) -> Result<(), BootError> {
    std::fs::create_dir_all(path).map_err(|source| BootError::Dir { path: path.to_owned(), source })
}

pub(super) fn local(listener: &TcpListener, name: &'static str, asked: std::net::SocketAddr, tls: bool) -> Address {
    Address::new(name, listener.local_addr().unwrap_or(asked), tls)
}
