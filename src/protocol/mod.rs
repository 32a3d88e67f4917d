//! Floor 1: the shapes of checkouts. A preset says where the facts of a purchase stand; nothing
//! here sends or decides.

pub mod deny;
pub mod extract;
pub mod graphql;
pub mod outcome;
pub mod path;
pub mod preset;
