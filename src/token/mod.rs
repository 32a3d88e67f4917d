//! Floor 1: authority on paper. Keys, the strict reading of a token, and its issue. Pure: the time
//! and the randomness come in as arguments.

pub mod issue;
pub mod keys;
pub mod verify;

/// `iss` of every token (contract.md).
pub const ISSUER: &str = "permyx";
/// `typ` of every token header.
pub const TYPE: &str = "exec+jwt";
/// `ver` of every token.
pub const VERSION: &str = "1";
/// Longest lifetime, `exp − iat`, in seconds. A constant: a policy can only shorten it.
pub const LIFETIME_MAX_S: i64 = 120;
/// Clock difference that `exp`, `iat` and `nbf` forgive, in seconds.
pub const LEEWAY_S: i64 = 5;
/// Longest token text. A longer one is 431 without any cryptography.
pub const TOKEN_MAX: usize = 4096;
