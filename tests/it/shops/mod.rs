//! Purchases from real merchants' software: what was authorised is what is bought, whatever the
//! committing request looks like.

mod medusa;
mod ucp;
mod vendure;
