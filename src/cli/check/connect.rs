//! What answers, and how: the parts that a gateway will need, asked from where the check runs.

use std::io::ErrorKind;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use jsonwebtoken::jwk::JwkSet;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::config::{Config, JwksSource};
use crate::jwks::SET_MAX;
use crate::ledger::Ledger;
use crate::ledger::redis::{RedisLedger, RedisOptions};
use crate::net::client::{Client, Limits};
use crate::telemetry::metrics::Metrics;
use crate::token::keys::KeyRing;

use super::findings::{Finding, Group};

/// Time for a server to take a connection, and for a ledger to be found and vetted.
const PATIENCE: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(50);
/// A clock that is further off than this is worth a word: tokens live for two minutes.
const CLOCK_OFF_S: f64 = 1.0;

/// Asks all of them.
pub(super) async fn findings(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(JwksSource::Url(url)) = &config.jwks {
        found.extend(key_set(url).await);
    }
    if let Some(options) = &config.ledger.redis {
        found.extend(ledger(options).await);
    }
    for (about, url) in upstreams(config) {
        found.extend(reached(Group::Upstream, about, &url).await);
    }
    if let Some(ship) = &config.evidence.ship {
        found.extend(reached(Group::Evidence, "[evidence.ship]".to_owned(), &ship.url).await);
    }
    found.extend(running(config).await);
    found
}

async fn key_set(url: &str) -> Option<Finding> {
    let wrong = |why: String, fix: &str| Some(Finding::error(Group::Keys, "[keys]", format!("`{url}` {why}"), fix));
    let asked = async { Client::new(Limits { body: SET_MAX, ..Limits::default() })?.get(url, HeaderMap::new()).await };
    let answer = match asked.await {
        Ok(answer) => answer,
        Err(error) => {
            return wrong(format!("does not answer: {error}"), "start `permyx serve` there, or name another URL");
        }
    };
    if answer.status != http::StatusCode::OK {
        return wrong(format!("answers with status {}", answer.status), "name the URL of a key set");
    }
    unusable(&answer.body).and_then(|why| wrong(why, "publish an RS256 key of 2048 bits or more, with a kid"))
}

/// Why tokens cannot be verified with these bytes.
pub(super) fn unusable(set: &[u8]) -> Option<String> {
    match serde_json::from_slice::<JwkSet>(set) {
        Err(error) => Some(format!("is no key set: {error}")),
        Ok(set) if KeyRing::of_set(&set).0.is_empty() => {
            Some("holds no key that tokens can be verified with".to_owned())
        }
        Ok(_) => None,
    }
}

async fn ledger(options: &RedisOptions) -> Option<Finding> {
    let about = "[ledger.redis]";
    let metrics = Arc::new(Metrics::new().ok()?);
    let ledger = RedisLedger::open(options.clone(), [], Clock::system(), metrics, mpsc::channel(1).0);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let health = ledger.health();
        match health.usable {
            Ok(()) => {
                let off_s = health.clock_ahead_s.filter(|off_s| off_s.abs() > CLOCK_OFF_S)?;
                let message = format!("its server's clock is {off_s:+.1} s off this one's: tokens live for 120 s");
                return Some(Finding::warning(Group::Clock, about, message, "let NTP or chrony set both clocks"));
            }
            Err(why) if Instant::now() >= deadline => {
                let fix = "start it, let this host reach it, or correct [ledger.redis]; see docs/ledger.md";
                return Some(Finding::error(Group::Ledger, about, why, fix));
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// Each once, with what it is for.
fn upstreams(config: &Config) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    let routes = config.gateway.routes.iter().map(|route| (format!("route {}", route.name), &route.upstream));
    let fallback = config.gateway.fallback.iter().map(|url| ("gateway.fallback".to_owned(), url));
    for (about, url) in routes.chain(fallback) {
        if !all.iter().any(|(_, known)| known == url) {
            all.push((about, url.clone()));
        }
    }
    all
}

async fn reached(group: Group, about: String, url: &str) -> Option<Finding> {
    let why = connects(url).await.err()?;
    Some(Finding::error(
        group,
        about,
        format!("`{url}` {why}"),
        "start it, let this host reach it, or correct the address",
    ))
}

/// Why no connection to the server of a URL could be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreached {
    #[error("is no URL with a host")]
    NotAUrl,
    #[error("cannot be resolved: {0}")]
    Unresolved(std::io::Error),
    #[error("takes no connection: {0}")]
    Refused(std::io::Error),
    /// Nothing is known: it was not for want of an answer.
    #[error("cannot be tried: {0}")]
    NotTried(std::io::Error),
    #[error("does not answer within {} s", PATIENCE.as_secs())]
    Silent,
}

/// Opens a connection to the server of a URL.
pub(super) async fn connects(url: &str) -> Result<SocketAddr, Unreached> {
    let uri: http::Uri = url.parse().map_err(|_| Unreached::NotAUrl)?;
    let host = uri.host().ok_or(Unreached::NotAUrl)?.trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let resolved = tokio::task::spawn_blocking(move || (host, port).to_socket_addrs());
    let addresses = resolved.await.map_err(|_| Unreached::Silent)?.map_err(Unreached::Unresolved)?;
    let mut last = Unreached::Unresolved(ErrorKind::NotFound.into());
    for address in addresses {
        let this = match tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Ok(address),
            Ok(Err(error)) if is_an_answer(error.kind()) => Unreached::Refused(error),
            Ok(Err(error)) => Unreached::NotTried(error),
            Err(_) => Unreached::Silent,
        };
        // Where one address could not be tried, nothing is known of the name.
        if !matches!(last, Unreached::NotTried(_)) {
            last = this;
        }
    }
    Err(last)
}

fn is_an_answer(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::TimedOut
    )
}

/// What the process that serves by this configuration says of itself, where one does.
async fn running(config: &Config) -> Option<Finding> {
    let ops = format!("http://{}/readyz", config.ops_listen);
    if config.ops_listen.port() == 0 || connects(&ops).await.is_err() {
        return None;
    }
    let asked = async { Client::new(Limits::default())?.get(&ops, HeaderMap::new()).await };
    let told = match asked.await {
        Ok(answer) if answer.status == http::StatusCode::OK => return None,
        Ok(answer) => format!("is not ready: {}", String::from_utf8_lossy(&answer.body).trim().replace('\n', "; ")),
        Err(error) => format!("does not say whether it is ready: {error}"),
    };
    Some(Finding::error(Group::Running, ops, format!("the running process {told}"), "see docs/operations.md"))
}
