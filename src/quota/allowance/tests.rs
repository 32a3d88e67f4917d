//! Allowances: no window passes its limit, and the month survives a restart.

use super::*;
use proptest::prelude::*;

/// 2026-11-18T11:06:40Z: 20 seconds before a minute ends.
const NOW: Timestamp = Timestamp::of_seconds(1_795_000_000);
/// 2026-12-01T00:00:00Z.
const DECEMBER_S: i64 = 1_796_083_200;

fn key(id: &str) -> AgentId {
    AgentId::parse(id).unwrap()
}

fn granted(verdict: Verdict) -> Option<(u64, u64, i64)> {
    match verdict {
        Verdict::Granted(Standing { limit, remaining, reset_unix_s }) => Some((limit, remaining, reset_unix_s)),
        Verdict::Exceeded { .. } => None,
    }
}

#[test]
fn a_minute_is_used_up_and_the_next_one_is_new() {
    let allowances = Allowances::in_memory();
    let take = |now| allowances.take(&key("a"), Some(2), None, now);
    let end = NOW.seconds() + 20;
    assert_eq!(granted(take(NOW)), Some((2, 1, end)));
    assert_eq!(granted(take(NOW)), Some((2, 0, end)));
    let standing = Standing { limit: 2, remaining: 0, reset_unix_s: end };
    assert_eq!(take(NOW), Verdict::Exceeded { standing, window: Window::Minute, retry_after_s: 20 });
    let last = NOW.plus_seconds(19);
    assert_eq!(take(last), Verdict::Exceeded { standing, window: Window::Minute, retry_after_s: 1 });
    assert_eq!(granted(take(NOW.plus_seconds(20))), Some((2, 1, end + 60)));
}

#[test]
fn a_month_survives_a_restart_and_ends_on_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let before = Allowances::open(dir.path()).unwrap();
    assert_eq!(granted(before.take(&key("a"), Some(10), Some(3), NOW)), Some((3, 2, DECEMBER_S)));
    assert_eq!(granted(before.take(&key("b"), Some(10), None, NOW)).unwrap().0, 10);
    before.flush().unwrap();
    let after = Allowances::open(dir.path()).unwrap();
    let take = |now| after.take(&key("a"), Some(10), Some(3), now);
    assert_eq!(granted(take(NOW)), Some((3, 1, DECEMBER_S)));
    assert_eq!(granted(take(NOW)), Some((3, 0, DECEMBER_S)));
    let Verdict::Exceeded { window, retry_after_s, .. } = take(NOW) else { panic!("a fourth of three") };
    assert_eq!((window, retry_after_s), (Window::Month, DECEMBER_S - NOW.seconds()));
    assert_eq!(granted(take(Timestamp::of_seconds(DECEMBER_S))).unwrap().1, 2);
}

#[test]
fn a_file_is_written_only_when_something_changed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("allowance.json");
    let allowances = Allowances::open(dir.path()).unwrap();
    allowances.flush().unwrap();
    assert!(!path.exists());
    let _ = allowances.take(&key("a"), None, Some(3), NOW);
    allowances.flush().unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"month\":\"2026-11\",\"counts\":{\"a\":1}}");
    std::fs::remove_file(&path).unwrap();
    allowances.flush().unwrap();
    assert!(!path.exists());
}

#[test]
fn a_flush_that_failed_is_made_up_for() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let allowances = Allowances::open(&data).unwrap();
    let _ = allowances.take(&key("a"), None, Some(3), NOW);
    std::fs::remove_dir(&data).unwrap();
    assert!(allowances.flush().is_err());
    std::fs::create_dir(&data).unwrap();
    allowances.flush().unwrap();
    assert!(data.join("allowance.json").exists());
}

#[test]
fn a_damaged_file_is_named_with_its_remedy() {
    let dir = tempfile::tempdir().unwrap();
    for bad in ["", "{}", "{\"month\":\"2026-13\",\"counts\":{}}", "{\"month\":\"2026-11\",\"counts\":{\"a\":-1}}"] {
        std::fs::write(dir.path().join("allowance.json"), bad).unwrap();
        let error = Allowances::open(dir.path()).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("allowance.json` is damaged: remove it"), "{bad}: {error}");
    }
}

#[test]
fn a_key_without_limits_is_told_a_large_number_and_kept_nowhere() {
    let allowances = Allowances::in_memory();
    assert_eq!(allowances.take(&key("demo"), None, None, NOW), Verdict::Granted(Standing::unmetered(NOW)));
    let counts = allowances.counts.lock();
    assert!(counts.in_minute.is_empty() && counts.in_month.is_empty());
}

#[test]
fn months_end_where_the_calendar_says() {
    for (within, end) in [
        ("2026-11-30T23:59:59Z", "2026-12-01T00:00:00Z"),
        ("2026-12-31T23:59:59.999Z", "2027-01-01T00:00:00Z"),
        ("2028-02-29T12:00:00Z", "2028-03-01T00:00:00Z"),
    ] {
        let month = Month::of(Timestamp::parse(within).unwrap());
        assert_eq!(month.end(), Timestamp::parse(end).unwrap().seconds());
        assert_eq!(Month::parse(&month.to_string()), Some(month));
    }
}

proptest! {
    /// Never more than the limit in any minute, and every refusal says when to come back.
    #[test]
    fn no_minute_passes_its_limit(limit in 0u32..5, steps in prop::collection::vec(0i64..40, 1..80)) {
        let allowances = Allowances::in_memory();
        let mut now = NOW;
        let mut passed: HashMap<i64, u32> = HashMap::new();
        for step in steps {
            now = now.plus_seconds(step);
            match allowances.take(&key("a"), Some(limit), None, now) {
                Verdict::Granted(_) => *passed.entry(now.seconds() / 60).or_default() += 1,
                Verdict::Exceeded { retry_after_s, .. } if limit > 0 => {
                    prop_assert!((1..=60).contains(&retry_after_s));
                    now = now.plus_seconds(retry_after_s);
                    prop_assert!(granted(allowances.take(&key("a"), Some(limit), None, now)).is_some());
                    *passed.entry(now.seconds() / 60).or_default() += 1;
                }
                Verdict::Exceeded { .. } => {}
            }
        }
        prop_assert!(passed.values().all(|calls| *calls <= limit));
    }
}
