//! Damage, restored backups, and tiles that are made anew. What was signed is not taken back.

use super::*;

/// Copies a directory to where nothing is.
fn copy(from: &Path, to: &Path) {
    for path in all_files(from) {
        let copy = to.join(path.strip_prefix(from).unwrap());
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(&path, copy).unwrap();
    }
}

#[test]
fn a_lost_or_damaged_tile_is_named() {
    for (tile, damage) in [
        ("tile/0/001.p/44", None),
        ("tile/1/000.p/1", None),
        ("tile/entries/001.p/44", None),
        ("tile/0/001.p/44", Some("short")),
        ("tile/entries/001.p/44", Some("short")),
    ] {
        let data = Data::new();
        data.grow(300);
        let path = data.root().join(tile);
        match damage {
            None => std::fs::remove_file(&path).unwrap(),
            Some(text) => std::fs::write(&path, text).unwrap(),
        }
        match data.open().err() {
            Some(LogError::Missing(found)) => assert_eq!((found, damage), (path, None)),
            Some(LogError::Damaged(found)) => assert_eq!((found, damage), (path, Some("short"))),
            other => panic!("{tile}: {other:?}"),
        }
    }
}

#[test]
fn a_flipped_bit_is_found() {
    let data = Data::new();
    data.grow(300);
    for tile in ["tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/001.p/44"] {
        let path = data.root().join(tile);
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[20] ^= 1;
        std::fs::write(&path, bad).unwrap();
        assert!(matches!(data.open(), Err(LogError::Damaged(_))), "{tile}");
        std::fs::write(&path, good).unwrap();
    }
    // A full tile is not read at a start: who proves from it finds out.
    let path = data.root().join("tile/entries/000");
    let mut bad = std::fs::read(&path).unwrap();
    bad[20] ^= 1;
    std::fs::write(&path, bad).unwrap();
    let reader = data.reader();
    assert!(matches!(reader.tree().unwrap().unwrap().proof(1), Err(LogError::Damaged(_))));
}

#[test]
fn a_rebuild_makes_the_same_bytes() {
    let data = Data::new();
    let mut log = data.open().unwrap();
    grow(&mut log, 300).unwrap();
    let checkpoint = grow(&mut log, 600).unwrap();
    drop(log);
    let expected: Vec<_> = tiles(600).map(|tile| (tile, data.tiles()[&tile].clone())).collect();
    std::fs::remove_dir_all(data.root()).unwrap();
    assert!(matches!(data.open(), Err(LogError::Missing(_))));
    let mut log = data.rebuild((0..605).map(leaf)).unwrap();
    assert_eq!((log.size(), log.published()), (605, Some(&checkpoint)));
    assert_eq!(data.tiles(), expected.into_iter().collect());
    let note = std::fs::read_to_string(data.root().join("checkpoint")).unwrap();
    assert_eq!(note, checkpoint.note().to_string());
    grow(&mut log, 610).unwrap();
    let reader = data.reader();
    assert!(reader.tree().unwrap().unwrap().proof(604).unwrap().is_some());
}

#[test]
fn a_shorter_or_another_log_is_not_signed_and_replaces_nothing() {
    let data = Data::new();
    let checkpoint = data.grow(300);
    let tiles = data.tiles();
    let shrunk = data.rebuild((0..299).map(leaf));
    assert!(matches!(shrunk, Err(LogError::Shrunk { signed: 300, found: 299 })));
    drop(shrunk);
    let other = data.rebuild((0..400).map(|n| leaf(n / 299)));
    assert!(matches!(other, Err(LogError::Diverged { size: 300, .. })));
    drop(other);
    assert_eq!(data.tiles().into_keys().filter(|tile| tiles.contains_key(tile)).count(), tiles.len());
    assert_eq!(data.open().unwrap().published(), Some(&checkpoint));
}

#[test]
fn a_log_that_was_set_back_is_not_signed() {
    let data = Data::new();
    data.grow(300);
    let backup = tempfile::tempdir().unwrap();
    copy(&data.root(), backup.path());
    data.grow(500);
    std::fs::remove_dir_all(data.root()).unwrap();
    copy(backup.path(), &data.root());
    assert!(matches!(data.open(), Err(LogError::Missing(_))));
    assert!(matches!(data.rebuild((0..300).map(leaf)), Err(LogError::Shrunk { signed: 500, found: 300 })));
    // With the store that was not set back it goes on.
    assert_eq!(data.rebuild((0..500).map(leaf)).unwrap().publish().unwrap().size(), 500);
}

#[test]
fn keys_that_were_set_back_learn_of_what_is_shown() {
    let data = Data::new();
    let signed = data.dir.path().join(format!("log-keys/signed-{YEAR}"));
    data.grow(3);
    let old = std::fs::read(&signed).unwrap();
    let shown = data.grow(5);
    std::fs::write(&signed, &old).unwrap();
    let mut log = data.open().unwrap();
    assert_eq!(log.published(), Some(&shown));
    assert_eq!(std::fs::read_to_string(&signed).unwrap(), shown.note().to_string());
    // While it is open, nothing may change under it.
    std::fs::write(&signed, &old).unwrap();
    assert!(matches!(grow(&mut log, 7), Err(LogError::Changed)));
}

#[test]
fn two_logs_of_one_size_are_a_fork() {
    let data = Data::new();
    data.grow(3);
    let signed = data.dir.path().join(format!("log-keys/signed-{YEAR}"));
    std::fs::remove_file(&signed).unwrap();
    std::fs::rename(data.root(), data.dir.path().join("aside")).unwrap();
    let mut other = data.open().unwrap();
    (0..3).for_each(|_| other.append(b"another").unwrap());
    other.publish().unwrap();
    drop(other);
    std::fs::copy(data.dir.path().join("aside/checkpoint"), data.root().join("checkpoint")).unwrap();
    assert!(matches!(data.open(), Err(LogError::Changed)));
}

#[test]
fn a_checkpoint_of_a_strange_key_is_not_believed() {
    let (ours, theirs) = (Data::new(), Data::new());
    ours.grow(3);
    theirs.grow(3);
    std::fs::copy(theirs.root().join("checkpoint"), ours.root().join("checkpoint")).unwrap();
    assert!(matches!(ours.open(), Err(LogError::Checkpoint { .. })));
    assert!(matches!(ours.reader().tree(), Err(LogError::Checkpoint { .. })));
}

#[test]
fn a_held_log_is_not_continued_and_another_is() {
    let data = Data::new();
    let checkpoint = data.grow(3);
    let held = data.keys.hold(YEAR, Some(checkpoint.note())).unwrap();
    let error = data.open().map(drop).unwrap_err();
    assert!(matches!(error, LogError::Held { .. }), "{error}");
    assert!(matches!(data.rebuild((0..5).map(leaf)).map(drop), Err(LogError::Held { .. })));
    // Aside with it, as the documents say: a log of this name is still not begun, one of another is.
    let (root, signed) = (data.root(), data.dir.path().join(format!("log-keys/signed-{YEAR}")));
    std::fs::rename(&root, data.dir.path().join("aside")).unwrap();
    std::fs::rename(&signed, data.dir.path().join("aside-signed")).unwrap();
    assert!(matches!(data.open().map(drop), Err(LogError::Held { .. })));
    let other = LogDir::of(data.dir.path(), "evidence.shop.example/permyx/b", YEAR).unwrap();
    assert_eq!(grow(&mut Appender::open(other, &data.keys, NOW).unwrap(), 5).unwrap().size(), 5);
    std::fs::remove_dir_all(&root).unwrap();
    std::fs::rename(data.dir.path().join("aside"), &root).unwrap();
    std::fs::rename(data.dir.path().join("aside-signed"), &signed).unwrap();
    std::fs::remove_file(&held).unwrap();
    assert_eq!(data.grow(5).size(), 5);
    data.keys.hold(YEAR, None).unwrap();
    assert!(matches!(data.open().map(drop), Err(LogError::Held { .. })));
    data.keys.let_go(YEAR).unwrap();
    assert_eq!(data.grow(7).size(), 7);
}
