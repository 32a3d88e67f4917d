//! The list ai.robots.txt (<https://github.com/ai-robots-txt/ai.robots.txt>, MIT): an object by token,
//! each with an `operator` and a `function`.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::detect::agent::{Agent, Class, NotAToken};
use crate::detect::document::OPERATOR_MAX;

use super::{List, NotAList, each, json};

#[derive(Deserialize)]
struct Entry {
    operator: String,
    function: String,
}

pub(super) fn read(text: &str) -> Result<List, NotAList> {
    let entries: Map<String, Value> = json(text)?;
    if entries.get("prefixes").is_some_and(Value::is_array) {
        return Err(NotAList::Addresses);
    }
    let entries: Vec<_> = entries.into_iter().collect();
    each(entries.into_iter().enumerate(), |list, (index, (token, entry))| {
        // A key may be a text of any length and is not repeated.
        let wrong = |why: &dyn std::fmt::Display| format!("entry {index} {why}");
        let entry =
            Entry::deserialize(entry).map_err(|error| wrong(&format!("is not `{{operator, function}}`: {error}")))?;
        match Agent::new(&token, operator(&entry.operator), class(&entry.function)) {
            Ok(agent) => list.agents.push(agent),
            Err(NotAToken::RobotsOnly) => list.left_out += 1,
            Err(why) => return Err(wrong(&why)),
        }
        Ok(())
    })
}

/// The labels of the list that say what an agent is for; its other texts are sentences.
fn class(function: &str) -> Class {
    match function.to_ascii_lowercase().as_str() {
        "ai agents" | "ai coding agents" => Class::Agent,
        "ai assistants" => Class::Assistant,
        "ai search crawlers" => Class::Search,
        "ai data scrapers" | "llm training." => Class::Training,
        _ => Class::Other,
    }
}

/// The name in `[name](address)`, or a text that is short enough for one.
fn operator(text: &str) -> &str {
    let linked = text.strip_prefix('[').and_then(|rest| rest.split_once("](")).map(|(name, _)| name);
    let named = linked.unwrap_or(text);
    let is_name = named.len() <= OPERATOR_MAX && !named.contains(char::is_control) && !named.ends_with('.');
    if is_name && !named.is_empty() { named } else { "unknown" }
}
