//! Tokens for the benches.

mod intent;

use permyx::model::ids::{AgentId, Jti};
use permyx::model::time::Timestamp;
use permyx::token::issue::{Grant, Lifetime, issue};
use permyx::token::keys::SigningKey;

use intent::mug;

pub const NOW: Timestamp = Timestamp::of_seconds(1_795_000_000);

/// A fresh token for one mug.
pub fn token(key: &SigningKey) -> String {
    let intent = mug();
    let agent = AgentId::parse("ak_demo").unwrap();
    let (jti, lifetime) = (Jti::random(), Lifetime::MAX);
    let grant = Grant { intent: &intent, agent: &agent, product: None, jti, issued: NOW, lifetime };
    issue(key, &grant).unwrap().text
}
