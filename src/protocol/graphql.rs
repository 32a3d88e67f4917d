//! What a GraphQL request would do: commit a purchase, change a session, read, or not to be told.
//!
//! Whatever one server could read otherwise than another, or otherwise than this reader, is
//! unrecognised: a purchase must never hide in a text that looks harmless.

use serde::Deserialize;

use crate::model::document::{At, Problem};
use crate::model::json::Object;

mod document;
mod plain;
mod request;
mod rule;

use document::{Document, Kind, Operation, RootField};
use request::{Request, Variables};
use rule::Rule;

/// Why a request is not recognised, for logs.
type Odd = &'static str;

/// What a preset says of the root mutation fields of a GraphQL API.
#[derive(Clone, Debug, Default)]
pub struct Operations {
    commit: Vec<Rule>,
    amend: Vec<Rule>,
}

/// What a request would do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Does {
    /// Commits a purchase, and nothing else.
    Commit {
        /// The name under `/data` at which the answer stands: the field's alias, or its own name.
        key: String,
        /// The request gives fields of the answer other names, so that the answer's words may not
        /// mean what they say. Such an answer must not give a token back.
        renamed: bool,
    },
    /// Changes a session and commits nothing.
    Amend,
    /// Runs a query.
    Read,
    Unrecognised(&'static str),
}

impl Operations {
    /// Judges a POST whose JSON body is `body`; `query` is the raw query string of its URL.
    #[must_use]
    pub fn judge(&self, body: &Object<'_>, query: Option<&str>) -> Does {
        self.does(body, query).unwrap_or_else(Does::Unrecognised)
    }

    fn does(&self, body: &Object<'_>, query: Option<&str>) -> Result<Does, Odd> {
        let request = Request::read(body, query)?;
        let document = Document::parse(request.text)?;
        let operation = document.operation(request.operation)?;
        match operation.kind {
            Kind::Query => Ok(Does::Read),
            Kind::Mutation => self.mutation(&document, operation, request.variables),
            Kind::Subscription => Err("a subscription"),
        }
    }

    fn mutation(&self, document: &Document, operation: &Operation, variables: Variables<'_>) -> Result<Does, Odd> {
        let all = document.root_fields(operation)?;
        let (names, fields): (Vec<_>, Vec<_>) = all.iter().partition(|field| field.name == "__typename");
        let commits = |field: &&RootField| self.commit.iter().any(|rule| rule.name == field.name);
        if let [only] = fields.as_slice()
            && commits(only)
        {
            if names.iter().any(|name| name.key == only.key) {
                return Err("`__typename` under the name of a commit");
            }
            return Ok(Does::Commit { key: only.key.clone(), renamed: document.renames_below(operation, &all) });
        }
        if fields.iter().any(commits) {
            return Err("a commit beside another field");
        }
        let amends = |field: &&RootField| self.amend.iter().any(|rule| rule.holds(field, operation, variables));
        if fields.is_empty() || !fields.iter().all(amends) {
            return Err("a mutation that the preset does not know");
        }
        Ok(Does::Amend)
    }
}

/// The table `[graphql]` of a preset.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct OperationsDoc {
    commit: Vec<At<String>>,
    amend: Vec<At<String>>,
}

impl OperationsDoc {
    /// Checks the rules; every mistake goes to `problems`.
    pub fn compile(self, problems: &mut Vec<Problem>) -> Operations {
        if self.commit.is_empty() {
            problems.push(Problem::new(None, "`[graphql]` names no field that commits", "list it under `commit`"));
        }
        let mut operations = Operations::default();
        for text in &self.commit {
            match Rule::parse(text) {
                Ok(rule) if rule.is_conditional() => {
                    problems.push(text.problem("a field commits whatever its arguments are", "write its name alone"));
                }
                Ok(rule) => operations.commit.push(rule),
                Err(message) => problems.push(text.problem(message, "write the name of a root mutation field")),
            }
        }
        for text in &self.amend {
            match Rule::parse(text) {
                Ok(rule) if operations.commit.iter().any(|commit| commit.name == rule.name) => {
                    problems.push(text.problem("this field stands under `commit`", "list it once"));
                }
                Ok(rule) => operations.amend.push(rule),
                Err(message) => problems.push(text.problem(message, "write `field` or `field(argument: \"text\")`")),
            }
        }
        operations
    }
}

#[cfg(test)]
mod tests;
