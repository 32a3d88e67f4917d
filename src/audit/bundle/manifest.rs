//! The manifest: a note by the log's key that names what the bundle holds and every file of it.

use std::fmt;
use std::ops::Range;

use crate::model::intent::Sha256;
use crate::tlog::key::KeyName;

const FIRST_LINE: &str = "permyx.dev/evidence-bundle@v1";
/// Longest value of a scope.
const VALUE_MAX: usize = 512;

/// By what the events were chosen. A closed set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScopeKind {
    /// Every event of the range.
    All,
    /// Those of one producer's stream, by `source`.
    Source,
    /// Those of one execution, by `correlationid`: never by `traceId`.
    Execution,
    /// Those of one store, by `storeId`.
    Store,
    /// Those of one agent, by `agentId`.
    Agent,
    /// Those of one order, by `orderId`.
    Order,
}

impl ScopeKind {
    const ALL: [Self; 6] = [Self::All, Self::Source, Self::Execution, Self::Store, Self::Agent, Self::Order];

    const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Source => "source",
            Self::Execution => "execution",
            Self::Store => "store",
            Self::Agent => "agent",
            Self::Order => "order",
        }
    }
}

/// By what the events were chosen, and the value that they share.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scope {
    kind: ScopeKind,
    value: String,
}

impl Scope {
    /// `None` where the value is too long or holds what cannot stand in a line; [`ScopeKind::All`] has
    /// the value `-`.
    #[must_use]
    pub fn new(kind: ScopeKind, value: &str) -> Option<Self> {
        let fits = (1..=VALUE_MAX).contains(&value.len()) && !value.contains(char::is_control);
        let is_whole = kind == ScopeKind::All;
        (fits && is_whole == (value == "-")).then(|| Self { kind, value: value.to_owned() })
    }

    #[must_use]
    pub fn kind(&self) -> ScopeKind {
        self.kind
    }

    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    fn parse(text: &str) -> Option<Self> {
        let (kind, value) = text.split_once(' ')?;
        let kind = ScopeKind::ALL.into_iter().find(|known| known.as_str() == kind)?;
        Self::new(kind, value)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.value)
    }
}

/// What the note says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Manifest {
    pub origin: KeyName,
    /// Size of the tree that the proofs are for.
    pub size: u64,
    pub scope: Scope,
    /// The indices among which the events were looked for.
    pub range: Range<u64>,
    /// How many were found.
    pub count: u64,
    /// Every file but the manifest, in the order of their names, with its SHA-256 in hex.
    pub files: Vec<(String, String)>,
}

impl Manifest {
    /// The files in the order of their names, hashed.
    pub fn hashed(files: &[(String, Vec<u8>)]) -> Vec<(String, String)> {
        files.iter().map(|(name, bytes)| (name.clone(), Sha256::of(bytes).hex())).collect()
    }

    /// Reads exactly the printed form.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let first = lines.next()?;
        let mut line = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let origin = KeyName::parse(line("origin")?).ok()?;
        let size = line("size")?.parse().ok()?;
        let scope = Scope::parse(line("scope")?)?;
        let (from, to) = line("range")?.split_once(' ')?;
        let range = from.parse().ok()?..to.parse().ok()?;
        let count = line("events")?.parse().ok()?;
        let file = |line: &str| {
            let (hash, name) = line.strip_prefix("file ")?.split_once(' ')?;
            Some((name.to_owned(), hash.to_owned()))
        };
        let files = lines.map(file).collect::<Option<_>>()?;
        let read = Self { origin, size, scope, range, count, files };
        (first == FIRST_LINE && read.to_string() == text).then_some(read)
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, size, scope, range, count, files } = self;
        writeln!(f, "{FIRST_LINE}\norigin {origin}\nsize {size}\nscope {scope}")?;
        writeln!(f, "range {} {}\nevents {count}", range.start, range.end)?;
        files.iter().try_for_each(|(name, hash)| writeln!(f, "file {hash} {name}"))
    }
}
