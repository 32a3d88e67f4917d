//! What a Redis ledger is opened with.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use redis::RedisConnectionInfo;

use super::trouble::Trouble;

/// Where a server listens.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl Address {
    /// `host:port`, the host of an IPv6 address in brackets.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bare {
            Some(host) => host,
            None if host.contains(':') => return None,
            None => host,
        };
        let port = port.parse().ok().filter(|port| *port != 0)?;
        (!host.is_empty()).then(|| Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// How the server that burns is found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Topology {
    Standalone(Address),
    /// The primary of this name, as the sentinels know it.
    Sentinel {
        sentinels: Vec<Address>,
        primary: String,
    },
    Cluster {
        seeds: Vec<Address>,
    },
}

/// What must have happened before a token counts as burned (docs/ledger.md).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// One server with an append-only file. Its failure closes the gate; nothing is promoted.
    Aof,
    /// This many replicas have the burn: all that could be promoted.
    Replicas(u32),
    /// Nothing is promised: a failover may forget the newest burns.
    Async,
}

impl Durability {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aof => "aof",
            Self::Replicas(_) => "replicas",
            Self::Async => "async",
        }
    }

    pub(super) const fn needs_log(self) -> bool {
        !matches!(self, Self::Async)
    }

    /// True where the loss of one server cannot bring a burned token back.
    pub(super) const fn is_exactly_once(self) -> bool {
        !matches!(self, Self::Async)
    }
}

/// A password's place. It is read at each connection, so that it can be changed while we run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Password {
    File(PathBuf),
    /// Read from the environment when the configuration was.
    Given(Secret),
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// How servers are signed in to, and what is expected of them.
#[derive(Clone, Debug)]
pub struct Access {
    pub username: Option<String>,
    pub password: Option<Password>,
    pub database: i64,
    pub durability: Durability,
    #[cfg(feature = "tls")]
    pub tls: Option<std::sync::Arc<rustls::ClientConfig>>,
    pub clock_ahead: ClockAhead,
}

/// How far the clock of a server was ahead of ours at the last look at it, for whoever asks.
#[derive(Clone, Debug, Default)]
pub struct ClockAhead(std::sync::Arc<std::sync::atomic::AtomicI64>);

impl ClockAhead {
    pub(super) fn tell(&self, ms: i64) {
        self.0.store(ms, std::sync::atomic::Ordering::Relaxed);
    }

    #[expect(clippy::cast_precision_loss, reason = "a difference of clocks, exact far beyond any that occurs")]
    pub(super) fn seconds(&self) -> f64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed) as f64 / 1e3
    }
}

impl Access {
    pub(super) fn login(&self) -> Result<RedisConnectionInfo, Trouble> {
        let mut login = RedisConnectionInfo::default().set_db(self.database).set_skip_set_lib_name();
        if let Some(username) = &self.username {
            login = login.set_username(username);
        }
        match &self.password {
            None => {}
            Some(Password::Given(secret)) => login = login.set_password(&secret.0),
            Some(Password::File(path)) => {
                let secret = std::fs::read_to_string(path).map_err(|_| Trouble::Denied)?;
                login = login.set_password(secret.trim_end_matches(['\r', '\n']));
            }
        }
        Ok(login)
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    pub topology: Topology,
    pub access: Access,
    /// How sentinels are signed in to: with a password of their own, or none.
    pub sentinel_access: Access,
    /// Connections to each server.
    pub connections: usize,
    /// For all attempts of one operation.
    pub deadline: Duration,
    /// After it an unsettled reservation counts as lost.
    pub lease: Duration,
    /// Names this process in entries.
    pub replica: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for (text, host, port) in
            [("redis:6379", "redis", 6379), ("[::1]:1", "::1", 1), ("10.0.0.1:65535", "10.0.0.1", 65535)]
        {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.host.as_str(), address.port, address.to_string()), (host, port, text.to_owned()));
        }
        for bad in ["", "redis", ":1", "redis:0", "redis:65536", "::1:6379", "a:b"] {
            assert_eq!(Address::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let password = Password::Given(Secret("hunter2".to_owned()));
        assert!(!format!("{password:?}").contains("hunter2"));
    }
}
