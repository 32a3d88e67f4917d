//! The addresses that an operator publishes: `{"prefixes": [{"ipv4Prefix": "…"}, {"ipv6Prefix": "…"}]}`
//! (the form of Google, OpenAI, Perplexity and Bing).

use serde::Deserialize;
use serde_json::Value;

use crate::detect::address::{NETS_MAX, Net, Nets};

use super::{FILE_MAX, NotAList, WRONG_MAX, json};

#[derive(Deserialize)]
struct File {
    prefixes: Option<Vec<Value>>,
}

/// Reads the addresses of one agent.
pub fn prefixes(text: &str) -> Result<Nets, NotAList> {
    if text.len() > FILE_MAX {
        return Err(NotAList::TooLong);
    }
    let entries = json::<File>(text)?.prefixes.ok_or(NotAList::NoPrefixes)?;
    if entries.len() > NETS_MAX {
        return Err(NotAList::TooMany);
    }
    let (mut nets, mut wrong) = (Vec::with_capacity(entries.len()), Vec::new());
    for (index, entry) in entries.iter().enumerate() {
        match net(entry) {
            Ok(net) => nets.push(net),
            Err(why) => wrong.push(format!("`prefixes` entry {index} {why}")),
        }
        if wrong.len() >= WRONG_MAX {
            break;
        }
    }
    if wrong.is_empty() { Ok(Nets::of(nets)) } else { Err(NotAList::Wrong(wrong)) }
}

fn net(entry: &Value) -> Result<Net, String> {
    let text = ["ipv4Prefix", "ipv6Prefix"].into_iter().find_map(|name| entry.get(name)?.as_str());
    let text = text.ok_or("has no `ipv4Prefix` and no `ipv6Prefix`")?;
    Net::parse(text).map_err(|why| why.to_string())
}
