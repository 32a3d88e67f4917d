//! Would it start? Everything that a start opens and that may be opened while another process runs by the same
//! configuration. Asked before an upgrade: nothing that holds is given up for something that does not.

use std::sync::Arc;

use crate::authority::policies::PolicyBook;
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::config::Config;
#[cfg(feature = "tls")]
use crate::config::TlsFiles;
use crate::keystore::admin::AdminToken;
use crate::telemetry::metrics::Metrics;

use super::listen::BootError;

/// As `permyx gateway`.
#[cfg(feature = "gateway")]
pub fn rehearse_gateway(config: &Config) -> Result<(), BootError> {
    super::roles::complete(config)?;
    super::roles::routes(config)?;
    super::roles::open_access_log(config, &Metrics::new()?)?;
    #[cfg(feature = "tls")]
    certificate(config.gateway.tls.as_ref())?;
    common(config)
}

/// As `permyx serve`.
#[cfg(feature = "control-plane")]
pub fn rehearse_serve(config: &Config) -> Result<(), BootError> {
    super::control::complete(config)?;
    #[cfg(feature = "tls")]
    certificate(config.api.tls.as_ref())?;
    common(config)
}

#[cfg(feature = "tls")]
fn certificate(files: Option<&TlsFiles>) -> Result<(), BootError> {
    if let Some(files) = files {
        crate::net::tls::Certificate::open(&files.certificate, &files.key)?;
    }
    Ok(())
}

fn common(config: &Config) -> Result<(), BootError> {
    PolicyBook::open(config.policies.clone(), Clock::system(), Arc::new(Metrics::new()?))?;
    config.catalog.as_deref().map(Catalog::open).transpose()?;
    #[cfg(feature = "otlp")]
    super::traces::open(config, "", &Metrics::new()?)?;
    if config.admin_listen.is_some() {
        AdminToken::open(&config.data)?;
    }
    Ok(())
}
