//! The configuration file as it is written.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::evidence::Class;
use crate::model::document::{At, Problem};
use crate::model::ids::StoreId;
use crate::protocol::preset::{Preset, texts};
use crate::telemetry::access::Which;
use crate::telemetry::logging::LogFormat;
use crate::tlog::key::KeyName;

use super::detect::{DetectDoc, networks};
use super::ledger::LedgerDoc;
use super::orders::OrdersDoc;
use super::words::{Found, address, named, number};
use super::{
    AccessConfig, ApiConfig, Config, EvidenceConfig, GatewayConfig, JwksSource, Log, RouteConfig, ShipConfig, Shutdown,
    TlsFiles, TracesConfig,
};

/// `permyx.toml`. Relative paths start at the file's directory.
#[derive(Deserialize, Default, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigDoc {
    /// Directory of keys, spool, store and locks; default `data`.
    data: Option<String>,
    log: LogDoc,
    access_log: AccessDoc,
    traces: TracesDoc,
    gateway: GatewayDoc,
    api: ApiDoc,
    ops: OpsDoc,
    admin: AdminDoc,
    ledger: LedgerDoc,
    policies: DirDoc,
    catalog: DirDoc,
    evidence: EvidenceDoc,
    detect: DetectDoc,
    keys: KeysDoc,
    orders: OrdersDoc,
    shutdown: ShutdownDoc,
}

#[derive(Deserialize, Default, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct LogDoc {
    /// As in `info,permyx::gateway=debug`; default `info`.
    filter: Option<String>,
    /// `json` (default) or `text`.
    format: LogFormat,
}

#[derive(Deserialize, Default, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct AccessDoc {
    /// Which requests get a line of JSON: `off` (default), `denied` or `all`. It is no evidence.
    requests: Which,
    /// Without it, the standard output. Opened anew on SIGHUP.
    file: Option<String>,
}

#[derive(Deserialize, Default, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct TracesDoc {
    /// Where OTLP is taken over HTTP, like `http://collector:4318/v1/traces`. Without it nothing is traced.
    url: Option<At<String>>,
    /// Share of the requests that name no trace of their own, 0 to 1; default 0.01. Refusals are traced whatever it is,
    /// up to a hundred a second.
    share: Option<At<f64>>,
    /// File with header fields that the collector asks for, one on a line.
    headers_file: Option<String>,
}

impl TracesDoc {
    fn compile(self, base: &Path, found: Found<'_>) -> Option<TracesConfig> {
        let share = self.share.as_ref().map_or(0.01, |share| **share);
        if let Some(told) = self.share.as_ref().filter(|_| !(0.0..=1.0).contains(&share)) {
            found.push(told.problem(format!("`share` {share} is no share"), "write a number from 0 to 1"));
        }
        let url = self.url?;
        let parsed = url.parse::<http::Uri>().ok().filter(|url| matches!(url.scheme_str(), Some("http" | "https")));
        let host = parsed.as_ref().and_then(|url| url.authority()).map(http::uri::Authority::as_str);
        if host.is_none_or(|host| host.contains('@')) {
            found.push(url.problem("`url` is no address", "write it like `http://collector:4318/v1/traces`"));
        }
        if cfg!(not(feature = "otlp")) {
            found.push(url.problem("this build sends no traces", "use one with the feature `otlp`, or leave it out"));
        }
        Some(TracesConfig { url: url.value, share, headers: self.headers_file.map(|file| base.join(file)) })
    }
}

#[derive(Deserialize, Default, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct GatewayDoc {
    /// Name of this gateway in evidence; default `gateway`.
    name: Option<At<String>>,
    /// Default `127.0.0.1:8480`; port 0 takes a free one.
    listen: Option<At<String>>,
    tls: Option<TlsDoc>,
    /// Largest body of a guarded request in bytes, up to 1 MiB; default 65536.
    body_max: Option<At<i64>>,
    /// Connections at once; default 16384.
    connections_max: Option<At<i64>>,
    /// Upstream of paths that no route guards; without it they are 404.
    fallback: Option<String>,
    /// Directory of preset files of your own.
    presets: Option<At<String>>,
    /// Networks of the proxies before this gateway, whose `X-Forwarded-For` is believed.
    trusted_proxies: Vec<At<String>>,
    routes: Vec<RouteDoc>,
}

#[derive(Deserialize, Default, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct RouteDoc {
    /// Names the route in policies, metrics and evidence.
    name: At<String>,
    /// Host names that the route is for; all, when empty.
    hosts: Vec<String>,
    /// Path prefix, like `/checkout`.
    path: At<String>,
    /// Names the checkout protocol: one of `permyx preset list`, or of `gateway.presets`.
    preset: At<String>,
    /// Members of the preset that are different here.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    r#override: Option<At<toml::Table>>,
    store: At<String>,
    /// `http://host:port` of the merchant.
    upstream: At<String>,
}

#[derive(Deserialize, Default, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct TlsDoc {
    /// PEM file with the certificate chain.
    certificate: String,
    /// PEM file with its private key.
    key: String,
}

#[derive(Deserialize, Default, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct ApiDoc {
    /// Default `127.0.0.1:8481`.
    listen: Option<At<String>>,
    tls: Option<TlsDoc>,
    /// Serve other machines without TLS. Keys and tokens are then readable on the way.
    insecure: bool,
}

#[derive(Deserialize, Default, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct OpsDoc {
    /// Metrics and health; default `127.0.0.1:9464`.
    listen: Option<At<String>>,
}

#[derive(Deserialize, Default, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct AdminDoc {
    /// Where administration listens, `127.0.0.1:9901`: an address that this machine alone reaches. Without it, nowhere.
    listen: Option<At<String>>,
}

impl AdminDoc {
    fn compile(self, found: Found<'_>) -> Option<SocketAddr> {
        let told = self.listen?;
        let listen = address(Some(&told), 9901, found);
        if !listen.ip().is_loopback() {
            let message = format!("administration may not listen on `{}`, which other machines reach", *told);
            found.push(told.problem(message, "write \"127.0.0.1:9901\", and come by way of this machine"));
        }
        Some(listen)
    }
}

#[derive(Deserialize, Default, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct DirDoc {
    dir: Option<String>,
}

#[derive(Deserialize, Default, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct EvidenceDoc {
    /// What a request waits for: `spool` (default), its event is written and survives a killed process; `strict`,
    /// it is on the disk.
    class: ClassDoc,
    /// Bytes that the spool may hold; default 4294967296 (4 GiB). A quarter is kept for executions, half of it
    /// for their outcomes.
    spool_limit: Option<At<i64>>,
    /// Spool directories of gateways on this host, read by `permyx serve`.
    spools: Vec<String>,
    /// What the signed logs of `permyx serve` are called, without the year (`shop.example/permyx`); default
    /// `localhost/permyx`. Auditors pin keys under this name: choose it once.
    log_name: Option<At<String>>,
    ship: Option<ShipDoc>,
}

/// The control plane on another host that gets a gateway's events.
#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct ShipDoc {
    /// Its address (`https://permyx.internal:8481`).
    url: At<String>,
    /// File that holds an API key of role `gateway`.
    key_file: String,
}

/// A name that may stand in a signed note.
fn log_name(name: Option<&At<String>>, found: Found<'_>) -> String {
    if let Some(name) = name
        && let Err(error) = KeyName::parse(&format!("{}/2026", **name))
    {
        found.push(name.problem(format!("`log_name` {error}"), "write it like `shop.example/permyx`"));
    }
    name.map_or_else(|| "localhost/permyx".to_owned(), |name| (**name).clone())
}

impl ShipDoc {
    fn compile(self, base: &Path, found: Found<'_>) -> ShipConfig {
        if !self.url.starts_with("https://") && !self.url.starts_with("http://") {
            found.push(self.url.problem("`url` is no address", "write it like `https://permyx.internal:8481`"));
        }
        ShipConfig { url: (*self.url).clone(), key_file: base.join(self.key_file) }
    }
}

/// See [`Class`].
#[derive(Deserialize, Default, Clone, Copy, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ClassDoc {
    #[default]
    Spool,
    Strict,
}

impl From<ClassDoc> for Class {
    fn from(class: ClassDoc) -> Self {
        match class {
            ClassDoc::Spool => Self::Spool,
            ClassDoc::Strict => Self::Strict,
        }
    }
}

#[derive(Deserialize, Default, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct KeysDoc {
    /// Key set file that a gateway trusts.
    jwks_file: Option<At<String>>,
    /// Key set URL that a gateway trusts.
    jwks_url: Option<At<String>>,
    /// Seconds for which a key set is trusted that cannot be read again; default 86400 (a day).
    max_stale_s: Option<At<i64>>,
}

#[derive(Deserialize, Default, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct ShutdownDoc {
    /// Seconds for which a process that was told to stop is not ready and still accepts; default 5.
    delay_s: Option<At<i64>>,
    /// Seconds until it has ended, its last event on the disk; default 25.
    timeout_s: Option<At<i64>>,
}

impl ShutdownDoc {
    fn compile(self, found: Found<'_>) -> Shutdown {
        let delay = number(self.delay_s.as_ref(), 5, 0..=300, found);
        let timeout = number(self.timeout_s.as_ref(), 25, 1..=900, found);
        if let Some(told) = self.delay_s.as_ref().filter(|_| delay >= timeout) {
            let message = format!("`delay_s` {delay} leaves no time of the {timeout} s in which all has to end");
            found.push(told.problem(message, "make `timeout_s` larger"));
        }
        Shutdown { delay: Duration::from_secs(delay as u64), timeout: Duration::from_secs(timeout as u64) }
    }
}

impl ConfigDoc {
    pub(super) fn compile(self, base: &Path, mut problems: Vec<Problem>) -> Result<Config, Vec<Problem>> {
        let config = self.checked(base, &mut problems);
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    pub(super) fn defaults(self, base: &Path) -> Config {
        self.checked(base, &mut Vec::new())
    }

    fn checked(self, base: &Path, found: Found<'_>) -> Config {
        let max_stale = number(self.keys.max_stale_s.as_ref(), 86_400, 4..=30 * 86_400, found) as u64;
        let jwks = self.keys.compile(base, found);
        let gateway = self.gateway.compile(base, found);
        let api = ApiConfig {
            listen: address(self.api.listen.as_ref(), 8481, found),
            tls: self.api.tls.map(|tls| tls.compile(base)),
            insecure: self.api.insecure,
        };
        Config {
            data: base.join(self.data.as_deref().unwrap_or("data")),
            log: Log { filter: self.log.filter.unwrap_or_else(|| "info".to_owned()), format: self.log.format },
            access_log: AccessConfig {
                requests: self.access_log.requests,
                file: self.access_log.file.map(|file| base.join(file)),
            },
            traces: self.traces.compile(base, found),
            gateway,
            api,
            admin_listen: self.admin.compile(found),
            ops_listen: address(self.ops.listen.as_ref(), 9464, found),
            ledger: self.ledger.compile(base, found),
            policies: self.policies.dir.map(|dir| base.join(dir)),
            catalog: self.catalog.dir.map(|dir| base.join(dir)),
            evidence: EvidenceConfig {
                class: self.evidence.class.into(),
                spool_limit: number(self.evidence.spool_limit.as_ref(), 4 << 30, 1 << 20..=1 << 44, found) as u64,
                spools: self.evidence.spools.iter().map(|dir| base.join(dir)).collect(),
                log_name: log_name(self.evidence.log_name.as_ref(), found),
                ship: self.evidence.ship.map(|ship| ship.compile(base, found)),
            },
            detect: self.detect.compile(base, found),
            hooks: self.orders.compile(base, found),
            jwks,
            jwks_max_stale: Duration::from_secs(max_stale),
            shutdown: self.shutdown.compile(found),
        }
    }
}

impl GatewayDoc {
    fn compile(self, base: &Path, found: Found<'_>) -> GatewayConfig {
        let presets = self.presets(base, found);
        let mut routes: Vec<RouteConfig> = Vec::new();
        for route in &self.routes {
            if routes.iter().any(|earlier| earlier.name == *route.name) {
                found.push(
                    route
                        .name
                        .problem(format!("two routes are named `{}`", *route.name), "give each a name of its own"),
                );
            }
            routes.extend(route.compile(&presets, found));
        }
        GatewayConfig {
            name: named(self.name.as_ref(), "gateway", found),
            listen: address(self.listen.as_ref(), 8480, found),
            tls: self.tls.map(|tls| tls.compile(base)),
            body_max: number(self.body_max.as_ref(), 64 << 10, 1 << 10..=1 << 20, found),
            connections_max: number(self.connections_max.as_ref(), 16_384, 1..=1_000_000, found),
            fallback: self.fallback,
            trusted_proxies: networks(&self.trusted_proxies, found),
            routes,
        }
    }
}

impl GatewayDoc {
    /// The texts of all presets, by name.
    fn presets(&self, base: &Path, found: Found<'_>) -> BTreeMap<String, String> {
        let mut presets: BTreeMap<_, _> =
            texts().into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
        let Some(dir) = &self.presets else { return presets };
        let own = match files(&base.join(dir.as_str())) {
            Ok(own) => own,
            Err(error) => {
                found
                    .push(dir.problem(format!("`presets` cannot be read: {error}"), "name a directory of .toml files"));
                return presets;
            }
        };
        for (name, text) in own {
            let told =
                |problem: &Problem| dir.problem(format!("preset `{name}`: {}", problem.message), problem.fix.clone());
            match Preset::parse(&text) {
                Err(problems) => found.extend(problems.iter().map(told)),
                Ok(preset) if preset.name != name => {
                    let message = format!("`{name}.toml` names its preset `{}`", preset.name);
                    found.push(dir.problem(message, "name the file like the preset"));
                }
                Ok(_) if presets.contains_key(&name) => {
                    let message = format!("a preset is named `{name}` already");
                    found.push(dir.problem(message, "choose another name, or use `override` at the route"));
                }
                Ok(_) => {
                    presets.insert(name, text);
                }
            }
        }
        presets
    }
}

/// The preset files of a directory, by stem; their fixtures are left out.
fn files(dir: &Path) -> std::io::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(stem) = name.strip_suffix(".toml").filter(|stem| !stem.ends_with(".test")) {
            found.push((stem.to_owned(), std::fs::read_to_string(&path)?));
        }
    }
    found.sort();
    Ok(found)
}

impl RouteDoc {
    fn preset(&self, presets: &BTreeMap<String, String>, found: Found<'_>) -> Option<Preset> {
        let Some(text) = presets.get(self.preset.as_str()) else {
            let known = presets.keys().cloned().collect::<Vec<_>>().join(", ");
            let message = format!("there is no preset `{}`", *self.preset);
            found.push(self.preset.problem(message, format!("use one of: {known}")));
            return None;
        };
        let changes = self.r#override.as_ref();
        let read = changes.map_or_else(|| Preset::parse(text), |changes| Preset::parse_with(text, changes));
        let at = changes.map_or(self.preset.offset, |changes| changes.offset);
        let told = |problem: Problem| {
            let message = format!("with this, preset `{}` is wrong: {}", *self.preset, problem.message);
            Problem::new(Some(at), message, problem.fix)
        };
        read.map_err(|problems| found.extend(problems.into_iter().map(told))).ok()
    }

    fn compile(&self, presets: &BTreeMap<String, String>, found: Found<'_>) -> Option<RouteConfig> {
        let before = found.len();
        let name = named(Some(&self.name), "", found);
        let path_is_plain =
            self.path.starts_with('/') && !self.path.contains("//") && !self.path.contains(['?', '%', '#']);
        let prefix = self.path.trim_end_matches('/').to_owned();
        if !path_is_plain || (self.path.len() > 1 && self.path.ends_with('/')) {
            found.push(self.path.problem(
                format!("`{}` is not a path prefix", *self.path),
                "write it like \"/checkout\", without a slash at the end",
            ));
        }
        let preset = self.preset(presets, found);
        let store = StoreId::parse(&self.store);
        if let Err(why) = &store {
            found.push(self.store.problem(format!("`store` {why}"), "write the store's id"));
        }
        if self.upstream.is_empty() {
            found.push(self.upstream.problem("a route needs an upstream", "add `upstream = \"http://host:port\"`"));
        }
        let (Some(preset), Ok(store), true) = (preset, store, found.len() == before) else { return None };
        let hosts = self.hosts.iter().map(|host| host.trim_end_matches('.').to_ascii_lowercase()).collect();
        Some(RouteConfig { name, hosts, prefix, preset, store, upstream: self.upstream.value.clone() })
    }
}

impl TlsDoc {
    fn compile(&self, base: &Path) -> TlsFiles {
        TlsFiles { certificate: base.join(&self.certificate), key: base.join(&self.key) }
    }
}

impl KeysDoc {
    fn compile(self, base: &Path, found: Found<'_>) -> Option<JwksSource> {
        match (self.jwks_file, self.jwks_url) {
            (Some(_), Some(url)) => {
                found.push(url.problem("`jwks_file` and `jwks_url` are both set", "keep one"));
                None
            }
            (Some(file), None) => Some(JwksSource::File(base.join(file.value))),
            (None, Some(url)) if url.starts_with("http://") || url.starts_with("https://") => {
                Some(JwksSource::Url(url.value))
            }
            (None, Some(url)) => {
                found.push(url.problem(format!("`{}` is not a URL", *url), "start it with https:// or http://"));
                None
            }
            (None, None) => None,
        }
    }
}
