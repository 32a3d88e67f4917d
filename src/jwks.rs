//! Floor 4: the key set that a gateway trusts, from a file or a URL. Bounded, and the last good set
//! is kept whatever comes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::jwk::JwkSet;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::net::client::{Client, ClientError};
use crate::reload::Reloaded;
use crate::telemetry::metrics::Metrics;
use crate::token::keys::KeyRing;

/// Longest key set.
pub const SET_MAX: usize = 256 * 1024;
/// A set is read again this often without any reason.
const EVERY: Duration = Duration::from_secs(300);
/// A token with an unknown key asks for a refresh; no more than one in this time, so that a flood
/// of such tokens costs the issuer nothing.
const PAUSE: Duration = Duration::from_secs(30);

/// While there is no key at all, the source is asked this often.
const AT_FIRST: Duration = Duration::from_secs(1);

/// Where the set is.
pub enum Source {
    File(PathBuf),
    Url { url: String, client: Box<Client> },
}

/// Why a set was not taken.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    #[error("cannot read the key set `{}`", .path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("cannot fetch the key set: {0}")]
    Url(#[from] ClientError),
    #[error("the key set was answered with status {0}")]
    Status(u16),
    #[error("the key set has more than {SET_MAX} bytes")]
    TooLong,
    #[error("this is not a key set (RFC 7517)")]
    NotASet(#[from] serde_json::Error),
    #[error("the key set holds no key that can verify tokens: RSA, RS256, 2048 bits or more, with a kid")]
    NoUsableKey,
}

/// A key ring that follows its source.
pub struct Jwks {
    source: Source,
    pub ring: Arc<Reloaded<KeyRing>>,
    /// Told when a token names a key that is not in the ring.
    pub unknown_key: Arc<Notify>,
    metrics: Arc<Metrics>,
    clock: Clock,
    /// Oldest set whose keys are still trusted.
    max_stale: Duration,
}

impl Jwks {
    /// Starts with an empty ring: nothing verifies until the first refresh.
    #[must_use]
    pub fn new(source: Source, max_stale: Duration, metrics: Arc<Metrics>, clock: Clock) -> Self {
        let ring = Arc::new(Reloaded::new(KeyRing::default()));
        Self { source, ring, unknown_key: Arc::default(), metrics, clock, max_stale }
    }

    /// Reads the set once and takes its usable keys. On an error the ring stays as it is.
    pub async fn refresh(&self) -> Result<(), JwksError> {
        let taken = self.fetch().await;
        let result = if taken.is_ok() { "taken" } else { "failed" };
        self.metrics.jwks_refreshes.with_label_values(&[result]).inc();
        let ring = taken?;
        self.metrics.jwks_keys.set(i64::try_from(ring.len()).unwrap_or(i64::MAX));
        self.ring.replace(ring);
        Ok(())
    }

    /// Refreshes at intervals and when an unknown key is presented. Runs until it is dropped. A set
    /// that was not confirmed for too long is trusted no more: what was revoked since is not known.
    pub async fn follow(&self) {
        let mut taken = self.clock.monotonic();
        loop {
            if self.ring.snapshot().is_empty() {
                tokio::time::sleep(AT_FIRST).await;
            } else {
                let pause = PAUSE.min(self.max_stale / 4);
                tokio::time::sleep(pause).await;
                tokio::select! {
                    () = self.unknown_key.notified() => {}
                    () = tokio::time::sleep(EVERY.min(self.max_stale / 2) - pause) => {}
                }
            }
            match self.refresh().await {
                Ok(()) => taken = self.clock.monotonic(),
                Err(error) => tracing::warn!(%error, "key set not refreshed, the last good one stays"),
            }
            let age_s = self.clock.monotonic().seconds_since(taken);
            self.metrics.jwks_age.set(age_s);
            if age_s > self.max_stale.as_secs_f64() && !self.ring.snapshot().is_empty() {
                tracing::error!(age_s, "the key set was not confirmed for too long and is trusted no more");
                self.ring.replace(KeyRing::default());
            }
        }
    }

    async fn fetch(&self) -> Result<KeyRing, JwksError> {
        let bytes = match &self.source {
            Source::File(path) => {
                let read = std::fs::read(path);
                read.map_err(|source| JwksError::File { path: path.clone(), source })?.into()
            }
            Source::Url { url, client } => {
                let answer = client.get(url, http::HeaderMap::new()).await?;
                if answer.status.as_u16() != 200 {
                    return Err(JwksError::Status(answer.status.as_u16()));
                }
                answer.body
            }
        };
        if bytes.len() > SET_MAX {
            return Err(JwksError::TooLong);
        }
        let (ring, refused) = KeyRing::of_set(&serde_json::from_slice::<JwkSet>(&bytes)?);
        for (kid, why) in refused {
            tracing::warn!(kid, %why, "key not taken");
        }
        if ring.is_empty() { Err(JwksError::NoUsableKey) } else { Ok(ring) }
    }
}
