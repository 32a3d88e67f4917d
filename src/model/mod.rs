//! Floor 0: the words of the product. Values that parse on the way in, so that everything above
//! may trust what it holds. Nothing here reads a clock, a file or a socket.

pub mod document;
pub mod event;
pub mod ids;
pub mod intent;
pub mod json;
pub mod money;
pub mod percent;
pub mod reason;
pub mod reference;
pub mod revocation;
pub mod scope;
pub mod several;
pub mod signal;
pub mod spell;
pub mod time;
pub mod trace_parent;
