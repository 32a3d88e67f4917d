//! The list crawler-user-agents (<https://github.com/monperrus/crawler-user-agents>, MIT): an array
//! of `{pattern, tags, …}`, each pattern an expression that a user agent holds. Only those of AI and
//! of automated browsers are taken, and only those that are plain text; that is nearly all of them.

use serde::Deserialize;
use serde_json::Value;

use crate::detect::agent::{Agent, Class, NotAToken};

use super::{List, NotAList, each, json};

#[derive(Deserialize)]
struct Entry {
    pattern: String,
    #[serde(default)]
    tags: Vec<String>,
}

pub(super) fn read(text: &str) -> Result<List, NotAList> {
    let entries: Vec<Value> = json(text)?;
    each(entries.into_iter().enumerate(), |list, (index, entry)| {
        let wrong = |why: &dyn std::fmt::Display| format!("entry {index} {why}");
        let entry =
            Entry::deserialize(entry).map_err(|error| wrong(&format!("is not `{{pattern, tags}}`: {error}")))?;
        let agent = class(&entry.tags).zip(plain(&entry.pattern)).map(|(class, token)| {
            // The list does not say whose it is.
            Agent::new(&token, "unknown", class)
        });
        match agent {
            Some(Ok(agent)) => list.agents.push(agent),
            None | Some(Err(NotAToken::RobotsOnly)) => list.left_out += 1,
            Some(Err(why)) => return Err(wrong(&format!("(`pattern`) {why}"))),
        }
        Ok(())
    })
}

/// The class of an entry; `None` where it is no agent.
fn class(tags: &[String]) -> Option<Class> {
    let has = |tag: &str| tags.iter().any(|have| have == tag);
    match (has("browser-automation"), has("ai-crawler"), has("search-engine")) {
        (true, ..) => Some(Class::Agent),
        (false, true, true) => Some(Class::Search),
        (false, true, false) => Some(Class::Other),
        (false, false, _) => None,
    }
}

/// The text that an expression stands for, where it stands for one. A set of one letter in both cases
/// (`[cC]`) is that letter: tokens are found in any case.
fn plain(pattern: &str) -> Option<String> {
    let mut token = String::with_capacity(pattern.len());
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => token.push(rest.next().filter(|c| !c.is_alphanumeric())?),
            '[' => match [rest.next()?, rest.next()?, rest.next()?] {
                [first, second, ']'] if first.eq_ignore_ascii_case(&second) => token.push(first),
                _ => return None,
            },
            '^' | '$' | '.' | '*' | '+' | '?' | '(' | ')' | '|' | ']' | '{' | '}' => return None,
            c => token.push(c),
        }
    }
    Some(token)
}
