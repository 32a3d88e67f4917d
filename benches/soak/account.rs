//! What evidence says came of it all.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rusqlite::Connection;
use tempfile::TempDir;

use crate::mix::Sent;

fn count(found: i64) -> usize {
    usize::try_from(found).unwrap()
}

/// Events by kind; one that stands for many counts as many.
#[derive(Debug)]
pub struct Account {
    kinds: BTreeMap<String, usize>,
    gaps: usize,
    /// Streams whose sequence has a hole.
    broken: usize,
}

impl Account {
    pub fn of((_dir, store): (TempDir, PathBuf)) -> Self {
        let store = Connection::open(store).unwrap();
        let number = |query: &str| count(store.query_row(query, [], |row| row.get(0)).unwrap());
        let gaps = number("SELECT count(*) FROM gaps");
        let broken = number(
            "SELECT count(*) FROM (SELECT stream FROM events GROUP BY stream \
             HAVING count(*) <> max(seq) OR min(seq) <> 1)",
        );
        let kinds = "SELECT type, sum(coalesce(json_extract(CAST(body AS TEXT), '$.data.count'), 1)) \
                     FROM events GROUP BY type";
        let mut kinds = store.prepare(kinds).unwrap();
        let rows = kinds.query_map([], |row| Ok((row.get(0)?, count(row.get(1)?)))).unwrap();
        Self { gaps, broken, kinds: rows.map(Result::unwrap).collect() }
    }

    fn of_kind(&self, kind: &str) -> usize {
        let named = |name: &&String| name.trim_start_matches("io.permyx.").trim_end_matches(".v1") == kind;
        self.kinds.keys().find(named).map_or(0, |name| self.kinds[name])
    }

    /// No event is missing, and none tells of what was not answered.
    pub fn judge(&self, sent: &Sent) {
        let expected = [
            ("execution.reserved", sent.bought),
            ("execution.validated", sent.bought),
            ("execution.observed", sent.tokenless),
            ("execution.replay_detected", sent.replayed),
            ("execution.denied", sent.wrong + sent.forged),
            ("execution.expired", sent.expired),
            ("order.observed", sent.bought + sent.tokenless),
            ("evidence.gap", 0),
        ];
        let found = expected.map(|(kind, _)| (kind, self.of_kind(kind)));
        assert_eq!((found, self.gaps, self.broken), (expected, 0, 0), "evidence differs from what was answered");
    }
}
