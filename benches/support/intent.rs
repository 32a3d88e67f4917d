//! The one purchase that the benches are about: a mug.

use permyx::model::ids::{StoreId, VariantId};
use permyx::model::intent::{Intent, Quantity};
use permyx::model::money::Price;
use permyx::model::scope::Scope;

pub fn mug() -> Intent {
    Intent {
        store: StoreId::parse("store-123").unwrap(),
        variant: VariantId::parse("shopify:variant:123456").unwrap(),
        quantity: Quantity::new(1).unwrap(),
        price: Price::parse_text("29.99 USD").unwrap(),
        scope: Scope::AgentExec,
    }
}
