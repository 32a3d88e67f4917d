//! The pages, as values. askama escapes every text in them.

use askama::Template;

use crate::governance::{Step, Timeline};
use crate::model::ids::{AgentId, StoreId};

/// What the filter of the first page was asked for, checked.
#[derive(Clone, Default, Debug)]
pub struct Wanted {
    pub decision: Option<String>,
    pub reason: Option<String>,
    pub store: Option<String>,
}

/// The mode of one store.
pub struct Mode {
    pub store: StoreId,
    pub says: &'static str,
}

/// The last decisions.
#[derive(Template)]
#[template(path = "decisions.html", config = "src/portal/askama.toml")]
pub struct Decisions {
    pub signed_in: Option<AgentId>,
    pub modes: Vec<Mode>,
    pub ledger: String,
    pub evidence: String,
    pub decisions: &'static [&'static str],
    pub reasons: Vec<&'static str>,
    pub wanted: Wanted,
    pub rows: Vec<Step>,
}

/// The last judgements of orders.
#[derive(Template)]
#[template(path = "orders.html", config = "src/portal/askama.toml")]
pub struct Orders {
    pub signed_in: Option<AgentId>,
    pub rows: Vec<Step>,
}

/// One execution.
#[derive(Template)]
#[template(path = "timeline.html", config = "src/portal/askama.toml")]
pub struct OneTimeline {
    pub signed_in: Option<AgentId>,
    pub told: Timeline,
}

/// Where a key is asked for.
#[derive(Template)]
#[template(path = "login.html", config = "src/portal/askama.toml")]
pub struct Login {
    pub refused: bool,
}

/// A page that only says something.
#[derive(Template)]
#[template(path = "message.html", config = "src/portal/askama.toml")]
pub struct Message {
    pub heading: &'static str,
    pub text: &'static str,
}
