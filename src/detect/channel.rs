//! Where a shopper was sent from: hosts of referrers, and the tags that links carry.

use std::collections::BTreeMap;

use crate::model::percent;

/// Longest part of a URL that is looked at.
pub const URL_MAX: usize = 2048;
/// Longest word of these tables: a name, a host with its path, a tag.
pub const WORD_MAX: usize = 128;
/// Most hosts, and most tags, of all tables together.
pub const WORDS_MAX: usize = 10_000;
/// Parameters of a query that are looked at, and labels of a host.
const PARAMETERS_MAX: usize = 64;
const LABELS_MAX: usize = 16;

/// Channels by host and by tag. All in lower case.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Channels {
    /// By host, each with a path (which may be empty) and its channel; the longest path first.
    hosts: BTreeMap<String, Vec<(String, String)>>,
    tags: BTreeMap<String, String>,
}

/// What a tag or a referrer says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sent<'t> {
    /// From a channel of the tables.
    From(&'t str),
    /// From somewhere that they do not know; this is what stood there.
    Unknown(Vec<u8>),
}

/// Why a text is no word of these tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotAWord {
    #[error("has to have 1 to {WORD_MAX} letters, digits and `-`, `_` or `.`")]
    Word,
    #[error("has to be a host, like `chat.example`, or a host with a path, like `x.com/i/grok`")]
    Host,
}

impl Channels {
    /// Adds a host, or a host with a path. `false`: it is known already, or there are too many.
    pub fn add_host(&mut self, channel: &str, host: &str) -> Result<bool, NotAWord> {
        word(channel)?;
        let whole = host.to_ascii_lowercase();
        let (host, path) = whole.find('/').and_then(|at| whole.split_at_checked(at)).unwrap_or((&whole, ""));
        let path = path.trim_end_matches('/');
        let is_path = path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#%".contains(&byte));
        if whole.len() > WORD_MAX || word(host).is_err() || !host.contains('.') || !is_path {
            return Err(NotAWord::Host);
        }
        let full = self.hosts.len() >= WORDS_MAX;
        if full || self.hosts.get(host).is_some_and(|paths| paths.iter().any(|(known, _)| known == path)) {
            return Ok(false);
        }
        let paths = self.hosts.entry(host.to_owned()).or_default();
        paths.push((path.to_owned(), channel.to_owned()));
        paths.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        Ok(true)
    }

    /// Adds a tag. `false`: it is known already, or there are too many.
    pub fn add_tag(&mut self, channel: &str, tag: &str) -> Result<bool, NotAWord> {
        word(channel)?;
        word(tag)?;
        let tag = tag.to_ascii_lowercase();
        if self.tags.len() >= WORDS_MAX || self.tags.contains_key(&tag) {
            return Ok(false);
        }
        self.tags.insert(tag, channel.to_owned());
        Ok(true)
    }

    /// The channel of a URL, or its host; `None` where it is not a URL.
    #[must_use]
    pub fn of_url(&self, url: &[u8]) -> Option<Sent<'_>> {
        let Url { host, path, .. } = Url::read(url)?;
        // The host itself, and each that it is below.
        let above = host.match_indices('.').filter_map(|(dot, _)| host.get(dot + 1..));
        let hosts = std::iter::once(host.as_str()).chain(above).take(LABELS_MAX);
        let on_path = |paths: &'_ Vec<(String, String)>| paths.iter().position(|(prefix, _)| is_below(path, prefix));
        let found = hosts.filter_map(|host| self.hosts.get(host)).find_map(|paths| paths.get(on_path(paths)?));
        Some(found.map_or_else(|| Sent::Unknown(host.clone().into_bytes()), |(_, channel)| Sent::From(channel)))
    }

    /// What the tags of a query say: `utm_source`, then `utm_medium`, then `ref`. A medium or a `ref`
    /// that is not known says nothing.
    #[must_use]
    pub fn of_query(&self, query: &[u8]) -> Option<Sent<'_>> {
        let query = query.get(..URL_MAX).unwrap_or(query);
        let pairs = || query.split(|byte| *byte == b'&').take(PARAMETERS_MAX);
        let value = |name: &str| {
            pairs().find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")).filter(|v| !v.is_empty())
        };
        let known = ["utm_source", "utm_medium", "ref"].into_iter().find_map(|name| self.tag(value(name)?));
        known.map(Sent::From).or_else(|| Some(Sent::Unknown(value("utm_source")?.to_vec())))
    }

    fn tag(&self, value: &[u8]) -> Option<&str> {
        // Escapes make a word three times as long at most.
        let value = std::str::from_utf8(value).ok().filter(|value| value.len() <= 3 * WORD_MAX)?;
        self.tags.get(&percent::decoded(value).to_ascii_lowercase()).map(String::as_str)
    }

    /// Hosts with their paths, and the channel of each.
    pub fn hosts(&self) -> impl Iterator<Item = (String, &str)> {
        let each = |(host, paths)| std::iter::repeat(host).zip(paths);
        let all = self.hosts.iter().flat_map(each);
        all.map(|(host, (path, channel)): (&String, &(String, String))| (format!("{host}{path}"), channel.as_str()))
    }

    /// Tags, and the channel of each.
    pub fn tags(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tags.iter().map(|(tag, channel)| (tag.as_str(), channel.as_str()))
    }
}

/// A URL as far as it is needed. Its host is in lower case, without a port or a dot at its end.
pub struct Url<'u> {
    pub host: String,
    pub path: &'u [u8],
    pub query: &'u [u8],
}

impl<'u> Url<'u> {
    /// Reads the start of a URL; longer ones are cut.
    pub fn read(url: &'u [u8]) -> Option<Self> {
        let url = url.get(..URL_MAX).unwrap_or(url);
        let scheme = url.iter().position(|byte| *byte == b':')?;
        let is_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
        if scheme == 0 || !url.get(..scheme)?.iter().all(is_scheme) {
            return None;
        }
        let rest = url.get(scheme..)?.strip_prefix(b"://")?;
        let (authority, rest) = split(rest, |byte| b"/?#".contains(&byte));
        let (rest, _fragment) = split(rest, |byte| byte == b'#');
        let (path, query) = split(rest, |byte| byte == b'?');
        let host = authority.rsplit(|byte| *byte == b'@').next().unwrap_or_default();
        let (host, _port) = split(host, |byte| byte == b':');
        let host = std::str::from_utf8(host).ok()?.trim_end_matches('.').to_ascii_lowercase();
        word(&host).ok()?;
        Some(Self { host, path, query: query.get(1..).unwrap_or_default() })
    }
}

/// The bytes before the first of these, and from it on.
fn split(bytes: &[u8], at: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| at(*byte)).unwrap_or(bytes.len());
    bytes.split_at_checked(end).unwrap_or((bytes, &[]))
}

/// Whether a path is this one or below it.
fn is_below(path: &[u8], prefix: &str) -> bool {
    path.strip_prefix(prefix.as_bytes())
        .is_some_and(|rest| prefix.is_empty() || rest.first().is_none_or(|b| *b == b'/'))
}

/// Words go into evidence: short and plain.
fn word(text: &str) -> Result<(), NotAWord> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if text.is_empty() || text.len() > WORD_MAX || !text.bytes().all(plain) {
        return Err(NotAWord::Word);
    }
    Ok(())
}
