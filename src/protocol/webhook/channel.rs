//! Where an order came from: names of channels, referrers and campaign sources of agents.

use crate::model::percent;
use crate::model::signal::{Signal, State};

/// Longest address that is looked at.
const URL_MAX: usize = 4096;

/// An agent's channel: our word for it, the hosts that its links come from, the words that shops
/// and links use for it (operators' own documentation and published referrer lists, 2026).
const CHANNELS: [(&str, &[&str], &[&str]); 13] = [
    ("chatgpt", &["chatgpt.com", "chat.openai.com", "labs.openai.com"], &["chatgpt", "chatgpt.com", "openai"]),
    ("perplexity", &["perplexity.ai"], &["perplexity", "perplexity.ai"]),
    ("copilot", &["copilot.microsoft.com"], &["copilot", "copilot.com", "copilot.microsoft.com"]),
    ("gemini", &["gemini.google.com", "bard.google.com"], &["gemini", "gemini.google.com"]),
    ("claude", &["claude.ai"], &["claude", "claude.ai"]),
    ("meta_ai", &["meta.ai"], &["meta.ai"]),
    ("mistral", &["chat.mistral.ai"], &["mistral", "chat.mistral.ai"]),
    ("grok", &["grok.com"], &["grok", "grok.com"]),
    ("duck_ai", &["duck.ai"], &["duck.ai"]),
    ("you", &["you.com"], &["you.com"]),
    ("deepseek", &["chat.deepseek.com"], &["deepseek", "chat.deepseek.com"]),
    ("qwen", &["chat.qwen.ai"], &["qwen", "chat.qwen.ai"]),
    ("poe", &["poe.com"], &["poe.com"]),
];

/// What the platform itself calls the channel of the order. It vouches for it.
pub(super) fn sales_channel(word: Option<&str>) -> Signal {
    signal("sales_channel", State::Verified, word, of_word)
}

/// A protocol that only agents buy by.
pub(super) fn protocol(name: &'static str) -> Signal {
    Signal::new("sales_channel", State::Verified).known_as(name)
}

/// The page that led to the shop, as the shopper's browser said.
pub(super) fn referrer(url: Option<&str>) -> Signal {
    signal("referrer", State::Present, url, of_url)
}

/// The campaign source of the link that led to the shop.
pub(super) fn utm_source(word: Option<&str>) -> Signal {
    signal("utm_source", State::Present, word, of_word)
}

/// The same, from the address of the first page.
pub(super) fn utm_of(landing: Option<&str>) -> Signal {
    utm_source(landing.and_then(utm_in).as_deref())
}

/// The platform does not record it.
pub(super) fn off(name: &'static str) -> Signal {
    Signal::new(name, State::FeatureOff)
}

fn signal(
    name: &'static str,
    state: State,
    found: Option<&str>,
    known: impl Fn(&str) -> Option<&'static str>,
) -> Signal {
    let Some(found) = found.map(str::trim).filter(|found| !found.is_empty()) else {
        return Signal::new(name, State::Absent);
    };
    if found.len() > URL_MAX {
        return Signal::new(name, State::Malformed);
    }
    match known(found) {
        Some(word) => Signal::new(name, state).known_as(word),
        None => Signal::new(name, state).digest_of(found.as_bytes()),
    }
}

fn of_word(word: &str) -> Option<&'static str> {
    let names = |channel: &&(&str, &[&str], &[&str])| channel.2.iter().any(|name| word.eq_ignore_ascii_case(name));
    CHANNELS.iter().find(names).map(|(channel, _, _)| *channel)
}

fn of_url(url: &str) -> Option<&'static str> {
    let rest = url.split_once("://").map_or(url, |(_scheme, rest)| rest);
    let host = rest.split(['/', '?', '#', ':']).next().unwrap_or_default().to_ascii_lowercase();
    let is = |known: &&str| host.strip_suffix(known).is_some_and(|more| more.is_empty() || more.ends_with('.'));
    CHANNELS.iter().find(|(_, hosts, _)| hosts.iter().any(is)).map(|(channel, _, _)| *channel)
}

fn utm_in(url: &str) -> Option<String> {
    let query = url.get(..url.len().min(URL_MAX)).unwrap_or_default().split_once('?')?.1;
    let query = query.split('#').next().unwrap_or_default();
    let value = query.split('&').find_map(|pair| pair.strip_prefix("utm_source="))?;
    Some(percent::decoded(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_known_by_what_the_platform_the_link_or_the_browser_says() {
        let known = |signal: Signal| (signal.state, signal.value.map(|value| value.into_owned()));
        let chatgpt = || Some("chatgpt".to_owned());
        assert_eq!(known(sales_channel(Some("ChatGPT"))), (State::Verified, chatgpt()));
        assert_eq!(known(referrer(Some("https://chatgpt.com/c/1?q=x"))), (State::Present, chatgpt()));
        assert_eq!(known(referrer(Some("www.perplexity.ai"))), (State::Present, Some("perplexity".to_owned())));
        assert_eq!(known(utm_of(Some("/p/mug?a=1&utm_source=chatgpt%2Ecom#x"))), (State::Present, chatgpt()));
    }

    #[test]
    fn a_look_alike_is_no_channel() {
        for url in ["https://notchatgpt.com/", "https://chatgpt.com.evil.example/", "https://evil.example/chatgpt.com"]
        {
            let signal = referrer(Some(url));
            assert_eq!((signal.state, signal.value), (State::Present, None), "{url}");
            assert!(signal.digest.is_some());
        }
        assert_eq!(referrer(None).state, State::Absent);
        assert_eq!(referrer(Some("  ")).state, State::Absent);
        assert_eq!(utm_of(Some("/?utm_source=newsletter")).value, None);
        assert_eq!(referrer(Some(&"x".repeat(5000))).state, State::Malformed);
    }
}
