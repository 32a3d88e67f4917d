//! The servers of the ledger, and which of them a store's tokens are in.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::model::ids::StoreId;

use super::find::{Finder, SlotMap, learn, slot};
use super::line::NoLine;
use super::node::{Kept, Known, Node};
use super::options::{Address, RedisOptions, Topology};
use super::trouble::Trouble;

/// A cluster is asked for its map no more often than this, whatever happens.
const LEARN_PAUSE: Duration = Duration::from_millis(100);

/// See the module.
pub(super) enum Fleet {
    One(Kept),
    Cluster(Box<Cluster>),
}

pub(super) struct Cluster {
    options: RedisOptions,
    clock: Clock,
    map: ArcSwap<SlotMap>,
    nodes: Mutex<HashMap<Address, Kept>>,
    /// Held while the map is asked for: others wait for that answer.
    learning: tokio::sync::Mutex<Option<Instant>>,
}

impl Fleet {
    pub(super) fn open(options: &RedisOptions, clock: &Clock) -> Self {
        let finder = match &options.topology {
            Topology::Standalone(address) => Finder::At(address.clone()),
            Topology::Sentinel { sentinels, primary } => Finder::Sentinels {
                sentinels: sentinels.clone().into(),
                primary: primary.as_str().into(),
                access: options.sentinel_access.clone(),
            },
            Topology::Cluster { .. } => {
                return Self::Cluster(Box::new(Cluster {
                    options: options.clone(),
                    clock: clock.clone(),
                    map: ArcSwap::default(),
                    nodes: Mutex::default(),
                    learning: tokio::sync::Mutex::default(),
                }));
            }
        };
        Self::One(kept(finder, options, clock))
    }

    /// The server of a store.
    pub(super) async fn node(&self, store: &StoreId, until: Instant) -> Result<Arc<Node>, Trouble> {
        match self {
            Self::One(kept) => Ok(kept.node.clone()),
            Self::Cluster(cluster) => match cluster.node(store) {
                Some(node) => Ok(node),
                None => {
                    cluster.learn(until).await;
                    cluster.node(store).ok_or(Trouble::ClusterDown)
                }
            },
        }
    }

    /// Takes notice that keys are elsewhere, or nowhere, by now.
    pub(super) async fn moved(&self, until: Instant) {
        if let Self::Cluster(cluster) = self {
            cluster.learn(until).await;
        }
    }

    /// Connections that were opened so far.
    pub(super) fn opened(&self) -> u64 {
        match self {
            Self::One(kept) => kept.node.opened(),
            Self::Cluster(cluster) => cluster.nodes.lock().values().map(|kept| kept.node.opened()).sum(),
        }
    }

    /// Whether all servers that are needed can be used; if not, why.
    pub(super) fn usable(&self) -> Result<(), String> {
        let of = |node: &Node| match node.known() {
            Known::Up => Ok(()),
            Known::Nothing => Err("the ledger server is being connected to".to_owned()),
            Known::Down(why) => Err(told(&why)),
        };
        match self {
            Self::One(kept) => of(&kept.node),
            Self::Cluster(cluster) => {
                let nodes: Vec<_> = cluster.nodes.lock().values().map(|kept| kept.node.clone()).collect();
                if nodes.is_empty() {
                    return Err(
                        "no server of the ledger's cluster tells its slots; check `nodes` of [ledger.redis]".into()
                    );
                }
                nodes.iter().try_for_each(|node| of(node))
            }
        }
    }
}

fn kept(finder: Finder, options: &RedisOptions, clock: &Clock) -> Kept {
    Kept::open(finder, options.access.clone(), clock.clone(), options.deadline, options.connections)
}

/// What is wrong with a server, with the fix.
fn told(why: &NoLine) -> String {
    let fix = match why.trouble() {
        // It says the fix itself.
        Trouble::Unsafe => return format!("the ledger server {why}"),
        Trouble::Denied => "check username, password, tls and the ACL of [ledger.redis] (docs/ledger.md)",
        Trouble::Down | Trouble::TimedOut | Trouble::Broken => "start it, or correct `nodes` of [ledger.redis]",
        _ => "see its own log",
    };
    format!("the ledger server {why}; {fix}")
}

impl Cluster {
    fn node(&self, store: &StoreId) -> Option<Arc<Node>> {
        let map = self.map.load();
        let address = map.server(slot(store.as_str()))?;
        Some(self.nodes.lock().get(address)?.node.clone())
    }

    /// Asks for the map, unless somebody did a moment ago, and keeps connections to its servers.
    async fn learn(&self, until: Instant) {
        let Ok(mut last) = tokio::time::timeout_at(until, self.learning.lock()).await else { return };
        if last.is_some_and(|last| last.elapsed() < LEARN_PAUSE) {
            return;
        }
        let Topology::Cluster { seeds } = &self.options.topology else { return };
        let known: Vec<_> = self.map.load().servers().chain(seeds).cloned().collect();
        let learned = learn(&known, &self.options.access, self.options.deadline);
        let Ok(learned) = tokio::time::timeout_at(until, learned).await else { return };
        *last = Some(Instant::now());
        let Some(map) = learned else { return };
        let mut nodes = self.nodes.lock();
        nodes.retain(|address, _| map.servers().any(|server| server == address));
        for server in map.servers() {
            let open = || kept(Finder::At(server.clone()), &self.options, &self.clock);
            nodes.entry(server.clone()).or_insert_with(open);
        }
        self.map.store(Arc::new(map));
    }
}
