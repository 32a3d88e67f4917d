//! Where the server that burns is: at a fixed address, where the sentinels say, or where the
//! cluster keeps a store's slot.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tokio::task::JoinSet;

use super::line::{NoLine, Wire, parsed};
use super::options::{Access, Address};
use super::trouble::Trouble;

/// How one server is found.
#[derive(Clone)]
pub(super) enum Finder {
    At(Address),
    Sentinels { sentinels: Arc<[Address]>, primary: Arc<str>, access: Access },
}

impl Finder {
    pub(super) async fn find(&self, patience: Duration) -> Result<Address, NoLine> {
        match self {
            Self::At(address) => Ok(address.clone()),
            Self::Sentinels { sentinels, primary, access } => {
                let told = ask_sentinels(sentinels, primary, access, patience).await;
                told.ok_or_else(|| no_sentinel(sentinels))
            }
        }
    }

    /// That this is still the address. Sentinels that are gone prove nothing against it.
    pub(super) async fn confirm(&self, address: &Address, patience: Duration) -> Result<(), NoLine> {
        let Self::Sentinels { sentinels, primary, access } = self else { return Ok(()) };
        match ask_sentinels(sentinels, primary, access, patience).await {
            Some(other) if other != *address => {
                Err(NoLine::Trouble { address: address.clone(), trouble: Trouble::ReadOnly })
            }
            _ => Ok(()),
        }
    }
}

fn no_sentinel(sentinels: &[Address]) -> NoLine {
    let address = sentinels.first().cloned().unwrap_or(Address { host: "sentinel".to_owned(), port: 0 });
    NoLine::Trouble { address, trouble: Trouble::Down }
}

/// Asks all at once; the address that more than half of them tell.
async fn ask_sentinels(sentinels: &[Address], primary: &str, access: &Access, patience: Duration) -> Option<Address> {
    let mut asked = JoinSet::new();
    for sentinel in sentinels {
        let (sentinel, access, primary) = (sentinel.clone(), access.clone(), primary.to_owned());
        asked.spawn(async move {
            let wire = Wire::open(&sentinel, &access, patience).await.ok()?;
            let mut question = redis::cmd("SENTINEL");
            question.arg("GET-MASTER-ADDR-BY-NAME").arg(primary);
            let (host, port): (String, u16) = parsed(wire.ask(&question, patience).await.ok()?).ok()?;
            Some(Address { host, port })
        });
    }
    let mut votes: HashMap<Address, usize> = HashMap::new();
    while let Some(told) = asked.join_next().await {
        if let Ok(Some(address)) = told {
            let votes = votes.entry(address).or_default();
            *votes += 1;
            if *votes > sentinels.len() / 2 {
                break;
            }
        }
    }
    // Fewer than half may be on the wrong side of a partition.
    votes.into_iter().find(|(_, votes)| *votes > sentinels.len() / 2).map(|(address, _)| address)
}

/// Which server of a cluster serves which slots.
#[derive(Default, Debug, PartialEq, Eq)]
pub(super) struct SlotMap(Vec<(u16, u16, Address)>);

impl SlotMap {
    pub(super) fn server(&self, slot: u16) -> Option<&Address> {
        self.0.iter().find(|(first, last, _)| (*first..=*last).contains(&slot)).map(|(_, _, address)| address)
    }

    pub(super) fn servers(&self) -> impl Iterator<Item = &Address> {
        self.0.iter().map(|(_, _, address)| address)
    }

    /// Reads the answer to `CLUSTER SLOTS`. A server without a name is the one that was asked.
    fn read(answer: Value, asked: &Address) -> Option<Self> {
        let Value::Array(ranges) = answer else { return None };
        let mut map = Vec::with_capacity(ranges.len());
        for range in ranges {
            let Value::Array(parts) = range else { return None };
            let [first, last, primary, ..] = parts.as_slice() else { return None };
            let Value::Array(primary) = primary else { return None };
            let [host, port, ..] = primary.as_slice() else { return None };
            let host: Option<String> = redis::from_redis_value(host.clone()).ok()?;
            let host = host.filter(|host| !host.is_empty()).unwrap_or_else(|| asked.host.clone());
            let number = |value: &Value| redis::from_redis_value::<u16>(value.clone()).ok();
            map.push((number(first)?, number(last)?, Address { host, port: number(port)? }));
        }
        Some(Self(map))
    }
}

/// Asks all servers at once for the map; the first that knows it.
pub(super) async fn learn(servers: &[Address], access: &Access, patience: Duration) -> Option<SlotMap> {
    let mut asked = JoinSet::new();
    for server in servers {
        let (server, access) = (server.clone(), access.clone());
        asked.spawn(async move {
            let wire = Wire::open(&server, &access, patience).await.ok()?;
            let mut question = redis::cmd("CLUSTER");
            question.arg("SLOTS");
            let answer = wire.ask(&question, patience).await.ok()?;
            SlotMap::read(answer, &server).filter(|map| !map.0.is_empty())
        });
    }
    while let Some(told) = asked.join_next().await {
        if let Ok(Some(map)) = told {
            return Some(map);
        }
    }
    None
}

/// The slot of a store's keys: CRC-16/XMODEM of what stands in braces, modulo 16384
/// (Redis cluster specification, "Hash tags").
pub(super) fn slot(store: &str) -> u16 {
    let mut crc: u16 = 0;
    for byte in store.bytes() {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        }
    }
    crc % 16_384
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of the CRC, and a slot that `CLUSTER KEYSLOT` tells.
    #[test]
    fn a_slot_is_the_servers() {
        assert_eq!(slot("123456789"), 0x31c3);
        assert_eq!(slot("foo"), 12_182);
    }

    #[test]
    fn a_map_of_slots_reads_and_strangers_do_not() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let server = |host: Value| Value::Array(vec![host, Value::Int(7001), text("id")]);
        let range = |host: Value| Value::Array(vec![Value::Int(0), Value::Int(99), server(host)]);
        let asked = Address { host: "here".to_owned(), port: 1 };
        let map = SlotMap::read(Value::Array(vec![range(text("there"))]), &asked).unwrap();
        assert_eq!(map.server(99).unwrap().to_string(), "there:7001");
        assert_eq!(map.server(100), None);
        for nobody in [text(""), Value::Nil] {
            let map = SlotMap::read(Value::Array(vec![range(nobody)]), &asked).unwrap();
            assert_eq!(map.server(0).unwrap().to_string(), "here:7001");
        }
        for bad in [Value::Nil, Value::Array(vec![Value::Int(1)]), Value::Array(vec![Value::Array(vec![])])] {
            assert_eq!(SlotMap::read(bad, &asked), None);
        }
    }
}
