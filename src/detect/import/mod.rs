//! Lists that others keep, read from files that an operator names. Each form is strict: an entry that
//! is none is named and the whole list refused, for half a list would look like a whole one.

mod crawlers;
mod prefixes;
mod referrers;
mod robots;

use super::agent::Agent;

pub use prefixes::prefixes;

/// Longest file.
pub const FILE_MAX: usize = 8 << 20;
/// Most entries of one list.
pub const ENTRIES_MAX: usize = 20_000;
/// Most wrong entries that are told of one list.
const WRONG_MAX: usize = 10;

/// What a list says.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct List {
    pub agents: Vec<Agent>,
    /// Channels and their hosts.
    pub hosts: Vec<(String, String)>,
    /// Entries that are good and of no use here.
    pub left_out: usize,
}

/// Why a list is not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotAList {
    #[error("it has more than {FILE_MAX} bytes")]
    TooLong,
    #[error("it has more than {ENTRIES_MAX} entries")]
    TooMany,
    #[error("it is not JSON: {0}")]
    NotJson(String),
    #[error("it has no `prefixes`")]
    NoPrefixes,
    /// An operator's addresses, named where agents are expected.
    #[error("it holds addresses: name it under [[detect.ranges]], with its agent")]
    Addresses,
    #[error("{}", .0.join("; "))]
    Wrong(Vec<String>),
}

/// Reads a list of agents or of referrers. Its form is told by its first character: `[` begins
/// crawler-user-agents, `{` ai.robots.txt, and anything else is Matomo's list of AI assistants.
pub fn list(text: &str) -> Result<List, NotAList> {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if text.len() > FILE_MAX {
        return Err(NotAList::TooLong);
    }
    match text.bytes().next() {
        Some(b'[') => crawlers::read(text),
        Some(b'{') => robots::read(text),
        _ => referrers::read(text),
    }
}

/// Reads each entry; all of them have to be good.
fn each<E>(
    entries: impl ExactSizeIterator<Item = E>,
    mut read: impl FnMut(&mut List, E) -> Result<(), String>,
) -> Result<List, NotAList> {
    if entries.len() > ENTRIES_MAX {
        return Err(NotAList::TooMany);
    }
    let (mut list, mut wrong) = (List::default(), Vec::new());
    for entry in entries {
        wrong.extend(read(&mut list, entry).err());
        if wrong.len() >= WRONG_MAX {
            break;
        }
    }
    if wrong.is_empty() { Ok(list) } else { Err(NotAList::Wrong(wrong)) }
}

fn json<'t, T: serde::Deserialize<'t>>(text: &'t str) -> Result<T, NotAList> {
    serde_json::from_str(text).map_err(|error| NotAList::NotJson(error.to_string()))
}
