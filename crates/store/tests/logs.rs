//! Logs: rotated within bounds, read from their end.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::disallowed_methods, missing_docs)]

use std::fs::{self, OpenOptions};
use std::io::Write;

use nap_store::rotate::{rotate_by_copy_truncate, rotate_by_rename, tail};
use nap_store::{Home, roles, space};

fn log() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("postgres.log");
    (dir, path)
}

#[test]
fn renaming_keeps_so_many_files() {
    let (dir, path) = log();
    assert!(!rotate_by_rename(&path, 3, 3).unwrap(), "there is no log yet");
    for text in ["one.", "two.", "three.", "four."] {
        fs::write(&path, text).unwrap();
        assert!(!rotate_by_rename(&path, 100, 3).unwrap());
        assert!(rotate_by_rename(&path, 3, 3).unwrap());
    }
    fs::write(&path, "now").unwrap();
    let read = |suffix: &str| fs::read_to_string(format!("{}{suffix}", path.display())).unwrap();
    assert_eq!([read(""), read(".1"), read(".2")], ["now", "four.", "three."]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
}

#[test]
fn a_writer_that_appends_goes_on_after_a_cut() {
    let (_dir, path) = log();
    let mut writer = OpenOptions::new().append(true).create(true).open(&path).unwrap();
    for round in 0..7 {
        writeln!(writer, "round {round}").unwrap();
        assert!(rotate_by_copy_truncate(&path, 3, 3).unwrap());
    }
    writeln!(writer, "last").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "last\n");
    assert_eq!(fs::read_to_string(path.with_extension("log.1")).unwrap(), "round 6\n");
    assert_eq!(fs::read_to_string(path.with_extension("log.2")).unwrap(), "round 5\n");
    assert!(!path.with_extension("log.3").exists());
}

#[test]
fn the_end_of_a_log_is_bounded_in_bytes_and_lines() {
    let (_dir, path) = log();
    assert_eq!(tail(&path, 100, 10).unwrap(), "");
    fs::write(&path, b"first\nsecond\nthird \xff\n").unwrap();
    assert_eq!(tail(&path, 100, 10).unwrap(), "first\nsecond\nthird \u{fffd}\n");
    assert_eq!(tail(&path, 100, 1).unwrap(), "third \u{fffd}\n");
    assert_eq!(tail(&path, 15, 10).unwrap(), "second\nthird \u{fffd}\n", "a first line that just fits");
    assert_eq!(tail(&path, 14, 10).unwrap(), "third \u{fffd}\n", "no half line");
    assert_eq!(tail(&path, 3, 10).unwrap(), " \u{fffd}\n", "but half a line rather than none");
    assert_eq!(tail(&path, 0, 10).unwrap(), "");
}

#[test]
fn a_bad_cache_of_roles_is_none() {
    let (dir, _) = log();
    let dir = Home::at(dir.path().to_owned()).branch(&"main".parse().unwrap());
    fs::create_dir_all(&dir.root).unwrap();
    assert_eq!(roles::load_access(&dir), None);
    for bad in ["", "{}", "{\"system_identifier\":"] {
        fs::write(dir.roles(), bad).unwrap();
        assert_eq!(roles::load_access(&dir), None, "{bad}");
    }
    let access = nap_model::access::AccessSnapshot {
        system_identifier: u64::MAX,
        checkpoint: nap_model::lsn::Lsn(5),
        roles: vec![],
        databases: vec![],
        superusers: Vec::new(),
        enabled_subscriptions: 0,
        memberships: Some(Vec::new()),
    };
    roles::save_access(&dir, &access).unwrap();
    assert_eq!(roles::load_access(&dir), Some(access));
}

#[test]
fn there_is_room_here() {
    let (dir, _) = log();
    let space = space::space(dir.path()).unwrap();
    assert!(space.free_bytes > 0 && space.free_bytes <= space.total_bytes && !space.read_only);
}
