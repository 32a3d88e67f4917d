//! Who a request is from, as far as its connection and its head tell. Looked at once, and only where
//! a decision is recorded.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::detect::{Nets, Protocol, Seen};
use crate::evidence::Caller;
use crate::model::signal::State;
use crate::protocol::preset::Dialect;

use super::Gateway;
use super::downstream::Downstream;
use super::fields::Fields;
use super::guard::Guarded;
use super::route::Kind;

/// What proxies wrote of whom they got a request from, one behind the other.
const FORWARDED: &str = "x-forwarded-for";
/// Most of them that are looked at, and the longest one.
const HOPS_MAX: usize = 16;
const HOP_MAX: usize = 64;

impl Gateway {
    /// Looks at who calls, if nobody looked before. `token`: how an execution token came.
    pub(super) fn meet(&self, session: &Downstream<'_>, guarded: &mut Guarded, token: State) {
        if guarded.call.presence.is_some() {
            return;
        }
        let request = session.request();
        let fields = &request.fields;
        let peer = session.peer().map(|peer| peer.ip());
        let seen = Seen {
            token,
            protocol: protocol(guarded),
            user_agent: fields.first("user-agent"),
            signature_agent: fields.first("signature-agent"),
            ucp_agent: fields.first("ucp-agent"),
            query: request.query().map(str::as_bytes),
            referrer: fields.first("referer"),
            address: peer.and_then(|peer| caller(peer, fields, &self.settings.trusted_proxies)),
        };
        guarded.call.caller = seen.address.map_or(Caller::Others, Caller::at);
        guarded.call.presence = Some(Arc::new(self.settings.tables.look(&seen)));
    }
}

/// The agents' protocol that a recognised step of a checkout is told in.
fn protocol(guarded: &Guarded) -> Option<Protocol> {
    match (guarded.step.kind, guarded.dialect()) {
        (Kind::Phase(_), Dialect::Acp) => Some(Protocol::Acp),
        (Kind::Phase(_), Dialect::Ucp) => Some(Protocol::Ucp),
        _ => None,
    }
}

/// The address of a caller: the peer's, or where that is a trusted proxy, the last hop that is none.
/// `None` where a trusted proxy does not tell or its word cannot be read.
fn caller(peer: IpAddr, fields: &Fields, trusted: &Nets) -> Option<IpAddr> {
    if !trusted.contains(peer) {
        return Some(peer);
    }
    let lines = fields.all(FORWARDED).rev();
    let hops = lines.flat_map(|line| line.rsplit(|byte| *byte == b',')).take(HOPS_MAX);
    // Behind a hop that cannot be read nothing is sure.
    hops.map(hop).find(|hop| hop.is_none_or(|hop| !trusted.contains(hop))).flatten()
}

/// One hop: an address, with a port or without.
fn hop(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text.trim_ascii()).ok().filter(|text| text.len() <= HOP_MAX)?;
    text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Net;

    #[test]
    fn only_a_trusted_proxy_says_whom_it_forwards() {
        let trusted = Nets::of(vec![Net::parse("10.0.0.0/8").unwrap()]);
        let of = |peer: &str, lines: &[&str]| {
            let fields = lines.iter().map(|line| (FORWARDED.as_bytes(), line.as_bytes())).collect();
            caller(peer.parse().unwrap(), &fields, &trusted).map(|address| address.to_string())
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(of("192.0.2.1", &["198.51.100.1"]), some("192.0.2.1"), "a stranger's word is none");
        assert_eq!(of("10.0.0.1", &["203.0.113.9, 198.51.100.1"]), some("198.51.100.1"));
        assert_eq!(of("::ffff:10.0.0.1", &["198.51.100.1:80, 10.0.0.2"]), some("198.51.100.1"));
        assert_eq!(of("10.0.0.1", &["203.0.113.9", "[2001:db8::1]:443"]), some("2001:db8::1"));
        for unclear in [&["198.51.100.1, what"][..], &["10.0.0.2"], &[""], &[]] {
            assert_eq!(of("10.0.0.1", unclear), None, "{unclear:?}");
        }
        let many = format!("198.51.100.1{}", ", 10.0.0.2".repeat(HOPS_MAX));
        assert_eq!(of("10.0.0.1", &[&many]), None);
    }
}
