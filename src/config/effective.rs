//! The configuration in force, for whoever looks after a running process. Secrets are in files that it only
//! names; what an address may carry of them is masked.

use serde_json::{Value, json};

use super::{Config, JwksSource, RouteConfig, TlsFiles};

impl Config {
    #[must_use]
    pub fn effective(&self) -> Value {
        let tls = |tls: &Option<TlsFiles>| {
            tls.as_ref().map(|files| json!({ "certificate": files.certificate, "key": files.key }))
        };
        let route = |route: &RouteConfig| {
            json!({
                "name": route.name,
                "hosts": route.hosts,
                "path": if route.prefix.is_empty() { "/" } else { &route.prefix },
                "preset": route.preset.name,
                "store": route.store.as_str(),
                "upstream": masked(&route.upstream),
            })
        };
        let jwks = self.jwks.as_ref().map(|source| match source {
            JwksSource::File(path) => json!({ "jwks_file": path }),
            JwksSource::Url(url) => json!({ "jwks_url": masked(url) }),
        });
        json!({
            "data": self.data,
            "log": { "filter": self.log.filter, "format": format!("{:?}", self.log.format).to_lowercase() },
            "access_log": {
                "requests": format!("{:?}", self.access_log.requests).to_lowercase(),
                "file": self.access_log.file,
            },
            "traces": self.traces.as_ref().map(|traces| {
                json!({ "url": masked(&traces.url), "share": traces.share, "headers_file": traces.headers })
            }),
            "gateway": {
                "name": self.gateway.name,
                "listen": self.gateway.listen,
                "tls": tls(&self.gateway.tls),
                "body_max": self.gateway.body_max,
                "connections_max": self.gateway.connections_max,
                "fallback": self.gateway.fallback.as_deref().map(masked),
                "routes": self.gateway.routes.iter().map(route).collect::<Vec<_>>(),
            },
            "api": { "listen": self.api.listen, "tls": tls(&self.api.tls), "insecure": self.api.insecure },
            "ops": { "listen": self.ops_listen },
            "admin": { "listen": self.admin_listen },
            "ledger": {
                "single_instance": self.ledger.single_instance,
                "capacity": self.ledger.capacity,
                "lease_s": self.ledger.lease.as_secs(),
                "redis": self.ledger.redis.is_some(),
            },
            "policies": self.policies,
            "catalog": self.catalog,
            "evidence": {
                "class": format!("{:?}", self.evidence.class).to_lowercase(),
                "spool_limit": self.evidence.spool_limit,
                "spools": self.evidence.spools,
                "log_name": self.evidence.log_name,
                "ship": self.evidence.ship.as_ref().map(|ship| json!({ "url": masked(&ship.url), "key_file": ship.key_file })),
            },
            "keys": jwks,
            "shutdown": { "delay_s": self.shutdown.delay.as_secs(), "timeout_s": self.shutdown.timeout.as_secs() },
        })
    }
}

/// An address without what signs in to it.
fn masked(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let path = path.split_once('?').map_or(path.to_owned(), |(path, _)| format!("{path}?…"));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://…@{host}{path}"),
        None => format!("{scheme}://{authority}{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_signs_in_is_shown() {
        assert_eq!(masked("https://user:secret@shop.example:1/a?key=secret"), "https://…@shop.example:1/a?…");
        assert_eq!(masked("http://127.0.0.1:8080"), "http://127.0.0.1:8080");
        assert_eq!(masked("unix:/run/shop"), "unix:/run/shop");
    }
}
