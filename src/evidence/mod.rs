//! Floor 4: what was decided and what came of it, in order and never lost in silence.
//!
//! A producer appends to its [`Spool`], a directory of append-only segment files. A [`Follower`]
//! carries the events of one or several spools into the [`Store`], where they are searched, and a
//! [log](log::Appender) proves afterwards that they are still the same.

mod active;
mod gap;
mod identity;
pub mod record;
mod recover;
mod room;
mod segment;
mod ship;
mod spool;
mod stored;
mod unsettled;

#[cfg(feature = "control-plane")]
mod copy;
#[cfg(feature = "control-plane")]
mod follow;
#[cfg(feature = "control-plane")]
mod held;
#[cfg(feature = "control-plane")]
pub mod intake;
#[cfg(feature = "control-plane")]
pub mod log;
#[cfg(feature = "control-plane")]
mod orders;
#[cfg(feature = "control-plane")]
mod query;
#[cfg(feature = "control-plane")]
mod seal;
#[cfg(feature = "control-plane")]
pub mod store;
mod tail;
#[cfg(feature = "control-plane")]
mod take;
#[cfg(feature = "control-plane")]
mod years;

#[cfg(test)]
#[cfg(feature = "control-plane")]
mod orders_tests;
#[cfg(test)]
#[cfg(feature = "control-plane")]
mod store_tests;
#[cfg(test)]
mod tests;

#[cfg(feature = "control-plane")]
pub use copy::Snapshot;
#[cfg(feature = "control-plane")]
pub use follow::{Consumed, Followed, Follower};
#[cfg(feature = "control-plane")]
pub use held::Held;
#[cfg(feature = "control-plane")]
pub use intake::{Delivery, Inbox, NotTaken};
#[cfg(feature = "control-plane")]
pub use orders::Clues;
#[cfg(feature = "control-plane")]
pub use query::{Filter, Joined, LIMIT_MAX};
#[cfg(feature = "control-plane")]
pub use seal::{Closer, LogPlace, Sealer};
pub use segment::Keep;
pub use ship::{ControlPlane, RECORDS, Receiver, Refused, WENT_BACK, ship};
pub use spool::{Caller, Class, Foldable, NotAll, Placed, Receipt, Spool, SpoolError, SpoolOptions, sync_loop};
#[cfg(feature = "control-plane")]
pub use store::{Producer, Store, StoreError};
pub use stored::{Body, Data, Difference, LineSeen, SignalSeen, StoredEvent};
pub use unsettled::{NOT_IN_LEDGER, Unsettled, unsettled};
#[cfg(feature = "control-plane")]
pub use years::YearLog;
