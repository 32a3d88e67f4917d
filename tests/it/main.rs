//! All integration tests, in one binary: it links once.
#![cfg(test)]
#![expect(clippy::string_slice, reason = "a slice that misses fails its test, as it should")]

/// The access log.
#[cfg(feature = "gateway")]
mod access;
/// Administration of a running gateway.
#[cfg(feature = "gateway")]
mod admin;
/// `permyx gateway` by itself: its keys, TLS, and what it refuses to start with.
#[cfg(feature = "gateway")]
mod alone;
/// Requests that two servers could read differently, against an enforced checkout.
#[cfg(feature = "gateway")]
mod attacks;
/// `authorize`, and what all calls of the execution API have in common.
#[cfg(feature = "control-plane")]
mod authorize;
/// Backups, and what is restored from them.
#[cfg(all(feature = "gateway", feature = "control-plane"))]
mod backup;
/// What passed arrives byte for byte, whatever it was.
#[cfg(feature = "gateway")]
mod bytes;
/// Several lines, bought with a token each.
#[cfg(feature = "gateway")]
mod cart;
/// The catalog that a merchant puts.
#[cfg(feature = "control-plane")]
mod catalog;
/// `permyx check`: what stands against a start, before it.
mod check;
/// Several requests on one connection.
#[cfg(feature = "gateway")]
mod connections;
/// Who seems to be calling, and what that is known by.
#[cfg(feature = "gateway")]
mod detect;
/// What anybody may read of the API.
#[cfg(feature = "control-plane")]
mod discover;
/// What an auditor verifies, by the program and by a second reader in Python.
mod evidence;
/// What the merchant's end of a purchase can do, and what becomes of the token.
#[cfg(feature = "gateway")]
mod exchange;
/// Floods of what is refused, against a small spool.
#[cfg(feature = "gateway")]
mod flood;
/// The promises of the gate, seen from both sides of it.
#[cfg(feature = "gateway")]
mod gate;
/// That the helpers of these tests tell the truth.
mod harness;
/// Callers that speak HTTP/2, or do not wait for an answer.
#[cfg(feature = "gateway")]
mod http2;
/// `introspect`: looking without burning.
#[cfg(feature = "control-plane")]
mod introspect;
/// Backups of earlier releases.
#[cfg(all(feature = "gateway", feature = "control-plane"))]
mod kept;
/// How a process begins and ends.
#[cfg(feature = "gateway")]
mod lifecycle;
/// What is counted, whatever callers send.
#[cfg(feature = "gateway")]
mod metrics;
/// `observe`: what is told is recorded.
#[cfg(feature = "control-plane")]
mod observe;
/// Exactly once, under load and through a kill.
#[cfg(feature = "gateway")]
mod once;
/// Bodies judged twice: by us, and by an independent reader in Python.
mod oracle;
/// Orders that a store tells of.
#[cfg(all(feature = "gateway", feature = "control-plane"))]
mod orders;
/// Policies that change while requests come.
#[cfg(feature = "gateway")]
mod policy_reload;
/// `permyx preset`, and what the fixtures of presets show.
mod presets;
/// The read of a session just before its commit.
#[cfg(feature = "gateway")]
mod reading;
/// Retries, and what becomes of them.
#[cfg(feature = "gateway")]
mod retry;
/// The kill switch: in every process that should know, within a second.
mod revoke;
/// The sandbox merchant, over real connections.
mod sandbox;
/// Where no secret may be, and that the search for it is not blind.
mod secrets;
/// `.ci/setup` on machines that lack something.
mod setup;
/// Events of a gateway on another host.
#[cfg(all(feature = "gateway", feature = "control-plane"))]
mod shipping;
/// Purchases from real merchants' software.
#[cfg(feature = "gateway")]
mod shops;
/// The story of the README, told by the real program.
#[cfg(all(feature = "gateway", feature = "control-plane"))]
mod story;
/// What strangers may send and owners may mistype: no reader panics or takes long.
mod strangers;
/// The stream of events, as a reader has it.
#[cfg(all(feature = "gateway", feature = "control-plane"))]
mod stream;
/// What tests are built from.
mod support;
/// The house rules: floors, lengths, words, files that must parse.
mod tidy;
/// The attacks on tokens, row by row.
mod tokens;
/// What a collector of OpenTelemetry is told of each request.
#[cfg(all(feature = "gateway", feature = "otlp"))]
mod traces;
/// `permyx trigger`: scenarios, played by the program.
#[cfg(all(feature = "gateway", feature = "control-plane"))]
mod trigger;
/// `validate`: a token is burned once.
#[cfg(feature = "control-plane")]
mod validate;
/// What other languages can check themselves against.
mod vectors;
/// What is read from a webhook of each platform.
mod webhooks;
