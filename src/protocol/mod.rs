//! Floor 1: the shapes of checkouts. A preset says where the facts of a purchase stand; nothing
//! here sends or decides.

pub mod body;
pub mod coding;
pub mod deny;
pub mod extract;
pub mod form;
pub mod graphql;
pub mod media;
pub mod money;
pub mod order;
pub mod outcome;
pub mod path;
pub mod pointer;
pub mod preset;
pub mod session;
pub mod webhook;
