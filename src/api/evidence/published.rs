//! Events in the shape of the published data contract, version 1.5: the same nine members for each.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::model::event::EventKind;

/// The kinds that the contract publishes.
pub(super) const KINDS: &[EventKind] = &[
    EventKind::ExecutionAuthorized,
    EventKind::ExecutionDenied,
    EventKind::ExecutionValidated,
    EventKind::ExecutionExpired,
    EventKind::ExecutionReplayDetected,
    EventKind::ExecutionObserved,
];

/// One event. What it does not say is `null`; only `diff`, which the contract asks for where authorised
/// and actual differ, is left out where they do not.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Published<'a> {
    event_type: &'a str,
    #[serde(borrow)]
    trace_id: Option<&'a str>,
    timestamp: Option<&'a str>,
    store_id: Option<&'a str>,
    agent_id: Option<&'a str>,
    scope: Option<&'a str>,
    decision: Option<&'a str>,
    token_id: Option<&'a str>,
    expires_at: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Written<'a> {
    #[serde(borrow)]
    data: Published<'a>,
}

impl<'a> Published<'a> {
    /// The event with these bytes; `None` where they are no event.
    pub(super) fn of(body: &'a str) -> Option<Self> {
        serde_json::from_str::<Written<'_>>(body).ok().map(|written| written.data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::{Diff, Event, Link};
    use crate::model::ids::{AgentId, Jti, StoreId, TraceId};
    use crate::model::scope::Scope;
    use crate::model::time::Timestamp;

    const GOLDEN: &str = include_str!("published_events.jsonl");

    /// One event of each published kind: the first says everything, the others what they must.
    fn told() -> String {
        let now = Timestamp::of_millis(1_795_000_000_123);
        let trace = TraceId::parse("trc_0199f3a16c1e7c559d0e2f6a4d1f9b10").unwrap();
        let mut lines = String::new();
        for (number, kind) in KINDS.iter().enumerate() {
            let mut event = Event::new(*kind, now, trace);
            if number == 0 {
                event = event.of_token(Jti::parse("5b0e8a0e-3c58-4f6e-9a41-0c2d0a9b7e11").unwrap());
                event.data.store_id = Some(StoreId::parse("store-123").unwrap());
                event.data.agent_id = Some(AgentId::parse("ak_7f3c").unwrap());
                event.data.scope = Some(Scope::AgentExec);
                event.data.decision = Some("allowed");
                event.data.expires_at = Some(now);
            }
            if *kind == EventKind::ExecutionDenied {
                let (actual, authorized, path) = ("3".into(), "1".into(), "/quantity".into());
                event.data.diff.push(Diff { actual, authorized, path, kind: "integer" });
            }
            let mut bytes = Vec::new();
            event.write_json(&mut bytes, Link::first("/gateways/a", now));
            let published = Published::of(std::str::from_utf8(&bytes).unwrap()).unwrap();
            lines += &(serde_json::to_string(&published).unwrap() + "\n");
        }
        lines
    }

    #[test]
    fn every_published_kind_has_the_nine_members_of_the_contract() {
        assert_eq!(told(), GOLDEN);
    }
}
