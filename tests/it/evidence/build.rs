//! Logs for the tests, the same at every run: fixed keys, fixed times, a tree over given leaves.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use permyx::audit::bundle::{Content, Entry, Scope, write};
use permyx::model::intent::Sha256;
use permyx::tlog::checkpoint::{Checkpoint, Trusted, VerifiedCheckpoint};
use permyx::tlog::entries;
use permyx::tlog::hash::{Hash, leaf_hash};
use permyx::tlog::key::{KeyName, SecretKey, Signer};
use permyx::tlog::merkle::{Consistency, Frontier, Inclusion, Nodes};
use permyx::tlog::tile::{Kind, bytes_of, tiles};
use serde_json::{Value, json};

pub const ORIGIN: &str = "evidence.shop.example/permyx/2026";

/// The key of which every byte of the secret is `seed`. It was made for the tests and signs nothing else.
pub fn signer(seed: u8) -> Signer {
    let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    der.extend([seed; 32]);
    let key = SecretKey::from_pem(&pem::encode(&pem::Pem::new("PRIVATE KEY", der))).unwrap();
    Signer::new(KeyName::parse(ORIGIN).unwrap(), Arc::new(key))
}

/// One stream of events.
pub struct Producer {
    source: &'static str,
    next: u64,
    previous: Sha256,
}

impl Producer {
    pub fn new(source: &'static str) -> Self {
        Self { source, next: 1, previous: Sha256::of(source.as_bytes()) }
    }

    /// The next event, canonical: the members of a JSON value are in order.
    pub fn event(&mut self, kind: &str, execution: u32, data: Value) -> Vec<u8> {
        let event = json!({
            "correlationid": format!("exec_{}", jti(execution)), "data": data, "datacontenttype": "application/json",
            "id": format!("0199f3a1-6c1e-7c55-9d0e-{:012x}", self.next), "pmxprev": self.previous,
            "recordedtime": "2026-11-18T11:06:41.124Z", "sequence": format!("{:020}", self.next), "source": self.source,
            "specversion": "1.0", "time": "2026-11-18T11:06:41.123Z", "type": format!("io.permyx.{kind}.v1"),
        });
        let bytes = event.to_string().into_bytes();
        self.next += 1;
        self.previous = Sha256::of_leaf(&bytes);
        bytes
    }

    /// Passes over so many sequences, as if their events were lost.
    pub fn lose(&mut self, events: u64) {
        self.next += events;
    }

    /// Goes back to this sequence, as a spool does that was restored from a copy.
    pub fn set_back(&mut self, to: u64) {
        self.next = to;
    }

    /// A reservation of the token of this execution, and that it was executed.
    pub fn purchase(&mut self, execution: u32) -> [Vec<u8>; 2] {
        ["execution.reserved", "execution.validated"].map(|kind| self.event(kind, execution, bought(execution)))
    }
}

pub fn jti(number: u32) -> String {
    format!("{number:08x}-3c58-4f6e-9a41-0c2d0a9b7e11")
}

/// The data of an event about the token of this execution.
pub fn bought(execution: u32) -> Value {
    json!({
        "agentId": "ak_7f3c", "decision": "allowed", "price": "29.90 USD", "quantity": 1, "scope": "agent_exec", "storeId": "store-123",
        "intentHash": Sha256::of(b"store-123|shopify:variant:123456|1|29.90|USD|agent_exec"),
        "tokenId": jti(execution), "traceId": format!("trc_{execution:032x}"), "variantId": "shopify:variant:123456",
    })
}

/// Two gateways in turn, so many purchases.
pub fn purchases(count: u32) -> Vec<Vec<u8>> {
    let mut gateways = [Producer::new("/gateways/eu-1/a"), Producer::new("/gateways/eu-2/\"b\"")];
    (0..count).flat_map(|n| gateways[n as usize % 2].purchase(n)).collect()
}

/// A whole log in memory.
#[derive(Clone)]
pub struct Log(pub Vec<Vec<u8>>);

impl Nodes for &Log {
    type Error = Infallible;

    fn node(&mut self, level: u32, index: u64) -> Result<Hash, Infallible> {
        let first = (index << level) as usize;
        Ok(tree(&self.0[first..first + (1 << level)]).root())
    }
}

fn tree(leaves: &[Vec<u8>]) -> Frontier {
    let mut tree = Frontier::default();
    tree.extend(leaves.iter().map(|leaf| leaf_hash(leaf)));
    tree
}

impl Log {
    pub fn size(&self) -> u64 {
        self.0.len() as u64
    }

    pub fn root(&self) -> Hash {
        tree(&self.0).root()
    }

    /// The log as it was when it had so many leaves.
    pub fn at(&self, size: usize) -> Self {
        Self(self.0[..size].to_vec())
    }

    pub fn checkpoint(&self, signers: &[Signer]) -> VerifiedCheckpoint {
        signed(signers, self.size(), self.root())
    }

    /// Every file of the log directory.
    pub fn files(&self, signers: &[Signer]) -> BTreeMap<String, Vec<u8>> {
        let note = self.checkpoint(signers).note().to_string().into_bytes();
        let mut files = BTreeMap::from([("checkpoint".to_owned(), note)]);
        for tile in tiles(self.size()) {
            let (first, width) = (tile.index() * 256, u64::from(tile.width()));
            let bytes = match tile.kind() {
                Kind::Entries => {
                    self.0[first as usize..(first + width) as usize].iter().fold(vec![], |mut all, leaf| {
                        entries::push(&mut all, leaf).unwrap();
                        all
                    })
                }
                Kind::Hashes(level) => {
                    let Ok(hashes) =
                        (first..first + width).map(|n| (&mut &*self).node(level * 8, n)).collect::<Result<Vec<_>, _>>();
                    bytes_of(&hashes)
                }
            };
            files.insert(tile.to_string(), bytes);
        }
        files
    }

    pub fn inclusion(&self, index: u64) -> Inclusion {
        let Ok(path) = Inclusion::compute(index, self.size(), &mut &*self);
        path.unwrap()
    }

    /// A bundle of these leaves; `old` are sizes to which a proof of consistency leads.
    pub fn bundle(&self, scope: Scope, indices: &[u64], old: &[u64], signers: &[Signer]) -> Vec<u8> {
        let events =
            indices.iter().map(|&index| Entry { index, bytes: &self.0[index as usize], path: self.inclusion(index) });
        let consistency = |&old: &u64| {
            let Ok(path) = Consistency::compute(old, self.size(), &mut &*self);
            (old, path.unwrap())
        };
        let checkpoint = self.checkpoint(signers);
        let content = Content {
            checkpoint: &checkpoint,
            scope,
            range: 0..self.size(),
            events: events.collect(),
            consistency: old.iter().map(consistency).collect(),
        };
        write(&content, signers).unwrap()
    }
}

/// A checkpoint that says this, whatever is true.
pub fn signed(signers: &[Signer], size: u64, root: Hash) -> VerifiedCheckpoint {
    let origin = KeyName::parse(ORIGIN).unwrap();
    let note = Checkpoint { origin, size, root }.sign(signers).unwrap().to_string();
    let trusted = Trusted::new(signers.iter().map(|signer| signer.verifier().clone()).collect()).unwrap();
    Checkpoint::open(note.as_bytes(), &trusted).unwrap()
}

/// Writes files below a directory that is made anew.
pub fn put(dir: &Path, files: &BTreeMap<String, Vec<u8>>) {
    let _ = std::fs::remove_dir_all(dir);
    for (name, bytes) in files {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}
