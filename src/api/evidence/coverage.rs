//! `GET /v1/evidence/coverage`: how much of what was sold passed under authority.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use super::wanted::checked;
use super::{EvidenceApi, NoEvidence, answer_in_form, malformed, viewer_of};
use crate::evidence::{Filter, LIMIT_MAX};
use crate::governance::coverage::{Accounts, EVENTS_MAX};
use crate::model::ids::StoreId;
use crate::model::reason::Fault;
use crate::model::time::Timestamp;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Period {
    store: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

pub(super) async fn coverage(
    State(api): State<EvidenceApi>,
    headers: HeaderMap,
    asked: Result<Query<Period>, QueryRejection>,
) -> Result<Response, NoEvidence> {
    let viewer = viewer_of(&api.keys, &headers)?;
    let Query(asked) = asked.map_err(|rejection| malformed("query", rejection.body_text()))?;
    let store = checked(asked.store, "store", "not the id of a store", |text| StoreId::parse(text).ok())?;
    if store.as_ref().is_some_and(|store| !viewer.sees(store)) {
        return Err(Fault::Forbidden.into());
    }
    let from = checked(asked.from, "from", "not a time of RFC 3339", Timestamp::parse)?;
    let to = checked(asked.to, "to", "not a time of RFC 3339", Timestamp::parse)?;
    let mut accounts = Accounts::default();
    let mut cursor = 0;
    // A page at a time: other questions have their turn in between.
    while accounts.heard() < EVENTS_MAX {
        let (viewer, store) = (viewer.clone(), store.clone());
        let page = move |log: &crate::evidence::Store| {
            let store = store.as_ref().map(StoreId::as_str);
            let filter = Filter { visible: viewer.stores(), store, from, to, ..Filter::default() };
            log.accounts(&filter, cursor, LIMIT_MAX)
        };
        let events = api.store.ask(page).await?;
        accounts.hear(&events);
        match events.last() {
            Some(last) if events.len() == LIMIT_MAX => cursor = last.index,
            _ => break,
        }
    }
    Ok(answer_in_form(&headers, &accounts.balance()))
}
