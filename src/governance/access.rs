//! Who may look at evidence, and at whose.

use crate::keystore::agents::{ApiKey, Enrolment, Role};
use crate::model::ids::StoreId;

/// Somebody who may look at evidence. A merchant sees its stores; auditors and operators see the
/// stores that they are enrolled in, or everything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Viewer(Option<Vec<StoreId>>);

impl Viewer {
    /// Whoever reaches a sandbox on this machine.
    pub const SANDBOX: Self = Self(None);

    /// `None` for keys that see no evidence: agents and gateways.
    #[must_use]
    pub fn of(key: &ApiKey) -> Option<Self> {
        match (key.terms.role, &key.terms.stores) {
            (Role::Agent | Role::Gateway, _) => None,
            (Role::Merchant | Role::Auditor | Role::Operator, Enrolment::Only(stores)) => {
                Some(Self(Some(stores.clone())))
            }
            (Role::Auditor | Role::Operator, Enrolment::AllStores) => Some(Self(None)),
            // Nobody can make such a key. If there is one, it sees nothing.
            (Role::Merchant, Enrolment::AllStores) => None,
        }
    }

    /// The stores to show; `None` is all of them, and what belongs to no store.
    #[must_use]
    pub fn stores(&self) -> Option<&[StoreId]> {
        self.0.as_deref()
    }

    #[must_use]
    pub fn sees(&self, store: &StoreId) -> bool {
        self.0.as_ref().is_none_or(|stores| stores.contains(store))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keystore::agents::{Allowance, Terms};
    use crate::model::ids::AgentId;
    use crate::model::time::Timestamp;

    fn key(role: Role, stores: Enrolment) -> ApiKey {
        let terms = Terms { role, stores, allowance: Allowance::UNLIMITED };
        ApiKey { id: AgentId::parse("ak_1").unwrap(), terms, created: Timestamp::of_millis(0), revoked: None }
    }

    #[test]
    fn agents_see_nothing_and_merchants_their_stores() {
        let (own, other) = (StoreId::parse("own").unwrap(), StoreId::parse("other").unwrap());
        let only = || Enrolment::Only(vec![own.clone()]);
        assert_eq!(Viewer::of(&key(Role::Agent, only())), None);
        assert_eq!(Viewer::of(&key(Role::Agent, Enrolment::AllStores)), None);
        assert_eq!(Viewer::of(&key(Role::Merchant, Enrolment::AllStores)), None);
        for role in [Role::Merchant, Role::Auditor, Role::Operator] {
            let viewer = Viewer::of(&key(role, only())).unwrap();
            assert_eq!((viewer.sees(&own), viewer.sees(&other)), (true, false));
            assert_eq!(viewer.stores(), Some([own.clone()].as_slice()));
        }
        for role in [Role::Auditor, Role::Operator] {
            assert_eq!(Viewer::of(&key(role, Enrolment::AllStores)), Some(Viewer::SANDBOX));
        }
    }
}
