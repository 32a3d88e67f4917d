//! `[ledger]`: where tokens are burned, and what is promised of it.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::ledger::redis::{Access, Address, ClockAhead, Durability, Password, RedisOptions, Secret, Topology};
use crate::model::document::At;

use super::words::{Found, number};

/// A checked `[ledger]`.
#[derive(Debug)]
pub struct LedgerConfig {
    /// One gateway holds all burning, in its memory.
    pub single_instance: bool,
    /// Tokens that the memory ledger may hold.
    pub capacity: usize,
    /// After it an unsettled reservation counts as lost.
    pub lease: Duration,
    /// The ledger that several processes share.
    pub redis: Option<RedisOptions>,
}

#[derive(Deserialize, Default, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LedgerDoc {
    /// True where this one gateway holds all burning: the memory ledger is legal only then.
    single_instance: At<bool>,
    /// Tokens that the memory ledger may hold; default 1000000. When full, it refuses.
    capacity: Option<At<i64>>,
    /// What must have happened before a token counts as burned: `aof` (default), `replicas` or `async`.
    durability: Option<At<DurabilityDoc>>,
    /// Milliseconds for all attempts of one operation; default 250.
    deadline_ms: Option<At<i64>>,
    /// Seconds after which an unsettled reservation counts as lost; default 270.
    lease_s: Option<At<i64>>,
    /// The ledger that several gateways share.
    redis: Option<RedisDoc>,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq, Debug, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
enum DurabilityDoc {
    #[default]
    Aof,
    Replicas,
    Async,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
enum TopologyDoc {
    #[default]
    Standalone,
    Sentinel,
    Cluster,
}

#[derive(Deserialize, Default, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct RedisDoc {
    /// `standalone` (default), `sentinel` or `cluster`.
    topology: At<TopologyDoc>,
    /// `host:port` of the server, of the sentinels, or of some servers of the cluster.
    nodes: At<Vec<String>>,
    /// The primary's name, as the sentinels know it.
    master: Option<At<String>>,
    /// Replicas that have to confirm a burn: all that could be promoted. Needed with `durability = "replicas"`.
    replicas: Option<At<i64>>,
    username: Option<String>,
    /// File that holds the password. Read at each connection.
    password_file: Option<At<String>>,
    /// Name of the environment variable that holds the password.
    password_env: Option<At<String>>,
    /// File that holds the password of the sentinels, where they have one.
    sentinel_password_file: Option<String>,
    /// Encrypt; needs a certificate that the server's name is in.
    tls: At<bool>,
    /// PEM file of the authorities that are trusted; without it, those of the web.
    ca_file: Option<At<String>>,
    /// Number of the database; default 0.
    database: Option<At<i64>>,
    /// Connections to each server; default 2.
    connections: Option<At<i64>>,
}

impl LedgerDoc {
    pub(super) fn compile(self, base: &Path, found: Found<'_>) -> LedgerConfig {
        let lease = number(self.lease_s.as_ref(), 270, 1..=270, found) as u64;
        let deadline = number(self.deadline_ms.as_ref(), 250, 20..=5000, found) as u64;
        let (lease, deadline) = (Duration::from_secs(lease), Duration::from_millis(deadline));
        if let (true, Some(_)) = (*self.single_instance, &self.redis) {
            let fix = "keep one: Redis for several gateways, `single_instance` for one";
            found.push(self.single_instance.problem("`single_instance` and [ledger.redis] are both set", fix));
        }
        if let (Some(durability), None) = (&self.durability, &self.redis) {
            found.push(durability.problem("`durability` without [ledger.redis]", "add [ledger.redis], or remove it"));
        }
        let durability = self.durability;
        let redis = self.redis.and_then(|redis| redis.compile(base, durability.as_ref(), lease, deadline, found));
        let capacity = number(self.capacity.as_ref(), 1_000_000, 1_000..=100_000_000, found);
        LedgerConfig { single_instance: *self.single_instance, capacity, lease, redis }
    }
}

impl RedisDoc {
    fn compile(
        self,
        base: &Path,
        durability: Option<&At<DurabilityDoc>>,
        lease: Duration,
        deadline: Duration,
        found: Found<'_>,
    ) -> Option<RedisOptions> {
        let before = found.len();
        let topology = self.topology(found);
        let durability = self.durability(durability, found);
        let password = self.password(base, found);
        let database = number(self.database.as_ref(), 0, 0..=1_000_000, found) as i64;
        if let (true, TopologyDoc::Cluster, Some(text)) = (database != 0, *self.topology, &self.database) {
            found.push(text.problem("a cluster has one database", "remove `database`"));
        }
        let connections = number(self.connections.as_ref(), 2, 1..=64, found);
        #[cfg(feature = "tls")]
        let tls = self.tls(base, found);
        #[cfg(not(feature = "tls"))]
        if *self.tls {
            found.push(self.tls.problem("this build has no TLS", "build it with the feature `tls`"));
        }
        let sentinel_password = self.sentinel_password_file.as_deref().map(|file| Password::File(base.join(file)));
        let access = Access {
            username: self.username,
            password,
            database,
            durability,
            #[cfg(feature = "tls")]
            tls,
            clock_ahead: ClockAhead::default(),
        };
        let sentinel_access = Access { username: None, password: sentinel_password, database: 0, ..access.clone() };
        let options = RedisOptions {
            topology: topology?,
            access,
            sentinel_access,
            connections,
            deadline,
            lease,
            replica: String::new(),
        };
        (found.len() == before).then_some(options)
    }

    fn topology(&self, found: Found<'_>) -> Option<Topology> {
        let nodes: Vec<_> = self.nodes.iter().map(|text| Address::parse(text).ok_or(text)).collect();
        if let Some(Err(text)) = nodes.iter().find(|node| node.is_err()) {
            found
                .push(self.nodes.problem(format!("`{text}` is not a server"), "write it like \"redis.internal:6379\""));
            return None;
        }
        let nodes: Vec<_> = nodes.into_iter().flatten().collect();
        let Some(first) = nodes.first() else {
            found.push(self.nodes.problem("[ledger.redis] names no server", "add `nodes = [\"host:6379\"]`"));
            return None;
        };
        if let (Some(master), true) = (&self.master, *self.topology != TopologyDoc::Sentinel) {
            found.push(master.problem("`master` is for sentinels", "set `topology = \"sentinel\"`, or remove it"));
        }
        match *self.topology {
            TopologyDoc::Standalone if nodes.len() > 1 => {
                let fix = "name one server, or set `topology` to \"sentinel\" or \"cluster\"";
                found.push(self.nodes.problem("a standalone server is one", fix));
                None
            }
            TopologyDoc::Standalone => Some(Topology::Standalone(first.clone())),
            TopologyDoc::Cluster => Some(Topology::Cluster { seeds: nodes }),
            TopologyDoc::Sentinel => match &self.master {
                Some(master) => Some(Topology::Sentinel { sentinels: nodes, primary: master.value.clone() }),
                None => {
                    found.push(self.topology.problem("sentinels are asked for a name", "add `master = \"mymaster\"`"));
                    None
                }
            },
        }
    }

    /// No more is claimed than the topology gives: where a replica may be promoted that has not
    /// seen the newest burns, one server's log promises nothing.
    fn durability(&self, durability: Option<&At<DurabilityDoc>>, found: Found<'_>) -> Durability {
        let replicas = number(self.replicas.as_ref(), 0, 0..=16, found) as u32;
        let asked = durability.map(|durability| **durability).unwrap_or_default();
        let fails_over = *self.topology != TopologyDoc::Standalone;
        match asked {
            DurabilityDoc::Aof if fails_over => {
                let message = "a failover can forget what only the primary's log has";
                let fix = "set `durability = \"replicas\"` and `replicas` to the number of all replicas; or \"async\", \
                           which promises nothing";
                found.push(match durability {
                    Some(durability) => durability.problem(message, fix),
                    None => self.topology.problem(message, fix),
                });
                Durability::Aof
            }
            DurabilityDoc::Aof => Durability::Aof,
            DurabilityDoc::Replicas if replicas == 0 => {
                if let Some(durability) = durability {
                    let fix = "add `replicas` to [ledger.redis]: the number of all that could be promoted";
                    found.push(durability.problem("it is not said how many replicas confirm", fix));
                }
                Durability::Replicas(1)
            }
            DurabilityDoc::Replicas => Durability::Replicas(replicas),
            DurabilityDoc::Async => Durability::Async,
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the configuration reads the environment")]
    fn password(&self, base: &Path, found: Found<'_>) -> Option<Password> {
        match (&self.password_file, &self.password_env) {
            (Some(_), Some(name)) => {
                found.push(name.problem("`password_file` and `password_env` are both set", "keep one"));
                None
            }
            (Some(file), None) => Some(Password::File(base.join(&file.value))),
            (None, Some(name)) => match std::env::var(&name.value) {
                Ok(text) => Some(Password::Given(Secret(text))),
                Err(_) => {
                    let fix = "set it, or use `password_file`";
                    found.push(name.problem(format!("the environment has no `{}`", name.value), fix));
                    None
                }
            },
            (None, None) => None,
        }
    }

    #[cfg(feature = "tls")]
    fn tls(&self, base: &Path, found: Found<'_>) -> Option<std::sync::Arc<rustls::ClientConfig>> {
        if !*self.tls {
            if let Some(file) = &self.ca_file {
                found.push(file.problem("`ca_file` without TLS", "set `tls = true`, or remove it"));
            }
            return None;
        }
        let roots = self.ca_file.as_ref().map(|file| (file, crate::net::tls::roots(&base.join(&file.value))));
        let roots = match roots {
            Some((file, Err(why))) => {
                found.push(file.problem(why.to_string(), "name a PEM file of certificates"));
                return None;
            }
            Some((_, Ok(roots))) => Some(roots),
            None => None,
        };
        match crate::net::tls::client_config(roots) {
            Ok(config) => Some(std::sync::Arc::new(config)),
            Err(why) => {
                found.push(self.tls.problem(why.to_string(), "check `ca_file`"));
                None
            }
        }
    }
}
