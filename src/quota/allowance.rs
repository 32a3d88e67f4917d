//! The calls that an API key may make: so many in a minute, so many in a calendar month, UTC.
//!
//! Minutes are counted in memory. The month's count survives a restart; a killed process forgets
//! at most the last second. Each process counts on its own.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use jiff::tz::Offset;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::durable::{self, FileError, Readers};
use crate::model::ids::AgentId;
use crate::model::time::Timestamp;

/// Largest file of counts that is read.
const FILE_MAX: u64 = 4 << 20;
/// What a caller without a limit is told: a number that every client can hold.
const UNMETERED: u64 = i32::MAX as u64;
const MINUTE_S: i64 = 60;

/// Why counts cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum AllowanceError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("`{}` is damaged: remove it to count the month anew", .path.display())]
    Damaged { path: PathBuf, source: serde_json::Error },
}

/// The window that a limit is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Window {
    Minute,
    Month,
}

impl Window {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Month => "month",
        }
    }
}

/// What a caller is told of its tightest window: the `X-RateLimit-*` headers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    pub limit: u64,
    pub remaining: u64,
    /// Unix second in which the window ends.
    pub reset_unix_s: i64,
}

impl Standing {
    /// The standing of a call that no key pays for.
    #[must_use]
    pub fn unmetered(now: Timestamp) -> Self {
        Self { limit: UNMETERED, remaining: UNMETERED, reset_unix_s: minute_end(now) }
    }
}

/// May the call go on?
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Granted(Standing),
    /// The window is used up; `retry_after_s` is at least 1.
    Exceeded {
        standing: Standing,
        window: Window,
        retry_after_s: i64,
    },
}

/// The counts of all keys. There is an entry for each key that called in the window, and only
/// keys that authenticated come here: the number of keys is the bound.
pub struct Allowances {
    file: Option<PathBuf>,
    counts: Mutex<Counts>,
    /// One writer of the file at a time, and not under the lock that calls wait for.
    writing: Mutex<()>,
}

#[derive(Default)]
struct Counts {
    minute: i64,
    in_minute: HashMap<AgentId, u32>,
    month: Option<Month>,
    in_month: BTreeMap<AgentId, u64>,
    unsaved: bool,
}

/// `allowance.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CountsDoc {
    month: Month,
    counts: BTreeMap<String, u64>,
}

impl Allowances {
    /// Counts that end with the process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { file: None, counts: Mutex::default(), writing: Mutex::default() }
    }

    /// Counts that go on where the last process of this data directory stopped.
    pub fn open(data: &Path) -> Result<Self, AllowanceError> {
        let path = data.join("allowance.json");
        let mut counts = Counts::default();
        if let Some(text) = durable::read(&path, FILE_MAX)? {
            let damaged = |source| AllowanceError::Damaged { path: path.clone(), source };
            let doc: CountsDoc = serde_json::from_str(&text).map_err(damaged)?;
            counts.month = Some(doc.month);
            // An id that is none belongs to no key, so nobody's count is lost with it.
            counts.in_month = doc.counts.iter().filter_map(|(id, n)| Some((AgentId::parse(id).ok()?, *n))).collect();
        }
        Ok(Self { file: Some(path), counts: Mutex::new(counts), writing: Mutex::default() })
    }

    /// Counts one call of this key. `None` is no limit. A call that is refused counts for nothing.
    pub fn take(&self, key: &AgentId, per_minute: Option<u32>, per_month: Option<u64>, now: Timestamp) -> Verdict {
        let mut counts = self.counts.lock();
        counts.turn_to(now);
        let in_minute = counts.in_minute.get(key).copied().unwrap_or(0);
        let in_month = counts.in_month.get(key).copied().unwrap_or(0);
        if let Some(limit) = per_month.filter(|limit| in_month >= *limit) {
            return exceeded(Window::Month, limit, Month::of(now).end(), now);
        }
        if let Some(limit) = per_minute.filter(|limit| in_minute >= *limit) {
            return exceeded(Window::Minute, limit.into(), minute_end(now), now);
        }
        if per_minute.is_some() {
            counts.in_minute.insert(key.clone(), in_minute + 1);
        }
        if per_month.is_some() {
            counts.in_month.insert(key.clone(), in_month + 1);
            counts.unsaved = true;
        }
        let minute = per_minute.map(|limit| standing(limit.into(), u64::from(in_minute) + 1, minute_end(now)));
        let month = per_month.map(|limit| standing(limit, in_month + 1, Month::of(now).end()));
        let tightest = minute.into_iter().chain(month).min_by_key(|standing| standing.remaining);
        Verdict::Granted(tightest.unwrap_or(Standing::unmetered(now)))
    }

    /// Saves the month's counts if any changed. Called once a second and at shutdown; blocks the
    /// thread for one flush of the disk, but no call.
    pub fn flush(&self) -> Result<(), AllowanceError> {
        let Some(path) = &self.file else { return Ok(()) };
        let _writing = self.writing.lock();
        let Some(doc) = self.counts.lock().take_unsaved() else { return Ok(()) };
        let saved = save(path, &doc);
        if saved.is_err() {
            self.counts.lock().unsaved = true;
        }
        saved
    }
}

fn save(path: &Path, doc: &CountsDoc) -> Result<(), AllowanceError> {
    let bytes = serde_json::to_vec(doc).map_err(|source| AllowanceError::Damaged { path: path.to_owned(), source })?;
    let lock = durable::lock(&path.with_file_name(".allowance.lock"))?;
    Ok(durable::replace(path, &bytes, Readers::Owner, &lock)?)
}

impl Counts {
    /// Starts new windows when theirs are over.
    fn turn_to(&mut self, now: Timestamp) {
        let minute = now.seconds().div_euclid(MINUTE_S);
        if self.minute != minute {
            self.minute = minute;
            self.in_minute.clear();
        }
        let month = Month::of(now);
        if self.month != Some(month) {
            self.month = Some(month);
            self.in_month.clear();
            self.unsaved = true;
        }
    }

    fn take_unsaved(&mut self) -> Option<CountsDoc> {
        let month = self.month.filter(|_| self.unsaved)?;
        self.unsaved = false;
        let counts = self.in_month.iter().map(|(key, n)| (key.to_string(), *n)).collect();
        Some(CountsDoc { month, counts })
    }
}

/// A calendar month, UTC; `2026-11` in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Month {
    year: i16,
    month: i8,
}

impl Month {
    fn of(now: Timestamp) -> Self {
        let at = jiff::Timestamp::from_millisecond(now.millis()).unwrap_or_default();
        let date = Offset::UTC.to_datetime(at).date();
        Self { year: date.year(), month: date.month() }
    }

    fn parse(text: &str) -> Option<Self> {
        let first = Timestamp::parse(&format!("{text}-01T00:00:00Z"))?;
        Some(Self::of(first)).filter(|month| month.to_string() == text)
    }

    /// The first Unix second of the next month.
    fn end(self) -> i64 {
        let Self { year, month } = self;
        let (year, month) = if month == 12 { (year.saturating_add(1), 1) } else { (year, month + 1) };
        Timestamp::parse(&format!("{}-01T00:00:00Z", Self { year, month })).unwrap_or_default().seconds()
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

impl Serialize for Month {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Month {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a month like 2026-11"))
    }
}

fn minute_end(now: Timestamp) -> i64 {
    (now.seconds().div_euclid(MINUTE_S) + 1) * MINUTE_S
}

fn standing(limit: u64, used: u64, reset_unix_s: i64) -> Standing {
    Standing { limit, remaining: limit.saturating_sub(used), reset_unix_s }
}

fn exceeded(window: Window, limit: u64, end: i64, now: Timestamp) -> Verdict {
    let retry_after_s = (end - now.seconds()).max(1);
    Verdict::Exceeded { standing: standing(limit, limit, end), window, retry_after_s }
}

#[cfg(test)]
mod tests;
