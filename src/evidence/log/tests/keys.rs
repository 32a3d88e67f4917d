//! Keys of the log: made once, rotated with an overlap, retired.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn signers(data: &Data, now: Timestamp) -> usize {
    data.keys.signers(data.log().origin(), now).unwrap().len()
}

#[test]
fn the_first_start_makes_a_key_that_only_its_owner_reads() {
    let data = Data::new();
    let again = LogKeys::open(data.dir.path(), NOW).unwrap();
    assert_eq!(data.keys.list().unwrap(), again.list().unwrap());
    assert_eq!(data.keys.list().unwrap().len(), 1);
    let dir = data.dir.path().join("log-keys");
    data.grow(1);
    for file in all_files(&dir) {
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
    }
    let list = std::fs::read_to_string(dir.join("keys.json")).unwrap();
    assert!(!list.contains("PRIVATE"), "{list}");
}

#[test]
fn during_the_overlap_both_keys_sign() {
    let data = Data::new();
    let first = data.keys.list().unwrap().remove(0).verifier(data.log().origin()).unwrap();
    let mut log = data.open().unwrap();
    assert_eq!(grow(&mut log, 1).unwrap().signers(), std::slice::from_ref(&first));
    let second = data.keys.rotate(60, NOW).unwrap().verifier(data.log().origin()).unwrap();
    log.renew_keys(NOW.plus_seconds(59)).unwrap();
    // The same tree, signed by both.
    assert_eq!(log.publish().unwrap().signers(), [first.clone(), second.clone()]);
    let old_verifier = Trusted::new(vec![first]).unwrap();
    assert!(LogReader::new(data.log(), old_verifier.clone()).tree().unwrap().is_some());
    log.renew_keys(NOW.plus_seconds(60)).unwrap();
    assert_eq!(grow(&mut log, 2).unwrap().signers(), [second]);
    assert!(LogReader::new(data.log(), old_verifier).tree().is_err());
}

#[test]
fn a_retired_key_signs_no_more_and_what_it_signed_stays_good() {
    let data = Data::new();
    data.grow(3);
    let first = data.keys.list().unwrap().remove(0).fingerprint();
    assert!(matches!(data.keys.retire(&first, NOW), Err(LogError::OnlyKey(_))));
    assert!(matches!(data.keys.retire("0000", NOW), Err(LogError::NoSuchKey(_))));
    data.keys.rotate(3600, NOW).unwrap();
    assert_eq!(signers(&data, NOW), 2);
    data.keys.retire(&first, NOW).unwrap();
    assert_eq!(signers(&data, NOW), 1);
    assert!(!data.dir.path().join(format!("log-keys/{first}.pem")).exists());
    // The checkpoint is still that of the first key alone.
    assert_eq!(data.open().unwrap().size(), 3);
    assert_eq!(data.grow(4).signers().len(), 1);
}

#[test]
fn rotations_are_bounded_and_clean_up() {
    let data = Data::new();
    for _ in 0..3 {
        data.keys.rotate(60, NOW).unwrap();
    }
    assert!(matches!(data.keys.rotate(60, NOW), Err(LogError::TooManyKeys(4))));
    data.keys.rotate(60, NOW.plus_seconds(60)).unwrap();
    let pems = all_files(&data.dir.path().join("log-keys")).into_iter();
    assert_eq!(pems.filter(|path| path.extension().is_some_and(|e| e == "pem")).count(), 2);
    assert_eq!(data.keys.list().unwrap().len(), 5);
}

#[test]
fn damaged_keys_are_named_and_never_made_anew() {
    let data = Data::new();
    let list = data.dir.path().join("log-keys/keys.json");
    let key = data.keys.list().unwrap().remove(0);
    let pem = data.dir.path().join(format!("log-keys/{}.pem", key.fingerprint()));
    let good = std::fs::read_to_string(&list).unwrap();
    for bad in ["", "{}", "{\"keys\":[]}", "no json"] {
        std::fs::write(&list, bad).unwrap();
        assert!(matches!(LogKeys::open(data.dir.path(), NOW), Err(LogError::Damaged(_))), "{bad}");
    }
    std::fs::write(&list, good).unwrap();
    std::fs::write(&pem, "no key").unwrap();
    assert!(matches!(data.open(), Err(LogError::Damaged(path)) if path == pem));
    std::fs::remove_file(&pem).unwrap();
    assert!(matches!(data.open(), Err(LogError::Missing(path)) if path == pem));
}

#[test]
fn the_logs_that_our_keys_signed_are_told_and_no_other() {
    let data = Data::new();
    let told = |keys: &LogKeys| published(data.dir.path(), keys);
    assert_eq!(told(&data.keys).unwrap(), []);
    let earlier = LogDir::of(data.dir.path(), NAME, YEAR - 1).unwrap();
    let earlier = grow(&mut Appender::open(earlier, &data.keys, NOW).unwrap(), 3).unwrap();
    let this = data.grow(5);
    // Begun, and without a checkpoint yet; and what is no year.
    std::fs::create_dir(data.dir.path().join("log/2027")).unwrap();
    std::fs::create_dir(data.dir.path().join("log/lost+found")).unwrap();
    assert_eq!(told(&data.keys).unwrap(), [earlier, this]);
    let error = told(&Data::new().keys).unwrap_err();
    assert!(matches!(error, LogError::Checkpoint { .. }), "{error}");
}

#[test]
fn a_place_without_keys_is_told_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(LogKeys::existing(dir.path()), Err(LogError::NoKeys(_))));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    LogKeys::open(dir.path(), NOW).unwrap();
    assert_eq!(LogKeys::existing(dir.path()).unwrap().list().unwrap().len(), 1);
}
