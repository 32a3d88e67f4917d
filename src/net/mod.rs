//! Floor 3: requests that the program itself makes, and the certificates it shows.

pub mod client;
pub mod events;
#[cfg(feature = "tls")]
pub mod tls;
