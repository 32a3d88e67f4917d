//! Floor 6: web pages about evidence. Rendered here, without scripts, without anything from other
//! hosts; it works offline.

mod pages;
mod session;

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Form, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;

use crate::authority::Authority;
use crate::decide::policy::Mode as PolicyMode;
use crate::evidence::{Filter, Store, StoreError};
use crate::governance::{Step, Timeline, Viewer};
use crate::keystore::agents::ApiKeys;
use crate::ledger::Ledger;
use crate::model::ids::{AgentId, StoreId};
use crate::model::reason::ReasonCode;
use crate::reload::Reloaded;

use pages::{Decisions, Login, Message, Mode, OneTimeline, Orders, Wanted};
use session::Sessions;
pub use session::Transport;

/// Rows of the first page.
const ROWS: usize = 100;
/// Longest id that is looked for.
const ID_MAX: usize = 256;
/// Longest form: a key, or an id.
const FORM_MAX: usize = 4096;
const DECISIONS: [&str; 4] = ["allowed", "denied", "observed", "bypassed"];

const HEADERS: [(HeaderName, &str); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Who may look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    /// A sandbox on this machine: everybody who reaches it, at everything.
    Everybody,
    /// Whoever signs in with a key that sees evidence.
    KeyHolders,
}

/// What the pages are made of.
#[derive(Clone)]
pub struct Portal {
    store: Arc<Store>,
    keys: Arc<Reloaded<ApiKeys>>,
    authority: Arc<Authority>,
    sessions: Arc<Sessions>,
    audience: Audience,
}

impl Portal {
    #[must_use]
    pub fn new(
        store: Arc<Store>,
        keys: Arc<Reloaded<ApiKeys>>,
        authority: Arc<Authority>,
        audience: Audience,
        transport: Transport,
    ) -> Self {
        let sessions = Arc::new(Sessions::new(authority.clock.clone(), transport));
        Self { store, keys, authority, sessions, audience }
    }

    /// `/`, `/orders`, `/timeline/{id}`, and what they need.
    pub fn router(self) -> Router {
        Router::new()
            .route("/", get(decisions))
            .route("/orders", get(orders))
            .route("/timeline", get(find))
            .route("/timeline/{id}", get(timeline))
            .route("/login", get(async || page(&Login { refused: false })).post(login))
            .route("/logout", post(logout))
            .route("/portal.css", get(style))
            .layer(DefaultBodyLimit::max(FORM_MAX))
            .layer(from_fn(guard))
            .with_state(self)
    }

    /// Who looks, or the way to the door.
    fn visitor(&self, headers: &HeaderMap) -> Result<Visitor, NoPage> {
        if self.audience == Audience::Everybody {
            return Ok(Visitor { viewer: Viewer::SANDBOX, key: None });
        }
        let id = self.sessions.of(headers).ok_or(NoPage::SignIn)?;
        let key = self.keys.snapshot().by_id(&id).ok_or(NoPage::SignIn)?;
        let viewer = Viewer::of(&key).ok_or(NoPage::SignIn)?;
        Ok(Visitor { viewer, key: Some(id) })
    }
}

struct Visitor {
    viewer: Viewer,
    key: Option<AgentId>,
}

/// Why a page is not shown.
enum NoPage {
    SignIn,
    NotFound,
    BadFilter,
    Store(StoreError),
}

impl From<StoreError> for NoPage {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl IntoResponse for NoPage {
    fn into_response(self) -> Response {
        let (status, heading, text) = match self {
            Self::SignIn => return Redirect::to("/login").into_response(),
            Self::NotFound => {
                let text = "Nothing with this id is in the log, or it belongs to a store that you may not see.";
                (StatusCode::NOT_FOUND, "Not found", text)
            }
            Self::BadFilter => {
                (StatusCode::BAD_REQUEST, "No such filter", "The address asks for something that is not known.")
            }
            Self::Store(error) => {
                tracing::error!(error = ?error, "the evidence store did not answer");
                (StatusCode::SERVICE_UNAVAILABLE, "Not now", "The evidence store does not answer. Try again shortly.")
            }
        };
        (status, page(&Message { heading, text })).into_response()
    }
}

fn page(template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => Html(text).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page cannot be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The headers of every answer, refusals included.
async fn guard(request: Request, next: Next) -> Response {
    let mut answer = next.run(request).await;
    for (name, value) in HEADERS {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("portal.css")).into_response()
}

/// The filter as it stands in the URL. A form sends an empty text for what was not chosen.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Asked {
    decision: String,
    reason: String,
    store: String,
}

impl Asked {
    fn check(self) -> Option<Wanted> {
        let chosen = |text: String, known: &dyn Fn(&str) -> bool| match text.as_str() {
            "" => Some(None),
            text if known(text) => Some(Some(text.to_owned())),
            _ => None,
        };
        Some(Wanted {
            decision: chosen(self.decision, &|text| DECISIONS.contains(&text))?,
            reason: chosen(self.reason, &|text| ReasonCode::ALL.iter().any(|reason| reason.as_str() == text))?,
            store: chosen(self.store.trim().to_owned(), &|text| StoreId::parse(text).is_ok())?,
        })
    }
}

async fn decisions(
    State(portal): State<Portal>,
    headers: HeaderMap,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, NoPage> {
    let Visitor { viewer, key } = portal.visitor(&headers)?;
    let wanted = asked.ok().and_then(|Query(asked)| asked.check()).ok_or(NoPage::BadFilter)?;
    let (asking, modes) = (wanted.clone(), modes(&portal, &viewer));
    let (rows, evidence) = portal
        .store
        .ask(move |store| {
            let filter = Filter {
                visible: viewer.stores(),
                decision: asking.decision.as_deref(),
                reason: asking.reason.as_deref(),
                store: asking.store.as_deref(),
                ..Filter::default()
            };
            Ok((store.decisions(&filter, ROWS)?, evidence_state(store.size()?, store.missing()?)))
        })
        .await?;
    Ok(page(&Decisions {
        signed_in: key,
        modes,
        ledger: ledger_state(&portal.authority),
        evidence,
        decisions: &DECISIONS,
        reasons: ReasonCode::ALL.into_iter().map(ReasonCode::as_str).collect(),
        wanted,
        rows: rows.iter().filter_map(Step::of).collect(),
    }))
}

/// The last judgements of orders.
async fn orders(State(portal): State<Portal>, headers: HeaderMap) -> Result<Response, NoPage> {
    let Visitor { viewer, key } = portal.visitor(&headers)?;
    let judged = portal.store.ask(move |store| store.judgements(viewer.stores(), ROWS)).await?;
    Ok(page(&Orders { signed_in: key, rows: judged.iter().filter_map(Step::of).collect() }))
}

fn modes(portal: &Portal, viewer: &Viewer) -> Vec<Mode> {
    let policies = portal.authority.policies.snapshot();
    let seen = policies.iter().filter(|policy| viewer.sees(policy.store()));
    let mut modes: Vec<_> = seen
        .map(|policy| {
            let says = match policy.base().mode {
                PolicyMode::Enforce => "enforce: what is not authorised is refused",
                PolicyMode::Observe => "observe: everything passes and is recorded",
            };
            Mode { store: policy.store().clone(), says }
        })
        .collect();
    modes.sort_by(|a, b| a.store.cmp(&b.store));
    modes
}

fn ledger_state(authority: &Authority) -> String {
    let health = authority.ledger.health();
    match (health.usable, health.quarantine_s) {
        (Err(why), _) => why,
        (Ok(()), 0) => format!("ready ({}), {} tokens remembered", health.backend, health.entries),
        (Ok(()), seconds) => format!("tokens from before the start are refused for {seconds} s more"),
    }
}

fn evidence_state(size: u64, missing: u64) -> String {
    match missing {
        0 => format!("{size} events, none known to be missing"),
        missing => format!("{size} events, {missing} records are missing"),
    }
}

#[derive(Deserialize)]
struct Sought {
    id: String,
}

/// From the search form to the page of what it found.
async fn find(
    State(portal): State<Portal>,
    headers: HeaderMap,
    sought: Result<Query<Sought>, QueryRejection>,
) -> Result<Response, NoPage> {
    let Query(Sought { id }) = sought.map_err(|_| NoPage::BadFilter)?;
    timeline(State(portal), headers, Path(id.trim().to_owned())).await
}

async fn timeline(
    State(portal): State<Portal>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, NoPage> {
    let Visitor { viewer, key } = portal.visitor(&headers)?;
    if id.len() > ID_MAX {
        return Err(NoPage::NotFound);
    }
    let joined = portal.store.ask(move |store| store.timeline(&id, viewer.stores())).await?;
    if joined.events.is_empty() {
        return Err(NoPage::NotFound);
    }
    Ok(page(&OneTimeline { signed_in: key, told: Timeline::of(&joined.events, joined.truncated) }))
}

#[derive(Deserialize)]
struct Credentials {
    key: String,
}

async fn login(State(portal): State<Portal>, form: Result<Form<Credentials>, FormRejection>) -> Response {
    let presented = form.map(|Form(credentials)| credentials.key).unwrap_or_default();
    let key = portal.keys.snapshot().authenticate(presented.trim());
    match key.filter(|key| Viewer::of(key).is_some()) {
        Some(key) => with_cookie(Redirect::to("/"), portal.sessions.begin(key.id.clone())),
        None => (StatusCode::UNAUTHORIZED, page(&Login { refused: true })).into_response(),
    }
}

async fn logout(State(portal): State<Portal>, headers: HeaderMap) -> Response {
    with_cookie(Redirect::to("/login"), portal.sessions.end(&headers))
}

fn with_cookie(to: Redirect, cookie: String) -> Response {
    ([(header::SET_COOKIE, cookie)], to).into_response()
}

#[cfg(test)]
mod tests;
