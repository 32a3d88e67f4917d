//! The one purchase that the benches are about.

use permyx::model::ids::{AgentId, Jti, StoreId, VariantId};
use permyx::model::intent::{Intent, Quantity};
use permyx::model::money::Price;
use permyx::model::scope::Scope;
use permyx::model::time::Timestamp;
use permyx::token::issue::{Grant, Lifetime, issue};
use permyx::token::keys::SigningKey;

pub const NOW: Timestamp = Timestamp::of_seconds(1_795_000_000);

/// A fresh token for one mug.
pub fn token(key: &SigningKey) -> String {
    let intent = Intent {
        store: StoreId::parse("store-123").unwrap(),
        variant: VariantId::parse("shopify:variant:123456").unwrap(),
        quantity: Quantity::new(1).unwrap(),
        price: Price::parse_text("29.99 USD").unwrap(),
        scope: Scope::AgentExec,
    };
    let agent = AgentId::parse("ak_demo").unwrap();
    let (jti, lifetime) = (Jti::random(), Lifetime::MAX);
    let grant = Grant { intent: &intent, agent: &agent, product: None, jti, issued: NOW, lifetime };
    issue(key, &grant).unwrap().text
}
