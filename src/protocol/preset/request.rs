//! What a request is, as far as its head says it.

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

    /// Named harmless; where a page may be read, its head may be.
    fn is_harmless(&self, method: &str, path: &str) -> bool {
        let named =
            |method: &str| self.harmless.iter().any(|pattern| pattern.matches(method, path, self.path).is_some());
        let read = |path| self.phases.iter().any(|(_, pattern)| pattern.matches("GET", path, self.path).is_some());
        named(method) || (method == "HEAD" && (named("GET") || read(path)))
    }
}

/// The first of these parameters that a query holds.
fn first_of<'n>(names: &'n [String], query: &str) -> Option<&'n str> {
    let held: Vec<_> = query.split(['&', ';']).map(parameter).collect();
    names.iter().find(|name| held.contains(name)).map(String::as_str)
}

/// The name of a query parameter as PHP takes it, in small letters: `.` and blank are `_`, and what
/// follows a bracket is a key within it.
fn parameter(field: &str) -> String {
    let name = field.split('=').next().unwrap_or_default().replace('+', " ");
    let name = decoded(&name).to_ascii_lowercase();
    let name = name.trim_start().split('[').next().unwrap_or_default();
    name.replace(['.', ' '], "_")
}
