//! What a key may do (README decision 5). A key that may not is told so and nothing else: not
//! whether the store exists, not whose a token is.

use crate::authority::execute::Holder;
use crate::keystore::agents::{ApiKey, Role};
use crate::model::ids::StoreId;
use crate::model::reason::Fault;
use crate::protocol::deny::Refusal;
use crate::token::verify::Verified;

/// Refuses a key whose role has no part in this call.
pub(super) fn role(key: &ApiKey, allowed: &[Role]) -> Result<(), Refusal> {
    if allowed.contains(&key.terms.role) {
        return Ok(());
    }
    let allowed: Vec<_> = allowed.iter().map(|role| role.as_str()).collect();
    Err(Refusal {
        message: Some(format!("a key of role `{}` may not do this; it takes {}", key.terms.role, allowed.join(" or "))),
        rule: Some("key.role".to_owned()),
        ..Refusal::fault(Fault::Forbidden)
    })
}

/// Refuses a key that is not enrolled in this store.
pub(super) fn store(key: &ApiKey, store: &StoreId) -> Result<(), Refusal> {
    if key.terms.stores.covers(store) {
        return Ok(());
    }
    Err(Refusal {
        message: Some("this key is not enrolled in this store".to_owned()),
        member: Some("storeId".to_owned()),
        rule: Some("key.stores".to_owned()),
        ..Refusal::fault(Fault::Forbidden)
    })
}

/// Whose tokens a key may use: an agent its own, a merchant those of its stores.
pub(super) fn holder(key: &ApiKey) -> Holder<'_> {
    match key.terms.role {
        Role::Merchant => Holder::Merchant,
        Role::Agent | Role::Auditor | Role::Operator | Role::Gateway => Holder::Agent(&key.id),
    }
}

/// Whether a key may see what a verified token says.
pub(super) fn sees(key: &ApiKey, token: &Verified) -> bool {
    match key.terms.role {
        Role::Merchant => key.terms.stores.covers(token.store()),
        Role::Agent => key.id == *token.agent(),
        Role::Auditor | Role::Operator | Role::Gateway => false,
    }
}
