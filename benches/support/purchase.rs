//! What one purchase leaves in evidence.

mod intent;

use permyx::model::event::{Event, EventKind};
use permyx::model::ids::{AgentId, Jti, TraceId};
use permyx::model::intent::Sha256;
use permyx::model::signal::{Signal, State};
use permyx::model::time::Timestamp;

use intent::mug;

pub const NOW: Timestamp = Timestamp::of_seconds(1_795_000_000);

const SIGNALS: [&str; 4] = ["user_agent", "referrer", "utm_source", "address"];

/// A reservation and its settlement, of a purchase like no other.
pub fn purchase() -> [Event; 2] {
    let intent = mug();
    let (trace, jti) = (TraceId::random(), Jti::random());
    [EventKind::ExecutionReserved, EventKind::ExecutionValidated].map(|kind| {
        let mut event = Event::new(kind, NOW, trace).of_token(jti);
        event.data.agent_id = AgentId::parse("ak_demo").ok();
        event.data.stage = Some("gateway");
        event.data.enforcement = Some("enforce");
        event.data.decision = Some("allowed");
        event.data.route = Some("checkout".into());
        event.data.store_id = Some(intent.store.clone());
        event.data.variant_id = Some(intent.variant.to_string().into());
        event.data.quantity = Some(intent.quantity.get());
        event.data.price = Some(intent.price.to_string().into());
        event.data.scope = Some(intent.scope);
        event.data.intent_hash = Some(intent.hash());
        event.data.policy_hash = Some(Sha256::of(b"policy"));
        event.data.signals = SIGNALS.map(|name| Signal::new(name, State::Absent)).into();
        event
    })
}
