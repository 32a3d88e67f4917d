//! A preset: where one kind of checkout keeps its facts. Written as a TOML file under
//! `conf/presets/` (see docs/presets.md), parsed and checked when the program starts.

mod built_in;
mod document;
mod lines;
mod request;

use serde::Deserialize;

use crate::model::document::Problem;
use crate::model::json::Value;

use super::graphql::Operations;
use super::media::Form;
use super::outcome::Outcomes;
use super::path::{PathStyle, Pattern};
use super::pointer::{Places, Pointer};

pub use built_in::{built_in, fixtures, text, texts};
pub use lines::{Amount, Basis, Case, Items, Lines, Prices};
pub use request::{Recognised, first_of};

/// The step of a checkout that a request is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Phase {
    Create,
    Update,
    Get,
    /// The only step that burns a token.
    Complete,
    Cancel,
}

/// What happens to a commit without a token when the policy does not say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tokenless {
    /// Forwarded and recorded: shoppers share the path.
    #[default]
    Observe,
    /// Refused with NO_TOKEN.
    Require,
}

/// The shape in which a refusal is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// As `/validate` answers (contract.md).
    #[default]
    Permyx,
    /// ACP: one flat error object.
    Acp,
    /// UCP: `messages`.
    Ucp,
    /// GraphQL: `errors`.
    Graphql,
    /// RFC 9457.
    Problem,
}

impl Dialect {
    /// The content type of a refusal.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Problem => "application/problem+json",
            Self::Permyx | Self::Acp | Self::Ucp | Self::Graphql => "application/json",
        }
    }
}

/// Where facts come from. Fixed by the preset, never by what happens to be present.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FactSource {
    /// The committing request; its declared fields bind the merchant.
    #[default]
    Request,
    /// The merchant's session, read just before the commit.
    Session,
}

/// Where the order stands in the merchant's answer. Pointers start at `root`.
#[derive(Clone, Debug)]
pub struct Order {
    /// May hold `{key}`: the name under which a GraphQL answer gives the committing field.
    pub root: Pointer,
    pub id: Places,
    pub total: Places,
    pub status: Places,
    /// What was ordered, where the answer repeats it.
    pub lines: Lines,
}

/// How a session is read.
#[derive(Clone, Debug)]
pub struct SessionRead {
    pub pattern: Pattern,
    /// Sent with the read; for APIs that are read by POST.
    pub body: Option<String>,
    /// Lower-case names of the caller's headers that go along.
    pub credentials: Vec<String>,
    /// What names the session where the path does not, in the order in which the merchant looks.
    pub key: Vec<SessionKey>,
    /// Headers of the answer by which the merchant gives the caller another session.
    pub rotates: Vec<String>,
    /// Where the session stands in the answer.
    pub root: Pointer,
    /// The read has the commit's query: it chooses what the merchant answers for.
    pub same_query: bool,
    pub over: Over,
}

/// How a session says that it cannot be bought any more: a merchant may answer the commit of an
/// ended session with the order that it already has.
#[derive(Clone, Debug, Default)]
pub struct Over {
    /// Something stands there that is not null.
    pub exists: Vec<Pointer>,
    /// One of these texts stands there.
    pub equals: Vec<(Pointer, Vec<String>)>,
}

impl Over {
    #[must_use]
    pub fn is(&self, session: &Value<'_>) -> bool {
        let filled = |pointer: &Pointer| pointer.find(session).is_some_and(|value| *value != Value::Null);
        let says = |(pointer, texts): &(Pointer, Vec<String>)| {
            let have = pointer.find(session).and_then(Value::as_str);
            have.is_some_and(|have| texts.iter().any(|text| text == have))
        };
        self.exists.iter().any(filled) || self.equals.iter().any(says)
    }
}

/// A place in a request's head that names its session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SessionKey {
    Header(String),
    Cookie(String),
}

/// A checked preset.
#[derive(Clone, Debug)]
pub struct Preset {
    pub name: String,
    pub title: String,
    /// False until it was run against a real counterpart.
    pub proven: bool,
    pub tokenless: Tokenless,
    pub dialect: Dialect,
    pub source: FactSource,
    /// How the committing request is written.
    pub form: Form,
    pub path: PathStyle,
    /// Query parameters by which the merchant's server takes another path or method than the
    /// request line says. Refused on enforced hosts.
    pub rerouting: Vec<String>,
    /// Query parameters that change the shape of the merchant's answer, so that a commit's outcome
    /// could not be read. Refused on commits.
    pub shaping: Vec<String>,
    /// The facts, where they come from.
    pub lines: Lines,
    /// What a session's commit may say of its items. Never a fact; different, it is a contradiction.
    pub claims: Lines,
    pub order: Order,
    pub session: Option<SessionRead>,
    pub token_pointers: Vec<Pointer>,
    pub outcomes: Outcomes,
    /// What GraphQL operations do; `None` where the path alone says it.
    pub operations: Option<Operations>,
    variant_template: String,
    phases: Vec<(Phase, Pattern)>,
    harmless: Vec<Pattern>,
}

impl Preset {
    /// The variant's name in tokens for the merchant's item id.
    #[must_use]
    pub fn variant_of(&self, item: &str) -> String {
        if self.variant_template == "{id}" {
            return item.to_owned();
        }
        self.variant_template.replace("{id}", item)
    }

    /// Reads a preset file.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        document::read(text)
    }

    /// Reads a preset file with some of its members replaced: tables are merged, everything else is
    /// taken whole.
    pub fn parse_with(text: &str, changes: &toml::Table) -> Result<Self, Vec<Problem>> {
        let not = |error: &dyn std::fmt::Display| vec![Problem::new(None, error.to_string(), "write it as TOML")];
        let mut table: toml::Table = text.parse().map_err(|error: toml::de::Error| not(&error))?;
        merge(&mut table, changes);
        Self::parse(&toml::to_string(&table).map_err(|error| not(&error))?)
    }
}

fn merge(into: &mut toml::Table, changes: &toml::Table) {
    for (name, change) in changes {
        match (into.get_mut(name), change) {
            (Some(toml::Value::Table(have)), toml::Value::Table(change)) => merge(have, change),
            _ => {
                into.insert(name.clone(), change.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests;
