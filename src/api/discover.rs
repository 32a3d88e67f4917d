//! What anybody may read: the verification keys, what is spoken here, and what may be relied on.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::Method;
use serde::Serialize;
use utoipa::ToSchema;

use crate::decide::policy::{Mode, OnUnavailable, Policy};
use crate::ledger::Ledger;
use crate::model::reason::Fault;
use crate::protocol::deny::Refusal;
use crate::protocol::preset::{Tokenless, built_in};

use super::edge::{self, Endpoint, Version};
use super::respond::Reply;
use super::schema;
use super::{Api, Events, Log};

const JWKS: Endpoint = Endpoint::open("jwks", &[Method::GET]);
const PROTOCOLS: Endpoint = Endpoint::open("protocols", &[Method::GET]);
const COMPLIANCE: Endpoint = Endpoint::open("compliance", &[Method::GET]);
/// A new key is published longer than this before it signs.
const JWKS_CACHING: &str = "public, max-age=300";

/// The verification keys (RFC 7517), with no member of ours: any reader of key sets takes it.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "discovery",
    responses(
        (status = 200, description = "The key set", body = schema::KeySet, content_type = "application/jwk-set+json"),
        (status = 404, description = "This process issues no tokens", body = schema::Refused),
    )
)]
pub(super) async fn jwks(State(api): State<Arc<Api>>, request: Request) -> Response {
    edge::open(api, &JWKS, request, |api, _version| {
        let issuer = api.authority.issuer.as_ref().ok_or(Refusal::fault(Fault::NotFound))?.snapshot();
        let mut set = issuer.published().clone();
        let revocations = api.authority.revocations.snapshot();
        set.keys.retain(|key| key.common.key_id.as_deref().is_none_or(|kid| !revocations.has_key(kid)));
        Ok(Reply::json(&set)?.document("application/jwk-set+json", JWKS_CACHING))
    })
}

/// What this deployment speaks and can do.
#[derive(Serialize, ToSchema)]
pub(super) struct Protocols {
    capabilities: Capabilities,
    permyx_protocol_version: Version,
    /// The checkout protocols that the gateway understands, by name.
    protocols: BTreeMap<String, Spoken>,
    supported_contract_versions: [Version; 2],
}

#[derive(Serialize, ToSchema)]
pub(super) struct Capabilities {
    /// Never: Permyx optimises no decision of an agent.
    agent_decision_optimization: bool,
    /// Never: Permyx executes no checkout.
    checkout_execution: bool,
    event_streaming: bool,
    merchant_authoritative: bool,
    policy_enforced: bool,
    verification_exposed: bool,
}

/// One checkout protocol.
#[derive(Serialize, ToSchema)]
pub(super) struct Spoken {
    /// True when it was run against a real counterpart.
    proven: bool,
    title: String,
    /// What a commit without a token meets unless the store's policy says otherwise: `observe` or `require`.
    tokenless: &'static str,
}

/// What is spoken here.
#[utoipa::path(
    get, path = "/v1/protocols", tag = "discovery",
    responses((status = 200, description = "Versions, capabilities and protocols", body = Protocols))
)]
pub(super) async fn protocols(State(api): State<Arc<Api>>, request: Request) -> Response {
    edge::open(api, &PROTOCOLS, request, |api, _version| {
        let now = Now::of(api);
        let presets = built_in().map_err(|_problems| Refusal::fault(Fault::Internal))?;
        Reply::json(&Protocols {
            capabilities: Capabilities {
                agent_decision_optimization: false,
                checkout_execution: false,
                event_streaming: now.events_streaming,
                merchant_authoritative: now.merchant_authoritative(),
                policy_enforced: now.enforcing > 0,
                verification_exposed: now.keys_published,
            },
            permyx_protocol_version: Version::NEWEST,
            protocols: presets
                .into_iter()
                .map(|(name, preset)| (name, Spoken::of(preset.title, preset.proven, preset.tokenless)))
                .collect(),
            supported_contract_versions: Version::ALL,
        })
    })
}

impl Spoken {
    fn of(title: String, proven: bool, tokenless: Tokenless) -> Self {
        let tokenless = match tokenless {
            Tokenless::Observe => "observe",
            Tokenless::Require => "require",
        };
        Self { proven, title, tokenless }
    }
}

/// What may be relied on right now. Each flag is computed from what runs.
#[derive(Serialize, ToSchema)]
pub(super) struct Compliance {
    /// The evidence log is signed and its last verification held.
    audit_immutable: bool,
    /// Never: Permyx executes no checkout.
    checkout_execution: bool,
    /// The newest policy files are the ones in force, each with its hash in every decision.
    data_versioned: bool,
    events_streaming: bool,
    /// Every store with a policy has a catalog here, so its prices and variants are the merchant's word.
    merchant_authoritative: bool,
    /// Why a flag is false, in words.
    notes: Vec<String>,
    permyx_protocol_version: Version,
    /// Every store is judged by a policy of its own.
    policy_scoped: bool,
    /// Tokens are burned here, no failover can bring one back, and no policy lets one pass while the ledger is out.
    replay_protected: bool,
    /// Tokens are burned here.
    tokens_burn_on_use: bool,
    /// The keys that tokens are verified with are published.
    verification_explicit: bool,
}

/// What may be relied on.
#[utoipa::path(
    get, path = "/v1/compliance", tag = "discovery",
    responses((status = 200, description = "The flags, and why some are false", body = Compliance))
)]
pub(super) async fn compliance(State(api): State<Arc<Api>>, request: Request) -> Response {
    edge::open(api, &COMPLIANCE, request, |api, version| {
        let now = Now::of(api);
        Reply::json(&Compliance {
            audit_immutable: now.log_verified,
            checkout_execution: false,
            data_versioned: now.policies_current,
            events_streaming: now.events_streaming,
            merchant_authoritative: now.merchant_authoritative(),
            notes: now.notes(),
            permyx_protocol_version: version,
            policy_scoped: now.policy_scoped(),
            replay_protected: now.burns.is_ok() && now.exactly_once && now.passing_on_outage == 0,
            tokens_burn_on_use: now.burns.is_ok(),
            verification_explicit: now.keys_published,
        })
    })
}

/// What runs at this moment. Counts and no names: this is told to everybody.
struct Now {
    stores: usize,
    without_catalog: usize,
    catalogs_without_policy: usize,
    enforcing: usize,
    passing_on_outage: usize,
    policies_current: bool,
    keys_published: bool,
    /// What is wrong with the ledger, if it cannot burn.
    burns: Result<(), String>,
    /// Nothing that the ledger's promise names can bring a burned token back.
    exactly_once: bool,
    log_verified: bool,
    events_streaming: bool,
}

impl Now {
    fn of(api: &Api) -> Self {
        let authority = &api.authority;
        let policies = authority.policies.snapshot();
        let count = |is: &dyn Fn(&Policy) -> bool| policies.iter().filter(|policy| is(policy)).count();
        let beside = (api.beside)();
        let ledger = authority.ledger.health();
        let issued = authority.issuer.as_ref().is_some_and(|issuer| !issuer.snapshot().published().keys.is_empty());
        Self {
            stores: policies.iter().count(),
            without_catalog: count(&|policy| !authority.catalog.has(policy.store())),
            catalogs_without_policy: authority
                .catalog
                .stores()
                .iter()
                .filter(|(store, _)| !policies.knows(store))
                .count(),
            enforcing: count(&|policy| policy.base().mode == Mode::Enforce),
            passing_on_outage: count(&|policy| policy.base().on_unavailable == OnUnavailable::AllowAndRecord),
            policies_current: authority.policies.last_error().is_none(),
            keys_published: issued,
            exactly_once: ledger.exactly_once,
            burns: ledger.usable,
            log_verified: beside.log == Log::Verified,
            events_streaming: beside.events == Events::Streaming,
        }
    }

    fn merchant_authoritative(&self) -> bool {
        self.stores > 0 && self.without_catalog == 0
    }

    fn policy_scoped(&self) -> bool {
        self.stores > 0 && self.catalogs_without_policy == 0
    }

    fn notes(&self) -> Vec<String> {
        let Self { stores, without_catalog, catalogs_without_policy, passing_on_outage, .. } = self;
        let of = |count: &usize| format!("{count} of {stores} stores");
        let notes = [
            (*stores == 0).then(|| "no store has a policy: everything is only observed".to_owned()),
            (*without_catalog > 0).then(|| {
                format!(
                    "{} have no catalog: their prices and variants are not judged (price:unverified)",
                    of(without_catalog)
                )
            }),
            (*catalogs_without_policy > 0)
                .then(|| format!("{catalogs_without_policy} stores have a catalog and no policy")),
            (*passing_on_outage > 0).then(|| {
                format!("{} let requests pass and record them while ledger or evidence is out", of(passing_on_outage))
            }),
            (!self.policies_current)
                .then(|| "the newest policy files were refused; those before are in force".to_owned()),
            (!self.keys_published).then(|| "no verification key is published here".to_owned()),
            self.burns.as_ref().err().map(|why| format!("tokens are not burned here: {why}")),
            (self.burns.is_ok() && !self.exactly_once).then(|| {
                "a failover of the ledger may forget the newest burns (ledger.durability = \"async\")".to_owned()
            }),
            (!self.log_verified).then(|| "the evidence log is not signed and verified".to_owned()),
            (!self.events_streaming).then(|| "no stream of events is served".to_owned()),
        ];
        notes.into_iter().flatten().collect()
    }
}
