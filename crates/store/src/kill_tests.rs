//! Kills a process of its own at every step, and looks at what is left.
#![allow(clippy::disallowed_methods)]

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use nap_model::access::AccessSnapshot;
use nap_model::lsn::Lsn;

use crate::fault::{self, DIE_AT};
use crate::fixture::{KEPT, MAJOR, count, fill_cluster, home_with_template, id, name, no_fill};
use crate::home::Home;
use crate::roles::{load_access, save_access};
use crate::store::Store;
use crate::{StoreError, make_home};

const HOME: &str = "NAP_STORE_TEST_HOME";
const DEED: &str = "NAP_STORE_TEST_DEED";

fn access(number: u64) -> AccessSnapshot {
    AccessSnapshot {
        system_identifier: number,
        checkpoint: Lsn(1),
        roles: vec![],
        databases: vec![],
        superusers: vec![],
        enabled_subscriptions: 0,
        memberships: Some(Vec::new()),
    }
}

fn run(store: &Store, deed: &str) -> Result<(), StoreError> {
    match deed {
        "create" => store.create_root(&name("new"), id(9), MAJOR, no_fill).map(drop),
        "clone" => store.clone_branch(&name("main"), &name("new"), id(9)).map(drop),
        "remove" => store.remove(&name("old")),
        "template" => store.make_template(nap_model::ids::Major(18), fill_cluster).map(drop),
        "roles" => save_access(&store.home().branch(&name("main")), &access(2)),
        other => panic!("{other}"),
    }
}

/// The process that is killed, when one of the tests below runs it; else there is nothing to do.
#[test]
fn child() {
    let Some(root) = std::env::var_os(HOME) else { return };
    let home = Home::at(PathBuf::from(root));
    if std::env::var(DEED).unwrap() == "make home" {
        return make_home(&home).unwrap();
    }
    run(&Store::open(home).unwrap(), &std::env::var(DEED).unwrap()).unwrap();
}

fn die(root: &Path, deed: &str, place: &str) {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill_tests::child"])
        .env(HOME, root)
        .env(DEED, deed)
        .env(DIE_AT, place)
        .output()
        .unwrap()
        .status;
    assert_eq!(status.signal(), Some(9), "{deed} came to {place}: {status}");
}

/// A home with `main` and `old`, in which a process died at this place.
fn after(deed: &str, place: &str) -> (tempfile::TempDir, Store) {
    let root = tempfile::tempdir().unwrap();
    let store = home_with_template(root.path());
    for (branch, number) in [("main", 1), ("old", 2)] {
        store.create_root(&name(branch), id(number), MAJOR, no_fill).unwrap();
    }
    save_access(&store.home().branch(&name("main")), &access(1)).unwrap();
    drop(store);
    die(root.path(), deed, place);
    let store = Store::open(Home::at(root.path().to_owned())).unwrap();
    store.empty_trash().unwrap();
    assert_eq!(count(&store.home().staging()), 0, "{deed} at {place}: staging is swept");
    assert_eq!(count(&store.home().trash()), 0, "{deed} at {place}: the trash is emptied");
    assert!(store.branches().unwrap().broken.is_empty(), "{deed} at {place}: nothing half-made shows");
    (root, store)
}

fn assert_whole(store: &Store, branch: &str) {
    let branch = store.branch(&name(branch)).unwrap();
    for file in KEPT {
        let template = std::fs::read(store.home().template(MAJOR).join(file)).unwrap();
        assert_eq!(std::fs::read(branch.dir.data().join(file)).unwrap(), template, "{file}");
    }
}

#[test]
fn a_killed_creation_leaves_a_whole_branch_or_none() {
    for deed in ["create", "clone"] {
        for place in ["staged", "cloning", "cloned", "filled", "written", "recorded", "synced"] {
            let (_root, store) = after(deed, place);
            assert!(matches!(store.branch(&name("new")), Err(StoreError::NoSuchBranch { .. })), "{deed} at {place}");
            run(&store, deed).unwrap();
            assert_whole(&store, "new");
        }
        let (_root, store) = after(deed, "published");
        assert_whole(&store, "new");
        assert!(matches!(run(&store, deed), Err(StoreError::Exists(_))));
    }
}

#[test]
fn what_changed_during_a_clone_is_seen_at_its_end() {
    let root = tempfile::tempdir().unwrap();
    let store = Arc::new(home_with_template(root.path()));
    store.create_root(&name("main"), id(1), MAJOR, no_fill).unwrap();

    let other = store.clone();
    fault::meanwhile("synced", move || drop(other.create_root(&name("new"), id(2), MAJOR, no_fill).unwrap()));
    assert!(matches!(run(&store, "clone"), Err(StoreError::Exists(_))));

    store.remove(&name("new")).unwrap();
    let other = store.clone();
    fault::meanwhile("synced", move || other.remove(&name("main")).unwrap());
    let error = run(&store, "clone").unwrap_err();
    assert_eq!(error.to_string(), "there is no branch \"main\"");
    assert!(store.branches().unwrap().whole.is_empty());
    assert_eq!(count(&store.home().staging()), 0);
}

#[test]
fn a_killed_removal_leaves_no_half_branch() {
    let (_root, store) = after("remove", "thrown away");
    assert!(matches!(store.branch(&name("old")), Err(StoreError::NoSuchBranch { .. })));
    assert_whole(&store, "main");
}

#[test]
fn a_killed_template_is_made_again() {
    for place in ["filled", "synced"] {
        let (_root, store) = after("template", place);
        assert_eq!(store.template(nap_model::ids::Major(18)), None, "{place}");
        run(&store, "template").unwrap();
    }
    let (_root, store) = after("template", "published");
    assert!(store.template(nap_model::ids::Major(18)).is_some());
}

#[test]
fn a_killed_replacement_leaves_the_old_file_and_no_litter() {
    let (_root, store) = after("roles", "written");
    let dir = store.home().branch(&name("main"));
    assert_eq!(load_access(&dir), Some(access(1)));
    assert_eq!(count(&dir.root), 4, "branch.toml, data, log, roles");
}

#[test]
fn a_home_killed_while_it_is_made_can_be_made_again() {
    let root = tempfile::tempdir().unwrap();
    die(root.path(), "make home", "written");
    assert_eq!(count(root.path()), 1, "only the temporary file");
    make_home(&Home::at(root.path().to_owned())).unwrap();
    Store::open(Home::at(root.path().to_owned())).unwrap();
}
