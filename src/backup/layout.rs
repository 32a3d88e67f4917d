//! What belongs to a data directory: each file by its name, who may read it, and how long it can be. What is not
//! here is in no backup: locks and scratch, which the next start makes anew, and what is not ours.

use crate::durable::Readers;
use crate::tlog::entries::ENTRY_MAX;
use crate::tlog::note::NOTE_MAX;
use crate::tlog::tile::{Tile, WIDTH};

/// The directories that are looked into. Below `log/` there is one for each year.
pub const DIRECTORIES: [&str; 6] = ["catalog", "evidence", "keys", "log-keys", "policies", "spool"];
pub const STORE: &str = "evidence/evidence.db";
/// How far orders were judged.
pub const RECONCILED: &str = "evidence/reconciled";
pub const LOG_KEYS: &str = "log-keys/keys.json";

/// Longest name of a file of an operator: what a header of a tar holds.
const NAME_MAX: usize = 100;
const SMALL: u64 = 1 << 20;
const LISTS: u64 = 16 << 20;
const CATALOGS: u64 = 64 << 20;
const SEGMENTS: u64 = 1 << 30;
const TILES: u64 = WIDTH as u64 * (2 + ENTRY_MAX as u64);

/// What is known of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Whoever has it can sign or give orders in the name of this deployment.
    pub private: bool,
    pub readers: Readers,
    /// Most bytes of it.
    pub max: u64,
}

impl Place {
    const fn ours(max: u64) -> Self {
        Self { private: false, readers: Readers::Owner, max }
    }

    const fn secret(max: u64) -> Self {
        Self { private: true, ..Self::ours(max) }
    }

    const fn open(max: u64) -> Self {
        Self { private: false, readers: Readers::Everyone, max }
    }
}

/// The place of a file below a data directory; `None` where no such file belongs there.
#[must_use]
pub fn place_of(name: &str) -> Option<Place> {
    let (dir, file) = name.split_once('/').unwrap_or(("", name));
    match (dir, file) {
        ("", "agent-keys.json" | "revocations.json" | "allowance.json") => Some(Place::ours(LISTS)),
        ("", "admin.token") => Some(Place::secret(SMALL)),
        // Sizes are counted with signs elsewhere.
        ("evidence", "evidence.db") => Some(Place::ours(i64::MAX as u64)),
        ("evidence", "reconciled") => Some(Place::open(SMALL)),
        ("keys", file) if file == "keys.json" || is_pem(file) => Some(Place::secret(LISTS)),
        // The public halves: without them nothing that was signed could be verified.
        ("log-keys", "keys.json") => Some(Place::ours(SMALL)),
        ("log-keys", file) if is_pem(file) => Some(Place::secret(SMALL)),
        ("log-keys", file) => {
            let year = file.strip_prefix("signed-").or_else(|| file.strip_prefix("held-"));
            year.and_then(year_of).map(|_| Place::ours(NOTE_MAX as u64))
        }
        ("log", file) => in_log(file),
        ("spool", "identity") => Some(Place::ours(SMALL)),
        ("spool", file) => is_segment(file).then_some(Place::ours(SEGMENTS)),
        ("policies" | "catalog", file) => is_document(file).then_some(Place::open(CATALOGS)),
        _ => None,
    }
}

/// What every process makes for itself, or leaves behind: not worth a word.
#[must_use]
pub fn is_scratch(file: &str) -> bool {
    let endings = [".lock", ".tmp", ".new", "-wal", "-shm", "-journal"];
    file.starts_with('.') || file == "lock" || endings.iter().any(|ending| file.ends_with(ending))
}

/// A year as a directory is named by it.
#[must_use]
pub fn year_of(text: &str) -> Option<u16> {
    text.parse().ok().filter(|year: &u16| year.to_string() == text)
}

fn in_log(file: &str) -> Option<Place> {
    let (year, file) = file.split_once('/')?;
    year_of(year)?;
    if file == "checkpoint" {
        return Some(Place::open(NOTE_MAX as u64));
    }
    Tile::parse(file).map(|_| Place::open(TILES))
}

fn is_pem(file: &str) -> bool {
    let stem = file.strip_suffix(".pem").unwrap_or_default();
    let plain = stem.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    (1..=64).contains(&stem.len()) && plain
}

fn is_segment(file: &str) -> bool {
    let first = file.strip_suffix(".spool").unwrap_or_default();
    first.len() == 20 && first.bytes().all(|b| b.is_ascii_digit())
}

/// Its name is the operator's.
fn is_document(file: &str) -> bool {
    let legal = !file.starts_with('.') && !file.chars().any(|c| c == '/' || c.is_control());
    legal && file.len() <= NAME_MAX && file.len() > ".toml".len() && file.ends_with(".toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_data_directory_holds_has_a_place() {
        for (name, private) in [
            ("agent-keys.json", false),
            ("revocations.json", false),
            ("allowance.json", false),
            ("admin.token", true),
            ("evidence/evidence.db", false),
            ("evidence/reconciled", false),
            ("keys/keys.json", true),
            ("keys/wXrrJtVi3wmlq3-3_1xbL8B6ZkCAB1hP2Cn0mU9Bq5Q.pem", true),
            ("log-keys/keys.json", false),
            ("log-keys/0f3a91c2b4d5e6f7.pem", true),
            ("log-keys/signed-2026", false),
            ("log-keys/held-2026", false),
            ("log/2026/checkpoint", false),
            ("log/2026/tile/entries/x001/067.p/8", false),
            ("spool/identity", false),
            ("spool/00000000000000000001.spool", false),
            ("policies/store 123 (ü).toml", false),
            ("catalog/store-123.toml", false),
        ] {
            assert_eq!(place_of(name).map(|place| place.private), Some(private), "{name}");
        }
    }

    #[test]
    fn nothing_else_has_one() {
        for name in [
            "",
            "/",
            "/etc/passwd",
            "keys",
            "keys/",
            "keys/../admin.token",
            "keys/a/b.pem",
            "../keys/keys.json",
            "./admin.token",
            "admin.token/",
            "keys//keys.json",
            "keys/.pem",
            "keys/a\0.pem",
            "log/2026",
            "log/02026/checkpoint",
            "log/-1/checkpoint",
            "log/2026/tile/0/0",
            "log/2026/tile/../checkpoint",
            "log/2026/.rebuild/tile/0/000",
            "log-keys/signed-",
            "log-keys/.lock",
            "log-keys/signed-2026/x",
            "spool/1.spool",
            "spool/lock",
            "spool/0000000000000000000x.spool",
            "policies/.x.toml",
            "policies/a/b.toml",
            "policies/a\n.toml",
            "policies/.toml",
            "evidence/evidence.db-wal",
            "ledger.lock",
            "manifest.json",
        ] {
            assert_eq!(place_of(name), None, "{name:?}");
        }
        assert!(place_of(&format!("policies/{}.toml", "a".repeat(NAME_MAX))).is_none());
    }

    #[test]
    fn locks_and_scratch_are_no_files_of_anybody() {
        for file in
            [".lock", "lock", "ledger.lock", "reconciled.lock", "evidence.db-wal", ".keys.json.tmp", "identity.new"]
        {
            assert!(is_scratch(file), "{file}");
        }
        assert!(!is_scratch("notes.txt") && !is_scratch("keys.json"));
    }
}
