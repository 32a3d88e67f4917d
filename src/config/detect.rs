//! What callers are recognised by: the table, lists of others, and addresses of operators.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use crate::detect::{Added, Net, Nets, Tables, import};
use crate::model::document::{At, Problem};

use super::words::Found;

/// Most lists, and most files of addresses.
const FILES_MAX: usize = 64;

#[derive(Deserialize, Default, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DetectDoc {
    /// A table instead of the one that is compiled in (`permyx agents show`).
    table: Option<At<String>>,
    /// Lists that are added: crawler-user-agents (JSON), ai.robots.txt (JSON), Matomo's
    /// AIAssistants.yml. Read at the start.
    lists: Vec<At<String>>,
    /// Addresses that operators publish for their agents.
    ranges: Vec<RangesDoc>,
}

#[derive(Deserialize, Default, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct RangesDoc {
    /// The agent's name in the tables.
    agent: At<String>,
    /// JSON with `prefixes`.
    file: At<String>,
}

/// What callers are recognised by.
#[derive(Debug)]
pub struct DetectConfig {
    pub tables: Arc<Tables>,
    /// The lists that were added, and what each brought.
    pub lists: Vec<(String, Added)>,
}

impl DetectDoc {
    pub(super) fn compile(self, base: &Path, found: Found<'_>) -> DetectConfig {
        let mut tables = self.table(base, found);
        let mut lists = Vec::new();
        if let Some(over) = self.lists.get(FILES_MAX).or(self.ranges.get(FILES_MAX).map(|ranges| &ranges.file)) {
            found.push(over.problem(format!("more than {FILES_MAX} files"), "leave some out"));
            return DetectConfig { tables: Arc::new(tables), lists };
        }
        for name in &self.lists {
            if let Some(list) = taken(name, base, import::list, found) {
                lists.push((name.value.clone(), tables.add(list)));
            }
        }
        for RangesDoc { agent, file } in &self.ranges {
            let Some(nets) = taken(file, base, import::prefixes, found) else { continue };
            if !tables.add_ranges(agent, nets) {
                let message = format!("no table knows an agent `{}`", **agent);
                found.push(agent.problem(message, "use a name of `permyx agents list`"));
            }
        }
        DetectConfig { tables: Arc::new(tables), lists }
    }

    fn table(&self, base: &Path, found: Found<'_>) -> Tables {
        let Some(name) = &self.table else { return Tables::built_in() };
        let Some(text) = text(name, base, found) else { return Tables::built_in() };
        Tables::parse(&text).unwrap_or_else(|problems| {
            let told = |problem: Problem| {
                let line = problem.offset.map_or(1, |at| crate::model::document::line_of(&text, at).0);
                name.problem(format!("`{}`:{line}: {}", **name, problem.message), problem.fix)
            };
            found.extend(problems.into_iter().map(told));
            Tables::built_in()
        })
    }
}

/// What is in a file; `None` where it is not taken, which is told.
fn taken<T>(
    name: &At<String>,
    base: &Path,
    read: impl Fn(&str) -> Result<T, import::NotAList>,
    found: Found<'_>,
) -> Option<T> {
    let text = text(name, base, found)?;
    let wrong = |why| name.problem(format!("`{}` is not taken: {why}", **name), "mend the file, or take it out");
    read(&text).map_err(|why| found.push(wrong(why))).ok()
}

/// A file within its bound.
fn text(name: &At<String>, base: &Path, found: Found<'_>) -> Option<String> {
    let path = base.join(name.as_str());
    let fits =
        |length| if length > import::FILE_MAX as u64 { Err(std::io::ErrorKind::FileTooLarge.into()) } else { Ok(()) };
    let length = std::fs::metadata(&path).map(|file| file.len());
    let read = length.and_then(fits).and_then(|()| std::fs::read_to_string(&path));
    let unread = |error| name.problem(format!("`{}` cannot be read: {error}", **name), "name a file that is there");
    read.map_err(|error| found.push(unread(error))).ok()
}

/// The networks of proxies whose word is believed.
pub(super) fn networks(texts: &[At<String>], found: Found<'_>) -> Nets {
    let mut nets = Vec::new();
    for text in texts {
        match Net::parse(text) {
            Ok(net) => nets.push(net),
            Err(why) => found.push(text.problem(format!("`{}` {why}", **text), "write the network of your proxies")),
        }
    }
    Nets::of(nets)
}
