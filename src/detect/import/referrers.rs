//! Matomo's list of AI assistants (`AIAssistants.yml` of
//! <https://github.com/matomo-org/searchengine-and-social-list>, CC0): names, and under each its hosts.
//! Of YAML this reads that shape alone: lines `Name:` and `  - host`, blank ones and comments.

use crate::detect::channel::Channels;

use super::{List, NotAList, each};

pub(super) fn read(text: &str) -> Result<List, NotAList> {
    let lines: Vec<_> = text.lines().collect();
    let mut channel = None;
    each(lines.into_iter().enumerate(), |list, (index, line)| {
        let wrong = |why: &str| format!("line {} {why}", index + 1);
        let text = line.split_once('#').map_or(line, |(text, _)| text).trim_end();
        if text.is_empty() || text == "---" {
            return Ok(());
        }
        if let Some(name) = text.strip_suffix(':').filter(|name| !name.starts_with([' ', '\t', '-'])) {
            channel = slug(unquoted(name));
            return channel.as_ref().map(drop).ok_or_else(|| wrong("has no letter or digit in its name"));
        }
        let host = text.trim_start().strip_prefix("- ").map(|host| unquoted(host.trim()));
        let host = host.ok_or_else(|| wrong("is neither `Name:` nor `- host`"))?;
        let channel = channel.clone().ok_or_else(|| wrong("has a host before any name"))?;
        let known = Channels::default().add_host(&channel, host);
        known.map_err(|why| wrong(&format!("is no host: it {why}")))?;
        list.hosts.push((channel, host.to_owned()));
        Ok(())
    })
}

fn unquoted(text: &str) -> &str {
    let quoted = |quote: char| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    quoted('\'').or_else(|| quoted('"')).unwrap_or(text)
}

/// A name as a word: `Le Chat` → `le-chat`.
fn slug(name: &str) -> Option<String> {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    Some(words.collect::<Vec<_>>().join("-").to_ascii_lowercase()).filter(|slug| !slug.is_empty() && slug.len() <= 64)
}
