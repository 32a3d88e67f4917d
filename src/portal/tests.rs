use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};

use super::*;
use crate::authority::policies::PolicyBook;
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::evidence::{Class, Consumed, Followed, Follower, Keep, Spool, SpoolOptions, store};
use crate::keystore::agent_file::ApiKeyStore;
use crate::keystore::agents::{Allowance, Enrolment, Role, Terms};
use crate::ledger::AnyLedger;
use crate::ledger::front::Front;
use crate::model::event::{Event, EventKind};
use crate::model::ids::{Jti, TraceId};
use crate::model::time::Timestamp;
use crate::net::client::{Answer, Client, Limits};
use crate::revocation::KillSwitch;
use crate::telemetry::metrics::Metrics;
use crate::token::keys::KeyRing;

const NOW: Timestamp = Timestamp::of_millis(1_795_000_000_123);
const AGENT: &str = "permyx_agent_TEST_AGENT_KEY_1234567890";
/// Enrolled in the store `store-123` alone.
const MERCHANT: &str = "permyx_merchant_TEST_MERCHANT_KEY_1234";
const POLICY: &str = include_str!("../../policies/store-123.toml");

fn event(kind: EventKind, store: &str) -> Event {
    let mut event = Event::new(kind, NOW, TraceId::random()).of_token(Jti::random());
    event.data.store_id = Some(StoreId::parse(store).unwrap());
    event.data.decision = Some("denied");
    event.data.reason_code = Some(ReasonCode::IntentMismatch);
    event
}

/// A served portal over these events.
struct Site {
    url: String,
    client: Client,
    keys: ApiKeyStore,
    live: Arc<Reloaded<ApiKeys>>,
    _dir: tempfile::TempDir,
}

impl Site {
    async fn over(events: &[Event], audience: Audience) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (clock, metrics) = (Clock::manual(NOW), Arc::new(Metrics::new().unwrap()));
        let options = SpoolOptions {
            dir: dir.path().join("spool"),
            source: "/gateways/a".to_owned(),
            limit_bytes: 1 << 30,
            segment_bytes: 1 << 20,
            class: Class::Spool,
        };
        let evidence = Arc::new(Spool::open(options.clone(), clock.clone(), metrics.clone()).unwrap());
        for event in events {
            let _receipt = evidence.append(event).unwrap();
        }
        let (store, writer) = store::open(&dir.path().join("evidence.db")).unwrap();
        let followed = vec![Followed { dir: options.dir, consumed: Consumed::ReleasedAfter(Keep::NOT_AT_ALL) }];
        Follower::start(writer, followed, None, clock.clone(), metrics.clone()).unwrap().stop();
        let policies = dir.path().join("policies");
        std::fs::create_dir(&policies).unwrap();
        std::fs::write(policies.join("store-123.toml"), POLICY).unwrap();
        let other = POLICY.replace("store-123", "other").replace("\"enforce\"", "\"observe\"");
        std::fs::write(policies.join("other.toml"), other).unwrap();
        let revocations = KillSwitch::open(dir.path(), clock.clone(), metrics.clone(), Box::new(|_| {})).unwrap();
        let authority = Arc::new(Authority {
            clock: clock.clone(),
            ledger: AnyLedger::Elsewhere,
            front: Front::default(),
            evidence,
            metrics: metrics.clone(),
            traces: None,
            keys: Arc::new(Reloaded::new(KeyRing::default())),
            issuer: None,
            policies: Arc::new(PolicyBook::open(Some(policies), clock, metrics).unwrap()),
            catalog: Arc::new(Catalog::none()),
            revocations: Arc::new(revocations),
            unknown_key: Arc::default(),
        });
        let keys = ApiKeyStore::of(dir.path());
        let stores = || Enrolment::Only(vec![StoreId::parse("store-123").unwrap()]);
        for (secret, role) in [(AGENT, Role::Agent), (MERCHANT, Role::Merchant)] {
            keys.create_fixed(secret, Terms { role, stores: stores(), allowance: Allowance::UNLIMITED }, NOW).unwrap();
        }
        let live = Arc::new(Reloaded::new(keys.load().unwrap()));
        let portal = Portal::new(Arc::new(store), live.clone(), authority, audience, Transport::Plain);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, portal.router()).await });
        Self { url, client: Client::new(Limits::default()).unwrap(), keys, live, _dir: dir }
    }

    async fn get(&self, path: &str, cookie: &str) -> Page {
        let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(cookie).unwrap())]);
        Page::of(self.client.get(&format!("{}{path}", self.url), headers).await.unwrap())
    }

    async fn post(&self, path: &str, cookie: &str, form: &str) -> Page {
        let mut headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(cookie).unwrap())]);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let body = Bytes::copy_from_slice(form.as_bytes());
        Page::of(self.client.post(&format!("{}{path}", self.url), headers, body).await.unwrap())
    }

    async fn sign_in(&self) -> String {
        let page = self.post("/login", "", &format!("key={MERCHANT}")).await;
        assert_eq!((page.status, page.header(LOCATION)), (303, "/"));
        page.header(SET_COOKIE).split(';').next().unwrap().to_owned()
    }
}

struct Page {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Page {
    fn of(answer: Answer) -> Self {
        let headers = answer.headers;
        for (name, value) in HEADERS {
            assert_eq!(headers[&name], value);
        }
        Self { status: answer.status.as_u16(), headers, text: String::from_utf8(answer.body.to_vec()).unwrap() }
    }

    fn header(&self, name: HeaderName) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    fn count(&self, text: &str) -> usize {
        self.text.matches(text).count()
    }
}

#[tokio::test]
async fn nobody_looks_without_a_key() {
    let site = Site::over(&[event(EventKind::ExecutionDenied, "store-123")], Audience::KeyHolders).await;
    for path in ["/", "/timeline/last", "/timeline?id=x"] {
        for cookie in ["", &format!("permyx_session={}", "0".repeat(64))] {
            let page = site.get(path, cookie).await;
            assert_eq!((page.status, page.header(LOCATION)), (303, "/login"), "{path}");
        }
    }
    for form in ["", "key=", "key=permyx_merchant_wrong", &format!("key={AGENT}"), &format!("key={}", "x".repeat(9999))]
    {
        let page = site.post("/login", "", form).await;
        assert_eq!(page.status, 401);
        assert!(page.text.contains("role=\"alert\"") && !page.headers.contains_key(SET_COOKIE));
    }
    assert_eq!(site.get("/login", "").await.status, 200);
    assert_eq!(site.get("/portal.css", "").await.header(CONTENT_TYPE), "text/css; charset=utf-8");
}

#[tokio::test]
async fn a_merchant_sees_its_stores_until_it_signs_out() {
    let events = [event(EventKind::ExecutionDenied, "store-123"), event(EventKind::ExecutionDenied, "other")];
    let site = Site::over(&events, Audience::KeyHolders).await;
    let cookie = site.sign_in().await;
    let page = site.get("/", &cookie).await;
    assert_eq!(page.status, 200);
    assert_eq!(page.count("<td>store-123</td>"), 1);
    assert_eq!((page.count("<td>other</td>"), page.count("Store other")), (0, 0));
    assert!(page.text.contains("Signed in with key ak_"));
    let foreign = events[1].data.token_id.unwrap();
    assert_eq!(site.get(&format!("/timeline/{foreign}"), &cookie).await.status, 404);

    let out = site.post("/logout", &cookie, "").await;
    assert!(out.header(SET_COOKIE).contains("Max-Age=0"));
    assert_eq!(site.get("/", &cookie).await.status, 303);
}

#[tokio::test]
async fn a_revoked_key_ends_its_sessions() {
    let site = Site::over(&[], Audience::KeyHolders).await;
    let cookie = site.sign_in().await;
    assert_eq!(site.get("/", &cookie).await.status, 200);
    for key in site.keys.list().unwrap() {
        site.keys.revoke(&key.id, NOW).unwrap();
    }
    site.live.replace(site.keys.load().unwrap());
    assert_eq!(site.get("/", &cookie).await.status, 303);
}

#[tokio::test]
async fn the_sandbox_shows_state_decisions_and_timelines() {
    let mut replay = event(EventKind::ExecutionReplayDetected, "store-123");
    replay.data.reason_code = Some(ReasonCode::ReplayDetected);
    let events =
        [event(EventKind::ExecutionDenied, "other"), replay.clone(), event(EventKind::ExecutionReserved, "other")];
    let site = Site::over(&events, Audience::Everybody).await;
    let page = site.get("/", "").await;
    for expected in [
        "<dt>Store store-123</dt>",
        "enforce: what is not authorised is refused",
        "<dt>Store other</dt>",
        "observe: everything passes and is recorded",
        "tokens are burned by the merchant&#39;s gateway",
        "4 events, none known to be missing",
        "Decisions and outcomes, newest first: 2 of at most 100.",
        "REPLAY_DETECTED",
    ] {
        assert!(page.text.contains(expected), "{expected}: {}", page.text);
    }
    let newest = page.text.find("<br>REPLAY_DETECTED").unwrap();
    assert!(newest < page.text.find("<br>INTENT_MISMATCH").unwrap());

    let of_replay = site.get("/?decision=denied&reason=REPLAY_DETECTED&store=", "").await;
    assert!(of_replay.text.contains("newest first: 1 of at most 100."));
    assert!(of_replay.text.contains(r#"<option value="REPLAY_DETECTED" selected>"#));
    assert!(site.get("/?store=nowhere", "").await.text.contains("No decision matches."));
    for bad in ["/?decision=maybe", "/?reason=x", "/?store=a%7Cb", "/?decision=a&decision=b"] {
        assert_eq!(site.get(bad, "").await.status, 400, "{bad}");
    }

    let id = format!("exec_{}", replay.data.token_id.unwrap());
    assert!(page.text.contains(&format!("href=\"/timeline/{id}\"")));
    for path in [format!("/timeline/{id}"), format!("/timeline?id=%20{id}%20")] {
        let told = site.get(&path, "").await;
        assert_eq!(told.status, 200);
        assert!(
            told.text.contains("The token was presented again.")
                && told.text.contains("<li>reason REPLAY_DETECTED</li>")
        );
        assert!(told.text.contains("<li>the issue of token "));
    }
    assert_eq!(site.get("/timeline/none", "").await.status, 404);
    assert_eq!(site.get(&format!("/timeline/{}", "x".repeat(300)), "").await.status, 404);
}

#[tokio::test]
async fn texts_of_strangers_stay_texts() {
    let nasty = r#""><script>alert(1)</script>"#;
    let mut order = event(EventKind::OrderObserved, "store-123");
    order.data.order_id = Some(nasty.into());
    let mut denied = event(EventKind::ExecutionDenied, "store-123");
    denied.data.rule = Some(nasty.into());
    denied.data.observed = Some(nasty.into());
    let site = Site::over(&[order.clone(), denied], Audience::Everybody).await;
    let of_order = format!("/timeline/exec_{}", order.data.token_id.unwrap());
    for path in ["/", "/timeline/last", &of_order] {
        let page = site.get(path, "").await;
        assert!(!page.text.contains("<script"), "{path}");
    }
    assert!(site.get(&of_order, "").await.text.contains("&#60;script&#62;"));
}

/// What assistive technology and small screens rely on.
#[tokio::test]
async fn every_page_keeps_its_form() {
    let replay = event(EventKind::ExecutionReplayDetected, "store-123");
    let site = Site::over(std::slice::from_ref(&replay), Audience::Everybody).await;
    let timeline = format!("/timeline/{}", replay.data.token_id.unwrap());
    for path in ["/", "/login", &timeline, "/timeline/none"] {
        let page = site.get(path, "").await;
        assert!(page.text.starts_with("<!doctype html>\n<html lang=\"en\">"), "{path}");
        assert!(page.text.contains(r#"<meta name="viewport" content="width=device-width, initial-scale=1">"#));
        assert_eq!((page.count("<h1>"), page.count("<main id=\"main\">"), page.count("<title>")), (1, 1, 1), "{path}");
        assert_eq!(page.count("<table>"), page.count("<caption"), "{path}");
        for field in page.text.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert_eq!(page.count(&format!(" id=\"{field}\"")), 1, "{path}: {field}");
        }
        let fields = page.count("<input ") + page.count("<select ");
        assert_eq!(page.count("<label for="), fields, "{path}");
        let outside = ["http://", "https://", "style=\"", "<script", "onclick"];
        assert!(!outside.iter().any(|text| page.text.contains(text)), "{path}");
    }
}

#[tokio::test]
async fn orders_are_shown_newest_first_and_only_to_whom_they_belong() {
    let judged = |store: &str, id: &'static str, level: &'static str| {
        let mut event = event(EventKind::OrderCorrelated, store);
        event.data.order_id = Some(id.into());
        event.data.level = Some(level);
        event.data.order_confidence = Some(10_000);
        event
    };
    let mut revised = judged("store-123", "1001", "contradicted");
    revised.kind = EventKind::OrderCorrelationRevised;
    revised.data.flags = vec!["items_differ"];
    let events = [judged("store-123", "1001", "proven"), revised, judged("other", "2002<b>", "proven")];
    let site = Site::over(&events, Audience::KeyHolders).await;
    let page = site.get("/orders", "").await;
    assert_eq!((page.status, page.header(LOCATION)), (303, "/login"));
    let page = site.get("/orders", &site.sign_in().await).await;
    let at = |text: &str| page.text.find(text).unwrap_or_else(|| panic!("no `{text}` in {}", page.text));
    assert!(at("other items or quantities were ordered") < at("is this purchase: proven, 100 %"));
    assert_eq!((page.count("2002"), page.count("<script")), (0, 0));
}
