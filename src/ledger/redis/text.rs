//! The texts that are kept in the server, and the names under which they are.

use bytes::{BufMut, Bytes, BytesMut};

use crate::model::ids::{AgentId, Jti, StoreId, TraceId};
use crate::model::intent::Sha256;

use super::super::entry::{Answer, Claim, Digest, Entry, Lapsed, Namespace, Purpose, Retry, Slot, Spent, State};

/// The keys of one store share a slot of a cluster: the store's id in braces.
pub(super) struct Keys<'a>(pub(super) &'a StoreId);

impl Keys<'_> {
    fn of(&self, rest: std::fmt::Arguments<'_>) -> String {
        format!("pxl:{{{}}}:{rest}", self.0)
    }

    pub(super) fn token(&self, namespace: Namespace, jti: Jti) -> String {
        self.of(format_args!("{}:{jti}", letter(namespace)))
    }

    pub(super) fn answer(&self, namespace: Namespace, jti: Jti) -> String {
        self.of(format_args!("{}a:{jti}", letter(namespace)))
    }

    pub(super) fn epoch(&self) -> String {
        self.of(format_args!("epoch"))
    }

    pub(super) fn reservations(&self) -> String {
        self.of(format_args!("r"))
    }

    /// One that is never written stands for none.
    pub(super) fn purpose(&self, purpose: Option<Purpose>) -> String {
        match purpose {
            Some(Purpose(digest)) => self.of(format_args!("p:{digest}")),
            None => self.of(format_args!("p")),
        }
    }

    /// Orders and sums of an agent: of the hour, then of the day. An agent's id may hold what a
    /// slot is named by, so its digest stands for it.
    pub(super) fn counts(&self, agent: &AgentId) -> [String; 4] {
        let agent: String = Sha256::of(agent.as_str().as_bytes()).hex().chars().take(32).collect();
        ["h", "hs", "d", "ds"].map(|kind| self.of(format_args!("v:{kind}:{agent}")))
    }
}

/// Enforcing and observing do not see each other.
const fn letter(namespace: Namespace) -> &'static str {
    match namespace {
        Namespace::Enforce => "b",
        Namespace::Observe => "o",
    }
}

/// 32 hexadecimal digits.
pub(super) fn hex(trace: TraceId) -> String {
    trace.to_string().trim_start_matches("trc_").to_owned()
}

fn trace(hex: &str) -> Option<TraceId> {
    TraceId::parse(&format!("trc_{hex}"))
}

/// The new entry of a claim: `1|R|trace|millis|replica|purpose|key|request`.
pub(super) fn entry(claim: &Claim, now_ms: i64, replica: &str) -> String {
    let (key, request) = match claim.retry {
        Some(Retry { key, request }) => (key.to_string(), request.to_string()),
        None => ("-".to_owned(), "-".to_owned()),
    };
    let purpose = claim.purpose.map_or_else(|| "-".to_owned(), |Purpose(digest)| digest.to_string());
    format!("1|R|{}|{now_ms}|{replica}|{purpose}|{key}|{request}", hex(claim.trace))
}

/// An entry with what only a person asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Full {
    pub entry: Entry,
    /// When it was reserved, in milliseconds since 1970.
    pub since_ms: i64,
    /// The process that reserved it.
    pub replica: String,
    pub(super) purpose: Option<Purpose>,
}

/// Reads an entry. `None`: it is none of ours.
pub(super) fn read_entry(text: &str) -> Option<Full> {
    let mut parts = text.split('|');
    let mut next = || parts.next();
    if next()? != "1" {
        return None;
    }
    let letter = next()?;
    let state = match letter {
        "R" => State::Reserved,
        "B" => State::Spent(Spent::Burned),
        // By its own process, or by another that found its lease lapsed.
        "I" | "L" => State::Spent(Spent::Indeterminate),
        "U" => State::Spent(Spent::Unexecuted),
        _ => return None,
    };
    let first = trace(next()?)?;
    let since_ms = next()?.parse().ok()?;
    let replica = next()?.to_owned();
    let purpose = match next()? {
        "-" => None,
        purpose => Some(Purpose(digest(purpose)?)),
    };
    let (key, request) = (next()?, next()?);
    let retry = match (digest(key), digest(request)) {
        (Some(key), Some(request)) => Some(Retry { key, request }),
        _ if key == "-" && request == "-" => None,
        _ => return None,
    };
    next().is_none().then_some(Full { entry: Entry { state, first, retry }, since_ms, replica, purpose })
}

fn digest(hex: &str) -> Option<Digest> {
    let number = (hex.len() == 32).then(|| u128::from_str_radix(hex, 16).ok())??;
    Some(Digest::from_bytes(number.to_be_bytes()))
}

/// A member of the set of reservations: `b|jti|trace`.
pub(super) fn member(slot: &Slot, trace: TraceId) -> String {
    format!("{}|{}|{}", letter(slot.namespace), slot.jti, hex(trace))
}

pub(super) fn read_member(store: &StoreId, text: &str) -> Option<Lapsed> {
    let mut parts = text.split('|');
    let namespace = match parts.next()? {
        "b" => Namespace::Enforce,
        "o" => Namespace::Observe,
        _ => return None,
    };
    let jti = Jti::parse(parts.next()?)?;
    let trace = trace(parts.next()?)?;
    Some(Lapsed { slot: Slot { namespace, store: store.clone(), jti }, trace })
}

/// When an epoch began: `1|millis|run|history|id`.
pub(super) fn epoch_started_ms(text: &str) -> Option<i64> {
    text.strip_prefix("1|")?.split('|').next()?.parse().ok()
}

/// `status`, then a line for each field, an empty line, and the body.
pub(super) fn answer(answer: &Answer) -> Bytes {
    let mut text = BytesMut::with_capacity(128 + answer.body.len());
    text.put_slice(format!("1 {}\n", answer.status).as_bytes());
    for (name, value) in &answer.headers {
        if !value.contains('\n') {
            text.put_slice(format!("{name}: {value}\n").as_bytes());
        }
    }
    text.put_u8(b'\n');
    text.put_slice(&answer.body);
    text.freeze()
}

pub(super) fn read_answer(text: Bytes) -> Option<Answer> {
    let end = text.windows(2).position(|pair| pair == b"\n\n")?;
    let head = std::str::from_utf8(text.get(..end)?).ok()?;
    let mut lines = head.lines();
    let status = lines.next()?.strip_prefix("1 ")?.parse().ok()?;
    let headers = lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.into(), value.into()));
    Some(Answer { status, headers: headers.collect(), body: text.slice(end + 2..) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slot() -> Slot {
        Slot { namespace: Namespace::Enforce, store: StoreId::parse("store-1").unwrap(), jti: Jti::random() }
    }

    #[test]
    fn keys_of_a_store_share_its_slot() {
        let slot = slot();
        let keys = Keys(&slot.store);
        assert_eq!(keys.token(Namespace::Enforce, slot.jti), format!("pxl:{{store-1}}:b:{}", slot.jti));
        assert_eq!(keys.epoch(), "pxl:{store-1}:epoch");
        let agent = AgentId::parse("ak_1").unwrap();
        assert!(keys.counts(&agent).iter().all(|key| key.starts_with("pxl:{store-1}:v:") && !key.contains("ak_1")));
    }

    #[test]
    fn a_member_reads_as_it_was_written() {
        let (slot, trace) = (slot(), TraceId::random());
        let read = read_member(&slot.store, &member(&slot, trace)).unwrap();
        assert_eq!((read.slot, read.trace), (slot, trace));
    }

    #[test]
    fn an_answer_reads_as_it_was_written() {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let kept = Answer { status: 201, headers, body: Bytes::from_static(b"{\"a\":1}\n\n{}") };
        assert_eq!(read_answer(answer(&kept)), Some(kept));
        let empty = Answer { status: 204, headers: Vec::new(), body: Bytes::new() };
        assert_eq!(read_answer(answer(&empty)), Some(empty));
    }

    proptest! {
        #[test]
        fn strangers_texts_are_none_of_ours(text in ".{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let store = StoreId::parse("s").unwrap();
            let _ = (read_entry(&text), read_member(&store, &text), epoch_started_ms(&text));
            let _ = read_answer(Bytes::from(bytes));
        }
    }
}
