//! Floor 7: words on disk become a checked configuration. Every problem at once, with its place.

mod detect;
mod document;
mod effective;
mod ledger;
mod orders;
mod words;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::detect::Nets;
use crate::evidence::Class;
use crate::model::document::{Problem, Problems};
use crate::model::ids::StoreId;
use crate::protocol::preset::Preset;
use crate::telemetry::access::Which;
use crate::telemetry::logging::LogFormat;

pub use detect::DetectConfig;
pub use document::ConfigDoc;
pub use ledger::LedgerConfig;
pub use orders::HookConfig;

/// A checked configuration.
#[derive(Debug)]
pub struct Config {
    /// Where keys, spool, store and locks live.
    pub data: PathBuf,
    pub log: Log,
    pub access_log: AccessConfig,
    /// Where requests are traced; `None`: nowhere.
    pub traces: Option<TracesConfig>,
    pub gateway: GatewayConfig,
    pub api: ApiConfig,
    pub ops_listen: SocketAddr,
    /// Where administration listens: this machine alone reaches it. `None`: nowhere.
    pub admin_listen: Option<SocketAddr>,
    pub ledger: LedgerConfig,
    pub policies: Option<PathBuf>,
    pub catalog: Option<PathBuf>,
    pub evidence: EvidenceConfig,
    pub detect: DetectConfig,
    /// How stores tell of their orders.
    pub hooks: Vec<HookConfig>,
    pub jwks: Option<JwksSource>,
    /// Oldest key set that is still trusted while its source is silent.
    pub jwks_max_stale: std::time::Duration,
    pub shutdown: Shutdown,
}

/// How long an orderly end may take.
#[derive(Debug, Clone, Copy)]
pub struct Shutdown {
    /// Not ready, and still accepting: load balancers notice.
    pub delay: std::time::Duration,
    /// All of it, the last record on the disk.
    pub timeout: std::time::Duration,
}

#[derive(Debug)]
pub struct Log {
    pub filter: String,
    pub format: LogFormat,
}

/// Which requests get a line, and where.
#[derive(Debug)]
pub struct AccessConfig {
    pub requests: Which,
    /// `None`: the standard output.
    pub file: Option<PathBuf>,
}

/// Where requests are traced, and how many.
#[derive(Debug)]
pub struct TracesConfig {
    pub url: String,
    /// Of those that name no trace, 0 to 1.
    pub share: f64,
    /// Header fields that the collector asks for.
    pub headers: Option<PathBuf>,
}

#[derive(Debug)]
pub struct GatewayConfig {
    pub name: String,
    pub listen: SocketAddr,
    pub tls: Option<TlsFiles>,
    pub body_max: usize,
    pub connections_max: usize,
    pub fallback: Option<String>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Nets,
    pub routes: Vec<RouteConfig>,
}

#[derive(Debug)]
pub struct RouteConfig {
    pub name: String,
    pub hosts: Vec<String>,
    pub prefix: String,
    pub preset: Preset,
    pub store: StoreId,
    pub upstream: String,
}

#[derive(Debug)]
pub struct ApiConfig {
    pub listen: SocketAddr,
    pub tls: Option<TlsFiles>,
    pub insecure: bool,
}

#[derive(Debug, Clone)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug)]
pub struct EvidenceConfig {
    pub class: Class,
    pub spool_limit: u64,
    /// Spool directories of gateways on this host, read by `permyx serve`.
    pub spools: Vec<PathBuf>,
    /// What the signed logs are called; a year's log has the year behind it.
    pub log_name: String,
    /// The control plane on another host that gets a gateway's events.
    pub ship: Option<ShipConfig>,
}

/// Where a gateway's events go.
#[derive(Debug, Clone)]
pub struct ShipConfig {
    pub url: String,
    /// Holds the API key, of role `gateway`.
    pub key_file: PathBuf,
}

/// Where a gateway gets the keys that it trusts.
#[derive(Debug, Clone)]
pub enum JwksSource {
    File(PathBuf),
    Url(String),
}

/// Why a configuration is not one.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read `{}`", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Wrong(Problems),
}

impl Config {
    /// Reads a file; paths in it are relative to it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let base = path.parent().unwrap_or(Path::new("."));
        Self::parse(&text, base).map_err(|problems| ConfigError::Wrong(Problems::new(path, &text, problems)))
    }

    /// Reads a text; relative paths start at `base`.
    pub fn parse(text: &str, base: &Path) -> Result<Self, Vec<Problem>> {
        let (doc, problems) = crate::model::document::read::<ConfigDoc>(text);
        doc.compile(base, problems)
    }

    /// Every default, with data in `base/data`.
    #[must_use]
    pub fn plain(base: &Path) -> Self {
        ConfigDoc::default().defaults(base)
    }

    /// The stores that routes are for.
    #[must_use]
    pub fn stores(&self) -> BTreeSet<StoreId> {
        self.gateway.routes.iter().map(|route| route.store.clone()).collect()
    }

    /// JSON Schema of the file.
    #[must_use]
    pub fn schema() -> String {
        serde_json::to_string_pretty(&schemars::schema_for!(ConfigDoc)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_is_good_and_says_the_defaults() {
        let shipped = Config::parse(include_str!("../../conf/permyx.toml"), Path::new("/etc/permyx")).unwrap();
        let empty = Config::parse("", Path::new("/etc/permyx")).unwrap();
        assert_eq!(format!("{shipped:?}"), format!("{empty:?}"));
    }

    #[test]
    fn a_ledger_claims_no_more_than_its_topology_gives() {
        let told = |text: &str| match Config::parse(text, Path::new(".")) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.into_iter().map(|problem| problem.message).collect(),
        };
        let redis = |more: &str| format!("[ledger.redis]\nnodes = [\"a:1\", \"b:1\"]\n{more}");
        let sentinel = redis("topology = \"sentinel\"\nmaster = \"m\"\nreplicas = 2\n");
        assert!(told(&sentinel)[0].contains("failover"));
        assert_eq!(told(&format!("[ledger]\ndurability = \"replicas\"\n{sentinel}")), Vec::<String>::new());
        assert_eq!(told(&format!("[ledger]\ndurability = \"async\"\n{sentinel}")), Vec::<String>::new());
        assert!(told(&redis("topology = \"cluster\"\n"))[0].contains("failover"));
        for (wrong, why) in [
            ("[ledger]\ndurability = \"aof\"\n".to_owned(), "without [ledger.redis]"),
            ("[ledger]\nsingle_instance = true\n[ledger.redis]\nnodes = [\"a:1\"]\n".to_owned(), "both set"),
            ("[ledger.redis]\nnodes = [\"a\"]\n".to_owned(), "not a server"),
            ("[ledger.redis]\n".to_owned(), "no server"),
            (redis(""), "is one"),
            (redis("topology = \"sentinel\"\n"), "asked for a name"),
            ("[ledger.redis]\nnodes = [\"a:1\"]\npassword_env = \"PERMYX_NOT_SET\"\n".to_owned(), "environment"),
            ("[ledger]\ndurability = \"replicas\"\n[ledger.redis]\nnodes = [\"a:1\"]\n".to_owned(), "how many"),
        ] {
            assert!(told(&wrong).iter().any(|told| told.contains(why)), "{wrong}: {:?}", told(&wrong));
        }
    }

    #[test]
    fn a_route_may_change_its_preset() {
        let route = |more: &str| {
            let text = format!(
                "[[gateway.routes]]\nname = \"a\"\npath = \"/a\"\npreset = \"ucp\"\nstore = \"s\"\nupstream = \"http://a\"\n{more}"
            );
            Config::parse(&text, Path::new("."))
        };
        let changed = route("[gateway.routes.override]\nvariant = \"shop:{id}\"\n").unwrap();
        assert_eq!(changed.gateway.routes[0].preset.variant_of("1"), "shop:1");
        let wrong = route("[gateway.routes.override]\nvariant = \"shop\"\n").unwrap_err();
        assert!(wrong[0].message.contains("preset `ucp` is wrong"), "{wrong:?}");
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let text = "[gateway]\nlisten = \"8480\"\nlisten_on = 1\nbody_max = 5\n[[gateway.routes]]\nname = \"a\"\npath = \"checkout/\"\n\
                    preset = \"ucpp\"\nstore = \"a|b\"\nupstream = \"\"\n[keys]\njwks_file = \"a\"\njwks_url = \"b\"\n";
        let problems = Config::parse(text, Path::new(".")).unwrap_err();
        let messages: Vec<_> = problems.iter().map(|p| p.message.as_str()).collect();
        assert_eq!(messages.len(), 8, "{messages:#?}");
    }

    #[cfg(feature = "otlp")]
    #[test]
    fn where_traces_go_is_an_address_and_how_many_a_share() {
        let told =
            |lines: &str| Config::parse(&format!("[traces]\n{lines}"), Path::new("/")).map(|config| config.traces);
        let good = told("url = \"https://collector:4318/v1/traces\"\nshare = 1").unwrap().unwrap();
        assert!((good.share - 1.0).abs() < f64::EPSILON);
        assert!(told("share = 0.5").unwrap().is_none(), "nowhere");
        for bad in [
            "url = \"collector:4318\"",
            "url = \"http://\"",
            "url = \"http://user:word@collector\"",
            "url = \"http://a b\"",
            "share = 1.01",
            "share = -0.1",
            "share = nan",
        ] {
            assert_eq!(told(bad).unwrap_err().len(), 1, "{bad}");
        }
    }
}
