/// Operators, over HTTP.
#[cfg(feature = "control-plane")]
mod api;
/// A running gateway whose operator writes on the command line.
#[cfg(feature = "gateway")]
mod gateway;
/// Two hosts and a Redis between them.
mod shared;
