//! Who is signed in. Sessions live in memory: a restart signs everybody out.

use std::collections::HashMap;

use http::HeaderMap;
use http::header::COOKIE;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::clock::{Clock, Monotonic};
use crate::model::ids::AgentId;
use crate::model::intent::Sha256;

const NAME: &str = "permyx_session";
/// A working day.
const LIFETIME_S: i64 = 8 * 3600;
/// Most sessions. At the bound the oldest ends.
const SESSIONS_MAX: usize = 1000;

/// Whether the cookie may travel over plain HTTP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    Tls,
    /// On this machine, or behind something that encrypts.
    Plain,
}

/// The sessions of a process. The ids themselves are not kept, only their hashes.
pub struct Sessions {
    clock: Clock,
    transport: Transport,
    known: Mutex<HashMap<Sha256, Session>>,
}

struct Session {
    /// The key that signed in. Whether it still may look is asked anew each time.
    key: AgentId,
    began: Monotonic,
}

impl Session {
    fn is_over(&self, now: Monotonic) -> bool {
        now.millis_since(self.began) >= LIFETIME_S * 1000
    }
}

impl Sessions {
    #[must_use]
    pub fn new(clock: Clock, transport: Transport) -> Self {
        Self { clock, transport, known: Mutex::default() }
    }

    /// Begins a session; the answer is the value of `Set-Cookie`.
    #[must_use]
    pub fn begin(&self, key: AgentId) -> String {
        let id = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let now = self.clock.monotonic();
        let mut known = self.known.lock();
        if known.len() >= SESSIONS_MAX {
            known.retain(|_, session| !session.is_over(now));
        }
        if known.len() >= SESSIONS_MAX {
            let oldest = known.iter().min_by_key(|(_, session)| session.began).map(|(id, _)| *id);
            oldest.and_then(|id| known.remove(&id));
        }
        known.insert(Sha256::of(id.as_bytes()), Session { key, began: now });
        self.cookie(&id, LIFETIME_S)
    }

    /// The key of the session that a request belongs to.
    #[must_use]
    pub fn of(&self, headers: &HeaderMap) -> Option<AgentId> {
        let id = presented(headers)?;
        let known = self.known.lock();
        let session = known.get(&id)?;
        (!session.is_over(self.clock.monotonic())).then(|| session.key.clone())
    }

    /// Ends the session of a request; the answer is the value of `Set-Cookie`.
    #[must_use]
    pub fn end(&self, headers: &HeaderMap) -> String {
        if let Some(id) = presented(headers) {
            self.known.lock().remove(&id);
        }
        self.cookie("", 0)
    }

    fn cookie(&self, value: &str, lifetime_s: i64) -> String {
        let secure = if self.transport == Transport::Tls { "; Secure" } else { "" };
        format!("{NAME}={value}; Path=/; Max-Age={lifetime_s}; HttpOnly; SameSite=Strict{secure}")
    }
}

/// The hash of the session id in the cookies of a request.
fn presented(headers: &HeaderMap) -> Option<Sha256> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, id) = pairs.find(|(name, _)| *name == NAME)?;
    (id.len() == 64).then(|| Sha256::of(id.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Timestamp;

    fn sessions(transport: Transport) -> (Sessions, Clock) {
        let clock = Clock::manual(Timestamp::of_millis(0));
        (Sessions::new(clock.clone(), transport), clock)
    }

    fn key(n: usize) -> AgentId {
        AgentId::parse(&format!("ak_{n}")).unwrap()
    }

    fn sent_back(cookie: &str) -> HeaderMap {
        let pair = cookie.split(';').next().unwrap();
        HeaderMap::from_iter([(COOKIE, format!("a=b; {pair}; c=d").parse().unwrap())])
    }

    #[test]
    fn a_session_ends_by_itself_or_when_asked() {
        let (sessions, clock) = sessions(Transport::Plain);
        let (first, second) = (sent_back(&sessions.begin(key(1))), sent_back(&sessions.begin(key(2))));
        assert_eq!((sessions.of(&first), sessions.of(&second)), (Some(key(1)), Some(key(2))));
        assert!(sessions.end(&first).starts_with("permyx_session=; Path=/; Max-Age=0;"));
        assert_eq!((sessions.of(&first), sessions.of(&second)), (None, Some(key(2))));
        clock.advance(LIFETIME_S * 1000);
        assert_eq!(sessions.of(&second), None);
        assert_eq!(sessions.of(&HeaderMap::new()), None);
        assert_eq!(sessions.of(&sent_back("permyx_session=guess")), None);
    }

    #[test]
    fn the_cookie_is_out_of_reach() {
        for (transport, secure) in [(Transport::Tls, true), (Transport::Plain, false)] {
            let cookie = sessions(transport).0.begin(key(1));
            assert!(cookie.contains("; HttpOnly; SameSite=Strict"), "{cookie}");
            assert_eq!(cookie.ends_with("; Secure"), secure);
        }
    }

    #[test]
    fn at_the_bound_the_oldest_ends() {
        let (sessions, clock) = sessions(Transport::Plain);
        let begin = |n| {
            clock.advance(1);
            sent_back(&sessions.begin(key(n)))
        };
        let all: Vec<_> = (0..=SESSIONS_MAX).map(begin).collect();
        assert_eq!(sessions.known.lock().len(), SESSIONS_MAX);
        assert_eq!(sessions.of(&all[0]), None);
        assert_eq!(sessions.of(&all[1]), Some(key(1)));
        assert_eq!(sessions.of(&all[SESSIONS_MAX]), Some(key(SESSIONS_MAX)));
    }
}
