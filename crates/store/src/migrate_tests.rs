//! A home of a former layout, made by hand, and two steps that bring it on. Killed at every place between.
#![allow(clippy::disallowed_methods)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::create::{read_format_up_to, write_format};
use crate::durable;
use crate::error::StoreError;
use crate::fault::DIE_AT;
use crate::fixture::{KEPT, MAJOR, home_with_template, id, name, no_fill};
use crate::home::Home;
use crate::migrate::{Step, migrate_by};

/// A layout in which `sleep_after` is called `nap_after`, and then one in which each branch has a file `mark`.
const STEPS: &[Step] = &[
    Step { from: 1, what: "nap_after becomes sleep_after", run: rename_setting },
    Step { from: 2, what: "every branch has a mark", run: mark_branches },
];
const CURRENT: u32 = 3;

fn rename_setting(home: &Home) -> Result<(), StoreError> {
    let text = fs::read_to_string(home.nap_toml()).unwrap().replace("nap_after", "sleep_after");
    durable::write_atomic(&home.nap_toml(), text.as_bytes(), 0o644).map_err(|e| StoreError::io("w", home.root(), e))
}

fn mark_branches(home: &Home) -> Result<(), StoreError> {
    for entry in fs::read_dir(home.branches_dir()).unwrap() {
        let mark = entry.unwrap().path().join("mark");
        durable::write_atomic(&mark, b"3", 0o600).map_err(|e| StoreError::io("w", home.root(), e))?;
    }
    Ok(())
}

const SETTINGS: &str = "# mine\nnap_after = \"5min\"\n";

fn former(root: &Path) -> Home {
    let store = home_with_template(root);
    store.create_root(&name("main"), id(1), MAJOR, no_fill).unwrap();
    let home = store.home().clone();
    fs::write(home.nap_toml(), SETTINGS).unwrap();
    fs::write(home.password_file("alice"), "secret\n").unwrap();
    fs::set_permissions(home.password_file("alice"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(home.root().join("large"), vec![0; 2 << 20]).unwrap();
    write_format(&home, 1).unwrap();
    home
}

/// It is of today's layout, its data is as it was, and the copy holds what was there before the first step.
fn assert_migrated(home: &Home) {
    assert_eq!(read_format_up_to(home, CURRENT).unwrap(), Some(CURRENT));
    assert_eq!(fs::read_to_string(home.nap_toml()).unwrap(), SETTINGS.replace("nap_after", "sleep_after"));
    let branch = home.branch(&name("main"));
    assert_eq!(fs::read(branch.root.join("mark")).unwrap(), b"3");
    for file in KEPT {
        assert!(branch.data().join(file).is_file(), "{file}");
    }
    let copy = Home::at(home.backup(1));
    assert_eq!(fs::read_to_string(copy.nap_toml()).unwrap(), SETTINGS);
    assert_eq!(read_format_up_to(&copy, 1).unwrap(), Some(1));
    assert_eq!(fs::read_to_string(copy.password_file("alice")).unwrap(), "secret\n");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(copy.root()), mode(&copy.password_file("alice"))), (0o700, 0o600), "it holds passwords");
    let branch = copy.branch(&name("main"));
    assert!(branch.record().is_file() && !branch.data().exists() && !branch.root.join("mark").exists());
    assert!(!copy.root().join("large").exists());
}

#[test]
fn an_older_home_is_migrated_after_a_copy() {
    let root = tempfile::tempdir().unwrap();
    let home = former(root.path());
    migrate_by(&home, STEPS, CURRENT).unwrap();
    assert_migrated(&home);
    // Once more: nothing is to be done, and the copy stays what it is.
    migrate_by(&home, STEPS, CURRENT).unwrap();
    assert_migrated(&home);
}

#[test]
fn a_migration_that_was_killed_is_finished_by_the_next_start() {
    // "written" comes with the first small file of the copy, "published" when the copy shows.
    for place in ["written", "synced", "published", "stepped", "numbered"] {
        let root = tempfile::tempdir().unwrap();
        let home = former(root.path());
        let mut kills = 0;
        // Again and again, until it comes through: after a kill the next run may die at the same place of the next step.
        while die(root.path(), place) {
            kills += 1;
            let format = read_format_up_to(&home, CURRENT).unwrap();
            assert!(home.backup(1).is_dir() || format == Some(1), "{place}: no step without a copy");
            assert!(kills < 4, "{place}: it does not come on");
            // Those that die while they write never come on by themselves.
            if ["written", "synced", "stepped"].contains(&place) {
                break;
            }
        }
        assert!(kills > 0, "{place}");
        migrate_by(&home, STEPS, CURRENT).unwrap();
        assert_migrated(&home);
    }
}

#[test]
fn a_layout_from_which_no_step_leads_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let home = former(root.path());
    let error = migrate_by(&home, &STEPS[1..], CURRENT).unwrap_err();
    assert!(matches!(error, StoreError::FormatTooOld(_)), "{error}");
    assert!(!home.backup(1).exists());
    assert_eq!(fs::read_to_string(home.nap_toml()).unwrap(), SETTINGS);
}

const HOME: &str = "NAP_STORE_TEST_HOME";

/// The process that is killed, when the test above runs it; else there is nothing to do.
#[test]
fn child() {
    let Some(root) = std::env::var_os(HOME) else { return };
    migrate_by(&Home::at(root.into()), STEPS, CURRENT).unwrap();
}

/// Whether it died there; else it came through.
fn die(root: &Path, place: &str) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", "migrate_tests::child"]).env(HOME, root).env(DIE_AT, place).output().unwrap();
    std::os::unix::process::ExitStatusExt::signal(&output.status) == Some(9)
}
