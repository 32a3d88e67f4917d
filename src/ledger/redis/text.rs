//! The texts that are kept in the server.

use bytes::{BufMut, Bytes, BytesMut};

use crate::model::ids::{Jti, StoreId, TraceId};
use crate::model::spell::Spelled;

use super::super::entry::{Answer, Claim, Digest, Entry, Lapsed, Namespace, Purpose, Retry, Slot, Spent, State};
use super::pieces::{Pieces, written_in_pieces};

/// Enforcing and observing do not see each other.
pub(super) const fn letter(namespace: Namespace) -> &'static str {
    match namespace {
        Namespace::Enforce => "b",
        Namespace::Observe => "o",
    }
}

/// 32 hexadecimal digits.
pub(super) fn hex(trace: TraceId) -> Spelled<32> {
    Spelled::of(trace.spelled().as_str().trim_start_matches("trc_"))
}

fn trace(hex: &str) -> Option<TraceId> {
    TraceId::parse(&format!("trc_{hex}"))
}

/// The new entry of a claim: `1|R|trace|millis|replica|purpose|key|request`.
#[derive(Clone, Copy)]
pub(super) struct Fresh<'c> {
    pub(super) claim: &'c Claim,
    pub(super) now_ms: i64,
    pub(super) replica: &'c str,
}

impl Pieces for Fresh<'_> {
    fn each(&self, mut put: impl FnMut(&str)) {
        let digest = |digest: Option<Digest>| digest.map_or_else(|| Spelled::of("-"), Digest::spelled);
        let (key, request) = self.claim.retry.map(|Retry { key, request }| (key, request)).unzip();
        let now = Spelled::<20>::of("").number(self.now_ms.unsigned_abs());
        let purpose = digest(self.claim.purpose.map(|Purpose(digest)| digest));
        for piece in ["1|R|", hex(self.claim.trace).as_str(), "|", now.as_str(), "|", self.replica] {
            put(piece);
        }
        for part in [purpose, digest(key), digest(request)] {
            put("|");
            put(part.as_str());
        }
    }
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
#[derive(Clone, Copy)]
pub(super) struct Member<'s>(pub(super) &'s Slot, pub(super) TraceId);

impl Pieces for Member<'_> {
    fn each(&self, mut put: impl FnMut(&str)) {
        let Self(slot, trace) = self;
        for piece in [letter(slot.namespace), "|", slot.jti.spelled().as_str(), "|", hex(*trace).as_str()] {
            put(piece);
        }
    }
}

written_in_pieces!(Fresh<'_>, Member<'_>);

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
    use crate::ledger::contract::plain;
    use crate::model::time::Timestamp;
    use proptest::prelude::*;

    fn slot() -> Slot {
        Slot { namespace: Namespace::Enforce, store: StoreId::parse("store-1").unwrap(), jti: Jti::random() }
    }

    #[test]
    fn a_member_reads_as_it_was_written() {
        let (slot, trace) = (slot(), TraceId::random());
        let read = read_member(&slot.store, &Member(&slot, trace).to_string()).unwrap();
        assert_eq!((read.slot, read.trace), (slot, trace));
    }

    /// Servers keep both beyond an upgrade, and scripts cut them apart.
    #[test]
    fn what_is_kept_of_a_claim_is_spelled_as_it_always_was() {
        let mut claim = plain(slot(), Timestamp::of_millis(0));
        let hex = claim.trace.to_string().replacen("trc_", "", 1);
        assert_eq!(Member(&claim.slot, claim.trace).to_string(), format!("b|{}|{hex}", claim.slot.jti));
        let fresh = |claim: &Claim| Fresh { claim, now_ms: 1_700_000_000_123, replica: "r-1" }.to_string();
        assert_eq!(fresh(&claim), format!("1|R|{hex}|1700000000123|r-1|-|-|-"));
        let digest = |byte| Digest::from_bytes([byte; 16]);
        claim.purpose = Some(Purpose(digest(0xab)));
        claim.retry = Some(Retry { key: digest(1), request: digest(0xf0) });
        let (purpose, key, request) = ("ab".repeat(16), "01".repeat(16), "f0".repeat(16));
        assert_eq!(fresh(&claim), format!("1|R|{hex}|1700000000123|r-1|{purpose}|{key}|{request}"));
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
