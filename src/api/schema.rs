//! Types that stand in the OpenAPI document alone: what callers send, and what every refusal is.

use utoipa::ToSchema;

/// A unit price in major units.
#[derive(ToSchema)]
pub struct PriceDoc {
    /// Greater than 0, with no more fraction digits than the currency has.
    #[schema(value_type = f64, format = "decimal", example = json!(29.99), exclusive_minimum = 0)]
    amount: String,
    /// ISO 4217.
    #[schema(example = "USD", pattern = "^[A-Z]{3}$")]
    currency: String,
}

/// Where the agent is in its conversation. Taken and not judged.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct ClientContext {
    cart_id: Option<String>,
    session_id: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct AuthorizeRequest {
    #[schema(example = "store-123", pattern = "^[A-Za-z0-9._:/-]{1,128}$")]
    store_id: String,
    #[schema(example = "permyx:product:demo", pattern = "^[A-Za-z0-9._:/-]{1,128}$")]
    permyx_product_id: String,
    #[schema(example = "shopify:variant:123456", pattern = "^[A-Za-z0-9._:/-]{1,128}$")]
    source_variant_id: String,
    #[schema(example = 1, minimum = 1, maximum = 50)]
    quantity: u32,
    price: PriceDoc,
    /// Only `agent_exec` is authorized; another is SCOPE_RESTRICTED.
    #[schema(example = "agent_exec")]
    scope: String,
    client_context: Option<ClientContext>,
}

/// Where the token was presented. Taken and not judged.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct CheckoutContext {
    cart_token: Option<String>,
    checkout_id: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct ValidateRequest {
    #[schema(example = "store-123", pattern = "^[A-Za-z0-9._:/-]{1,128}$")]
    store_id: String,
    /// At most 4096 bytes. `null` or empty is NO_TOKEN.
    execution_token: Option<String>,
    checkout_context: Option<CheckoutContext>,
}

/// What the caller says of the agent: recorded as a claim.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct ObserveContext {
    agent_name: Option<String>,
    reason: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct ObserveRequest {
    #[schema(example = "store-123", pattern = "^[A-Za-z0-9._:/-]{1,128}$")]
    store_id: String,
    has_token: bool,
    source_variant_id: Option<String>,
    #[schema(minimum = 1, maximum = 50)]
    quantity: Option<u32>,
    context: Option<ObserveContext>,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct IntrospectRequest {
    /// At most 4096 bytes.
    execution_token: String,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct VariantDoc {
    #[schema(example = "shopify:variant:123456", pattern = "^[A-Za-z0-9._:/-]{1,128}$")]
    source_variant_id: String,
    price: PriceDoc,
    /// When the price was last confirmed; now, when it is left out.
    #[schema(format = DateTime)]
    verified_at: Option<String>,
}

/// The whole catalog of a store.
#[derive(ToSchema)]
pub struct CatalogRequest {
    #[schema(max_items = 100_000)]
    variants: Vec<VariantDoc>,
}

#[derive(ToSchema)]
pub struct RevocationRequest {
    /// `token:<jti>`, `agent:<id>`, `key:<kid>` or `store:<id>`.
    #[schema(example = "agent:ak_0123456789ab")]
    subject: String,
    /// One line of at most 200 characters, for the record.
    reason: Option<String>,
}

#[derive(ToSchema)]
pub struct ErrorDoc {
    /// A reason code, or what is no judgement: `BAD_REQUEST`, `UNAUTHORIZED`, `LEDGER_UNAVAILABLE`, …
    #[schema(example = "POLICY_DENIED")]
    code: String,
    message: String,
}

/// One difference between what was authorized and what was found.
#[derive(ToSchema)]
pub struct Difference {
    actual: String,
    authorized: String,
    /// JSON Pointer into the intent.
    #[schema(example = "/quantity")]
    path: String,
    #[schema(rename = "type")]
    kind: String,
}

/// Every answer that is not 200.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct Refused {
    #[schema(example = false)]
    allowed: bool,
    #[schema(example = "denied")]
    decision: String,
    diff: Option<Vec<Difference>>,
    docs: String,
    error: ErrorDoc,
    limit: Option<String>,
    /// The member or header that is malformed.
    member: Option<String>,
    /// What to do next.
    next: Option<String>,
    observed: Option<String>,
    #[schema(rename = "permyx_protocol_version", example = "1.5")]
    permyx_protocol_version: String,
    /// The published reason code; null when this is no judgement.
    #[schema(required)]
    reason_code: Option<String>,
    retryable: bool,
    /// The rule that decided.
    #[schema(example = "limits.max_quantity")]
    rule: Option<String>,
    #[schema(example = false)]
    token_consumed: bool,
    token_state: Option<String>,
    trace_id: String,
}

/// RFC 7517.
#[derive(ToSchema)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// An RSA key for RS256.
#[derive(ToSchema)]
pub struct Key {
    alg: String,
    e: String,
    /// RFC 7638 thumbprint.
    kid: String,
    kty: String,
    n: String,
    #[schema(rename = "use")]
    usage: String,
}
