//! A merchant's server, as the configuration names it.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora::upstreams::peer::HttpPeer;

use super::pool::{IDLE_MAX, Pool};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest silence of a merchant on paths that are only forwarded.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a text is not an upstream.
#[derive(Debug, thiserror::Error)]
pub enum NotAnUpstream {
    #[error("write it as `http://host:port` or `https://host:port`, without a path")]
    Form,
    #[error("`https` needs a build with TLS")]
    NoTls,
    #[error("`{host}` cannot be resolved")]
    Unresolved { host: String, source: std::io::Error },
    #[error("`{0}` has no address")]
    NoAddress(String),
}

/// One merchant server. Its address is looked up again by [`Upstream::refresh`].
pub struct Upstream {
    host: String,
    port: u16,
    tls: bool,
    address: ArcSwap<SocketAddr>,
    /// Connections that wait for their next request.
    pub(super) pool: Pool,
}

impl Upstream {
    /// Reads `http://host:port` and looks the host up.
    pub fn parse(text: &str) -> Result<Self, NotAnUpstream> {
        let (scheme, rest) = text.split_once("://").ok_or(NotAnUpstream::Form)?;
        let (tls, default_port) = match scheme {
            "http" => (false, 80),
            "https" if cfg!(feature = "tls") => (true, 443),
            "https" => return Err(NotAnUpstream::NoTls),
            _ => return Err(NotAnUpstream::Form),
        };
        let authority: http::uri::Authority =
            rest.strip_suffix('/').unwrap_or(rest).parse().map_err(|_| NotAnUpstream::Form)?;
        if authority.as_str().contains('@') {
            return Err(NotAnUpstream::Form);
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().unwrap_or(default_port);
        let address = resolve(&host, port)?;
        Ok(Self { host, port, tls, address: ArcSwap::from_pointee(address), pool: Pool::default() })
    }

    /// Looks the host up again; the old address stays when that fails. Blocks on the resolver.
    pub fn refresh(&self) {
        if let Ok(address) = resolve(&self.host, self.port) {
            self.address.store(address.into());
        }
    }

    /// Where and how to connect.
    #[must_use]
    pub fn peer(&self) -> HttpPeer {
        let mut peer = HttpPeer::new(self.address(), self.tls, self.host.clone());
        peer.options.connection_timeout = Some(CONNECT_TIMEOUT);
        peer.options.total_connection_timeout = Some(CONNECT_TIMEOUT);
        peer.options.read_timeout = Some(FORWARD_TIMEOUT);
        peer.options.write_timeout = Some(FORWARD_TIMEOUT);
        peer.options.idle_timeout = Some(IDLE_MAX);
        peer
    }

    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        self.tls
    }

    /// Where it is now.
    pub(super) fn address(&self) -> SocketAddr {
        **self.address.load()
    }
}

impl std::fmt::Display for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}:{}", if self.tls { "https" } else { "http" }, self.host, self.port)
    }
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, NotAnUpstream> {
    let found = (host, port).to_socket_addrs();
    let mut found = found.map_err(|source| NotAnUpstream::Unresolved { host: host.to_owned(), source })?;
    found.next().ok_or_else(|| NotAnUpstream::NoAddress(host.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_a_scheme_a_host_and_a_port() {
        assert_eq!(Upstream::parse("http://127.0.0.1:8482/").unwrap().to_string(), "http://127.0.0.1:8482");
        assert_eq!(Upstream::parse("http://[::1]:80").unwrap().address.load().to_string(), "[::1]:80");
        for bad in ["127.0.0.1:80", "ftp://a", "http://", "http://a/b", "http://u@127.0.0.1"] {
            assert!(matches!(Upstream::parse(bad), Err(NotAnUpstream::Form)), "{bad}");
        }
    }
}
