use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use serde_json::Value;

use super::*;
use crate::clock::Clock;
use crate::evidence::{Class, Consumed, Followed, Follower, Keep, Spool, SpoolOptions, store};
use crate::keystore::agent_file::ApiKeyStore;
use crate::keystore::agents::{Allowance, Enrolment, Role, Terms};
use crate::model::event::{Event, EventKind};
use crate::model::ids::{AgentId, Jti, StoreId, TraceId};
use crate::model::reason::ReasonCode;
use crate::model::time::Timestamp;
use crate::net::client::{Answer, Client, Limits};
use crate::reload::Reloaded;
use crate::telemetry::metrics::Metrics;

const NOW: Timestamp = Timestamp::of_millis(1_795_000_000_123);
pub const AGENT: &str = "permyx_agent_TEST_AGENT_KEY_1234567890";
/// Enrolled in the store `own` alone.
pub const MERCHANT: &str = "permyx_merchant_TEST_MERCHANT_KEY_1234";
pub const AUDITOR: &str = "permyx_auditor_TEST_AUDITOR_KEY_123456";

fn store_of(name: &str) -> StoreId {
    StoreId::parse(name).unwrap()
}

/// A log of these events, and of the start of their producer before them.
pub fn log_of(dir: &std::path::Path, events: &[Event]) -> Arc<Store> {
    let metrics = Arc::new(Metrics::new().unwrap());
    let options = SpoolOptions {
        dir: dir.join("spool"),
        source: "/gateways/a".to_owned(),
        limit_bytes: 1 << 30,
        segment_bytes: 1 << 20,
        class: Class::Spool,
    };
    let spool = Spool::open(options.clone(), Clock::manual(NOW), Arc::clone(&metrics)).unwrap();
    for event in events {
        let _receipt = spool.append(event).unwrap();
    }
    let (store, writer) = store::open(&dir.join("evidence.db")).unwrap();
    let followed = vec![Followed { dir: options.dir, consumed: Consumed::ReleasedAfter(Keep::NOT_AT_ALL) }];
    Follower::start(writer, followed, None, Clock::manual(NOW), metrics).unwrap().stop();
    Arc::new(store)
}

/// Keys of an agent and a merchant of the store `own`, and of an auditor.
pub fn keys_in(dir: &std::path::Path) -> Arc<Reloaded<ApiKeys>> {
    let keys = ApiKeyStore::of(dir);
    for (secret, role) in [(AGENT, Role::Agent), (MERCHANT, Role::Merchant), (AUDITOR, Role::Auditor)] {
        let stores = if role == Role::Auditor { Enrolment::AllStores } else { Enrolment::Only(vec![store_of("own")]) };
        keys.create_fixed(secret, Terms { role, stores, allowance: Allowance::UNLIMITED }, NOW).unwrap();
    }
    Arc::new(Reloaded::new(keys.load().unwrap()))
}

/// A served evidence API over these events.
struct Api {
    url: String,
    client: Client,
    _dir: tempfile::TempDir,
}

impl Api {
    async fn over(events: &[Event]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, keys) = (log_of(dir.path(), events), keys_in(dir.path()));
        let router = evidence_router(EvidenceApi { store, keys });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/evidence", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, client: Client::new(Limits::default()).unwrap(), _dir: dir }
    }

    async fn get(&self, path: &str, headers: &[(&'static str, &str)]) -> Answer {
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.append(*name, HeaderValue::from_str(value).unwrap());
        }
        self.client.get(&format!("{}{path}", self.url), all).await.unwrap()
    }

    async fn as_key(&self, key: &str, path: &str) -> (u16, Value) {
        let answer = self.get(path, &[("x-api-key", key)]).await;
        assert_eq!(answer.headers["cache-control"], "no-store");
        (answer.status.as_u16(), serde_json::from_slice(&answer.body).unwrap())
    }
}

pub fn denied(store: &str) -> Event {
    let mut event = Event::new(EventKind::ExecutionDenied, NOW, TraceId::random()).of_token(Jti::random());
    event.data.store_id = Some(store_of(store));
    event.data.decision = Some("denied");
    event.data.reason_code = Some(ReasonCode::PolicyDenied);
    event.data.agent_id = Some(AgentId::parse("ak_1").unwrap());
    event
}

#[tokio::test]
async fn who_may_ask() {
    let api = Api::over(&[denied("own"), denied("other")]).await;
    assert_eq!(api.get("/events", &[]).await.status, 401);
    assert_eq!(api.get("/events", &[("x-api-key", "permyx_merchant_unknown")]).await.status, 401);
    assert_eq!(api.get("/events", &[("x-api-key", MERCHANT), ("x-api-key", MERCHANT)]).await.status, 401);
    for path in ["/events", "/timeline/last"] {
        let (status, body) = api.as_key(AGENT, path).await;
        assert_eq!((status, &body["error"]["code"]), (403, &"FORBIDDEN".into()));
    }
    let count = |body: &Value| body["events"].as_array().unwrap().len();
    let (status, body) = api.as_key(MERCHANT, "/events").await;
    assert_eq!((status, count(&body)), (200, 1));
    assert_eq!(body["events"][0]["event"]["data"]["storeId"], "own");
    // The auditor also sees what belongs to no store: the start of the producer.
    assert_eq!(count(&api.as_key(AUDITOR, "/events").await.1), 3);
    assert_eq!(api.as_key(MERCHANT, "/events?store=other").await.0, 403);
    assert_eq!(count(&api.as_key(AUDITOR, "/events?store=other").await.1), 1);
}

#[tokio::test]
async fn pages_of_exact_bytes() {
    let events: Vec<_> = (0..5).map(|_| denied("own")).collect();
    let api = Api::over(&events).await;
    let mut seen = Vec::new();
    let mut cursor = 0;
    loop {
        let path = format!("/events?limit=2&cursor={cursor}&store=own&reason=POLICY_DENIED&decision=denied&agent=ak_1");
        let (_, page) = api.as_key(MERCHANT, &path).await;
        seen.extend(page["events"].as_array().unwrap().iter().map(|event| event["event"]["data"]["tokenId"].clone()));
        cursor = page["next"].as_u64().unwrap();
        if page["more"] == false {
            break;
        }
    }
    let expected: Vec<Value> = events.iter().map(|event| event.data.token_id.unwrap().to_string().into()).collect();
    assert_eq!(seen, expected);
    let (_, rest) = api.as_key(MERCHANT, &format!("/events?cursor={cursor}")).await;
    assert_eq!((&rest["events"], &rest["next"]), (&serde_json::json!([]), &cursor.into()));

    let raw = api.get("/events?limit=1&type=io.permyx.execution.denied.v1", &[("x-api-key", MERCHANT)]).await;
    let text = std::str::from_utf8(&raw.body).unwrap();
    let at = text.find(r#""event":{"authid":"ak_1","correlationid":"#);
    assert!(at.is_some(), "{text}");
}

#[tokio::test]
async fn a_malformed_question_is_told_what_is_wrong() {
    let api = Api::over(&[]).await;
    let cases = [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=x", "query"),
        ("cursor=-1", "query"),
        ("unknown=1", "query"),
        ("type=a&type=b", "query"),
        ("type=execution.eaten", "type"),
        ("reason=BECAUSE", "reason"),
        ("decision=maybe", "decision"),
        ("store=a%7Cb", "store"),
        ("agent=%00", "agent"),
        ("from=yesterday", "from"),
        ("to=1", "to"),
    ];
    for (query, member) in cases {
        let (status, body) = api.as_key(AUDITOR, &format!("/events?{query}")).await;
        assert_eq!((status, &body["member"]), (400, &member.into()), "{query}: {body}");
        assert_eq!(body["error"]["code"], "BAD_REQUEST");
    }
}

#[tokio::test]
async fn the_timeline_of_an_execution() {
    let (own, other) = (denied("own"), denied("other"));
    let api = Api::over(&[own.clone(), other.clone()]).await;
    let id = own.data.token_id.unwrap();
    let (status, told) = api.as_key(MERCHANT, &format!("/timeline/{id}")).await;
    assert_eq!((status, &told["outcome"]), (200, &"refused".into()));
    assert_eq!(told["executions"], serde_json::json!([format!("exec_{id}")]));
    assert_eq!(api.as_key(MERCHANT, "/timeline/last").await.1["executions"], told["executions"]);
    let text = api.get("/timeline/last", &[("x-api-key", MERCHANT), ("accept", "text/plain")]).await;
    assert_eq!(text.headers["content-type"], "text/plain; charset=utf-8");
    assert!(text.body.starts_with(format!("Execution   exec_{id}\n").as_bytes()));

    let foreign = format!("/timeline/{}", other.data.token_id.unwrap());
    assert_eq!(api.as_key(MERCHANT, &foreign).await.0, 404);
    assert_eq!(api.as_key(AUDITOR, &foreign).await.0, 200);
    assert_eq!(api.as_key(AUDITOR, "/timeline/nothing").await.1["error"]["code"], "NOT_FOUND");
    assert_eq!(api.as_key(AUDITOR, &format!("/timeline/{}", "x".repeat(300))).await.0, 400);
}

#[tokio::test]
async fn an_empty_log_has_no_last() {
    let api = Api::over(&[]).await;
    assert_eq!(api.as_key(AUDITOR, "/timeline/last").await.0, 404);
}

#[tokio::test]
async fn the_published_shape_has_its_pages_of_the_published_kinds() {
    let mut reserved = denied("own");
    reserved.kind = EventKind::ExecutionReserved;
    let (first, second) = (denied("own"), denied("own"));
    let api = Api::over(&[first.clone(), reserved, second.clone()]).await;
    let (_, page) = api.as_key(AUDITOR, "/events?shape=contract&limit=2").await;
    let tokens: Vec<_> = page["events"].as_array().unwrap().iter().map(|one| &one["event"]["tokenId"]).collect();
    assert_eq!(tokens, [first, second].map(|event| event.data.token_id.unwrap().to_string()).each_ref());
    assert_eq!(page["more"], false);
    assert_eq!(page["events"][0]["event"]["scope"], Value::Null);
    let (_, none) = api.as_key(AUDITOR, "/events?shape=contract&type=execution.reserved").await;
    assert_eq!(none["events"], serde_json::json!([]));
    assert_eq!(api.as_key(AUDITOR, "/events?shape=round").await.0, 400);
}
