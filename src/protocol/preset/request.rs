//! What a request is, as far as its head says it.

use crate::model::json::Value;
use crate::model::percent::decoded;
use crate::protocol::media::{Form, Media};
use crate::protocol::path::Match;

use super::{Phase, Preset};

/// What a preset takes a request for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recognised<'p> {
    /// A step of a purchase.
    Step(Phase, Match<'p>),
    /// A step, and which one stands in its body.
    ByBody,
    /// Named as one that buys nothing.
    Harmless,
    /// It may do anything.
    Unknown,
}

impl Preset {
    /// Which request this is. `path` is canonical and without the route's prefix. A commit is a
    /// commit whatever its body looks like; everything else is what it seems only if its body is
    /// written as the protocol has it, because servers guess.
    #[must_use]
    pub fn recognise<'p>(&self, method: &str, path: &'p str, media: Media, bodiless: bool) -> Recognised<'p> {
        let plain = bodiless || (media.coding.is_some() && (media.untyped || media.form == Some(self.form)));
        let step = self.phases.iter().find_map(|(phase, pattern)| {
            let found = pattern.matches(method, path, self.path)?;
            Some((*phase, found))
        });
        match step {
            Some((Phase::Complete, _)) if self.operations.is_some() => {
                if media.form == Some(Form::Json) {
                    Recognised::ByBody
                } else {
                    Recognised::Unknown
                }
            }
            Some((phase, found)) if phase == Phase::Complete || plain => Recognised::Step(phase, found),
            Some(_) => Recognised::Unknown,
            None if plain && self.is_harmless(method, path) => Recognised::Harmless,
            None => Recognised::Unknown,
        }
    }

    /// The parameter by which the merchant's server would take this request for another one.
    #[must_use]
    pub fn reroutes(&self, query: &str) -> Option<&str> {
        first_of(&self.rerouting, query)
    }

    /// The parameter that would change the shape of the answer to a commit.
    #[must_use]
    pub fn reshapes(&self, query: &str) -> Option<&str> {
        first_of(&self.shaping, query)
    }

    /// The field of a form that the query has too: servers that read both as one take either.
    #[must_use]
    pub fn says_twice(&self, query: &str, form: &Value<'_>) -> Option<String> {
        let form = form.as_object().filter(|_| self.form == Form::Form)?;
        let names: Vec<_> = form.iter().flat_map(|(name, _)| parameter(&name.replace('%', "%25"))).collect();
        first_of(&names, query).map(ToOwned::to_owned)
    }

    /// Named harmless; where a page may be read, its head may be.
    fn is_harmless(&self, method: &str, path: &str) -> bool {
        let named =
            |method: &str| self.harmless.iter().any(|pattern| pattern.matches(method, path, self.path).is_some());
        let read = |path| self.phases.iter().any(|(_, pattern)| pattern.matches("GET", path, self.path).is_some());
        named(method) || (method == "HEAD" && (named("GET") || read(path)))
    }
}

/// The first of these parameters that a query holds.
#[must_use]
pub fn first_of<'n>(names: &'n [String], query: &str) -> Option<&'n str> {
    if names.is_empty() {
        return None;
    }
    let held: Vec<_> = query.split(['&', ';']).flat_map(parameter).collect();
    names.iter().find(|name| held.contains(name)).map(String::as_str)
}

/// The names that PHP may take a query parameter for, in small letters: what follows a NUL is cut off,
/// `.` and blank are `_`, and a bracket begins a key within it or, where none closes it, is `_` too.
fn parameter(field: &str) -> [String; 2] {
    let name = field.split('=').next().unwrap_or_default().replace('+', " ");
    let name = decoded(&name).to_ascii_lowercase();
    let name = name.trim_start().split('\0').next().unwrap_or_default();
    let within = name.split('[').next().unwrap_or_default();
    [within, name].map(|name| name.replace(['.', ' ', '['], "_"))
}
