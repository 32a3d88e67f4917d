//! The names under which things are kept in the server.

use crate::model::ids::{AgentId, Jti, StoreId};
use crate::model::intent::Sha256;

use super::super::entry::{Digest, Namespace, Purpose};
use super::pieces::{Pieces, written_in_pieces};
use super::text::letter;

/// The keys of one store share a slot of a cluster: the store's id in braces.
#[derive(Clone, Copy)]
pub(super) struct Keys<'s>(pub(super) &'s StoreId);

/// One of them.
#[derive(Clone, Copy)]
pub(super) struct Key<'s> {
    store: &'s StoreId,
    thing: Thing,
}

#[derive(Clone, Copy)]
enum Thing {
    Token(Namespace, Jti),
    Answer(Namespace, Jti),
    Epoch,
    Reservations,
    Purpose(Option<Purpose>),
    /// An agent's id may hold what a slot is named by, so its digest stands for it.
    Count(&'static str, Digest),
}

impl<'s> Keys<'s> {
    const fn of(self, thing: Thing) -> Key<'s> {
        Key { store: self.0, thing }
    }

    pub(super) const fn token(self, namespace: Namespace, jti: Jti) -> Key<'s> {
        self.of(Thing::Token(namespace, jti))
    }

    pub(super) const fn answer(self, namespace: Namespace, jti: Jti) -> Key<'s> {
        self.of(Thing::Answer(namespace, jti))
    }

    pub(super) const fn epoch(self) -> Key<'s> {
        self.of(Thing::Epoch)
    }

    pub(super) const fn reservations(self) -> Key<'s> {
        self.of(Thing::Reservations)
    }

    /// One that is never written stands for none.
    pub(super) const fn purpose(self, purpose: Option<Purpose>) -> Key<'s> {
        self.of(Thing::Purpose(purpose))
    }

    /// Orders and sums of an agent: of the hour, then of the day.
    pub(super) fn counts(self, agent: &AgentId) -> [Key<'s>; 4] {
        let agent = Digest::half_of(Sha256::of(agent.as_str().as_bytes()));
        ["h", "hs", "d", "ds"].map(|kind| self.of(Thing::Count(kind, agent)))
    }
}

impl Pieces for Key<'_> {
    fn each(&self, mut put: impl FnMut(&str)) {
        ["pxl:{", self.store.as_str(), "}:"].into_iter().for_each(&mut put);
        match self.thing {
            Thing::Token(namespace, jti) => {
                [letter(namespace), ":", jti.spelled().as_str()].into_iter().for_each(put);
            }
            Thing::Answer(namespace, jti) => {
                [letter(namespace), "a:", jti.spelled().as_str()].into_iter().for_each(put);
            }
            Thing::Epoch => put("epoch"),
            Thing::Reservations => put("r"),
            Thing::Purpose(None) => put("p"),
            Thing::Purpose(Some(Purpose(digest))) => {
                ["p:", digest.spelled().as_str()].into_iter().for_each(put);
            }
            Thing::Count(kind, agent) => {
                ["v:", kind, ":", agent.spelled().as_str()].into_iter().for_each(put);
            }
        }
    }
}

written_in_pieces!(Key<'_>);

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands in servers is found under these names.
    #[test]
    fn keys_have_the_names_that_they_always_had() {
        let (store, jti, agent) = (StoreId::parse("store-1").unwrap(), Jti::random(), AgentId::parse("ak_1").unwrap());
        let (keys, digest) = (Keys(&store), Digest::from_bytes([0xab; 16]));
        let counts = keys.counts(&agent);
        let named = [
            (keys.token(Namespace::Enforce, jti), format!("b:{jti}")),
            (keys.token(Namespace::Observe, jti), format!("o:{jti}")),
            (keys.answer(Namespace::Enforce, jti), format!("ba:{jti}")),
            (keys.epoch(), "epoch".to_owned()),
            (keys.reservations(), "r".to_owned()),
            (keys.purpose(None), "p".to_owned()),
            (keys.purpose(Some(Purpose(digest))), format!("p:{}", "ab".repeat(16))),
            (counts[0], "v:h:AGENT".to_owned()),
            (counts[1], "v:hs:AGENT".to_owned()),
            (counts[2], "v:d:AGENT".to_owned()),
            (counts[3], "v:ds:AGENT".to_owned()),
        ];
        let agent: String = Sha256::of(b"ak_1").hex().chars().take(32).collect();
        for (key, name) in named {
            let name = format!("pxl:{{store-1}}:{}", name.replace("AGENT", &agent));
            assert_eq!(key.to_string(), name);
            assert_eq!(redis::ToRedisArgs::to_redis_args(&key), [name.into_bytes()]);
        }
    }
}
