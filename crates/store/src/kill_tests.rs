//! Kills a process of its own at every step, and looks at what is left.
#![allow(clippy::disallowed_methods)]

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use nap_model::access::AccessSnapshot;
use nap_model::lsn::Lsn;

use crate::fault::{self, DIE_AT};
use crate::fixture::{
    KEPT, MAJOR, count, fill_cluster, home_with_template, id, in_tablespace, make_tablespace, name, no_fill,
};
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
        "remove" => store.remove(&name("old"), false).map(drop),
        "remove parent" => store.remove(&name("main"), true).map(drop),
        "reset" => {
            let mut draft = store.draft_again(&name("old"))?;
            draft.clone_asleep()?;
            store.replace(draft, None).map(drop)
        }
        "reset and keep" => {
            let mut draft = store.draft_again(&name("old"))?;
            draft.clone_asleep()?;
            store.replace(draft, Some((name("before"), id(7)))).map(drop)
        }
        "rename" => store.rename(&name("main"), &name("trunk")).map(drop),
        "snapshot" => store.draft_snapshot(&name("main"), &"kept".parse().unwrap()).and_then(|mut draft| {
            draft.clone_asleep()?;
            store.keep_snapshot(draft, "kept".parse().unwrap()).map(drop)
        }),
        "forget snapshot" => store.remove_snapshot(&name("main"), &"kept".parse().unwrap()),
        "branch from snapshot" => store.draft(&name("main"), &name("new"), id(9)).and_then(|mut draft| {
            draft.clone_snapshot(&"kept".parse().unwrap())?;
            store.publish(draft).map(drop)
        }),
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
        let made = store.create_root(&name(branch), id(number), MAJOR, no_fill).unwrap();
        make_tablespace(&made.branch.dir, branch.as_bytes());
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
            assert!(deed == "create" || tablespace_of(&store, "new") == "main", "{deed} at {place}");
        }
        let (_root, store) = after(deed, "published");
        assert_whole(&store, "new");
        assert!(deed == "create" || tablespace_of(&store, "new") == "main", "{deed}");
        assert!(matches!(run(&store, deed), Err(StoreError::Exists(_))));
    }
}

/// The tests of this file, in a process of their own whose temporary files lie there.
#[test]
fn nothing_is_half_made_on_btrfs() {
    let Some(disk) = nap_testkit::Disk::btrfs(512) else { return };
    let tests = Command::new(std::env::current_exe().unwrap())
        .args(["kill_tests::a_", "--test-threads", "1"])
        .env("TMPDIR", disk.path())
        .env_remove(DIE_AT)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&tests.stdout);
    assert!(tests.status.success() && !told.contains("running 0 tests"), "{told}");
    let list = Command::new("btrfs").args(["subvolume", "list"]).arg(disk.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&list.stdout), "");
}

/// What is in staging then is all of its parent, even its record.
#[test]
fn a_raw_snapshot_is_swept() {
    let Some(disk) = nap_testkit::Disk::btrfs(512) else { return };
    for deed in ["clone", "reset", "reset and keep"] {
        let root = tempfile::tempdir_in(disk.path()).unwrap();
        drop(with_changed_child(root.path()));
        die(root.path(), deed, "snapshot taken");
        let store = Store::open(Home::at(root.path().to_owned())).unwrap();
        store.empty_trash().unwrap();
        assert_eq!((count(&store.home().staging()), count(&store.home().trash())), (0, 0), "{deed}");
        assert_eq!(store.branches().unwrap().whole.len(), 2, "{deed}");
        assert!(has_its_own(&store, "old"), "{deed}");
        run(&store, deed).unwrap();
        assert_whole(&store, "main");
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

    store.discard(&store.remove(&name("new"), false).unwrap().1);
    let other = store.clone();
    fault::meanwhile("synced", move || drop(other.remove(&name("main"), false).unwrap()));
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
fn a_parent_that_goes_leaves_its_children_whole() {
    let root = tempfile::tempdir().unwrap();
    let store = home_with_template(root.path());
    store.create_root(&name("old"), id(1), MAJOR, no_fill).unwrap();
    store.clone_branch(&name("old"), &name("main"), id(2)).unwrap();
    for (child, number) in [("a", 3), ("b", 4)] {
        store.clone_branch(&name("main"), &name(child), id(number)).unwrap();
    }
    drop(store);
    for place in ["a child was kept", "written", "thrown away"] {
        die(root.path(), "remove parent", place);
        let store = Store::open(Home::at(root.path().to_owned())).unwrap();
        for child in ["a", "b"] {
            assert_whole(&store, child);
            let parent = store.branch(&name(child)).unwrap().record.parent.unwrap();
            assert!(store.branch(&parent).is_ok(), "{child} at {place}: {parent}");
        }
    }
    let store = Store::open(Home::at(root.path().to_owned())).unwrap();
    assert!(store.branch(&name("main")).is_err());
    assert_eq!(store.children(&name("old")).unwrap(), [name("a"), name("b")]);
}

/// `main`, and `old`, its child, which has something of its own.
fn with_changed_child(root: &Path) -> Store {
    let store = home_with_template(root);
    let main = store.create_root(&name("main"), id(1), MAJOR, no_fill).unwrap().branch.dir;
    make_tablespace(&main, b"main");
    let old = store.clone_branch(&name("main"), &name("old"), id(2)).unwrap().branch.dir;
    std::fs::write(old.tablespaces().join(crate::fixture::IN_TABLESPACE), "old").unwrap();
    // As their servers have left them.
    for dir in [main, old] {
        crate::tablespaces::make_absolute(&dir).unwrap();
    }
    std::fs::write(store.home().branch(&name("old")).data().join("own"), "its own").unwrap();
    store
}

/// What is in its tablespace, which is nobody else's.
#[track_caller]
fn tablespace_of(store: &Store, branch: &str) -> String {
    String::from_utf8(in_tablespace(&store.branch(&name(branch)).unwrap().dir)).unwrap()
}

fn has_its_own(store: &Store, branch: &str) -> bool {
    store.branch(&name(branch)).unwrap().dir.data().join("own").exists()
}

#[test]
fn a_killed_reset_leaves_the_old_state_or_the_new_one() {
    for deed in ["reset", "reset and keep"] {
        let keeps = deed == "reset and keep";
        for place in [
            "data cloned",
            "cloned",
            "filled",
            "recorded",
            "synced",
            "to be kept",
            "link replaced",
            "relinked",
            "exchanged",
            "kept",
            "published",
        ] {
            if !keeps && matches!(place, "to be kept" | "kept" | "published") {
                continue;
            }
            let root = tempfile::tempdir().unwrap();
            drop(with_changed_child(root.path()));
            die(root.path(), deed, place);
            let store = Store::open(Home::at(root.path().to_owned())).unwrap();
            store.empty_trash().unwrap();
            assert_eq!(count(&store.home().staging()), 0, "{deed} at {place}");
            let branches = store.branches().unwrap();
            assert!(branches.broken.is_empty(), "{deed} at {place}: {:?}", branches.broken);
            assert_whole(&store, "old");
            let is_done = matches!(place, "exchanged" | "kept" | "published");
            assert_eq!(has_its_own(&store, "old"), !is_done, "{deed} at {place}");
            let tablespaces = ["main", "old"].map(|branch| tablespace_of(&store, branch));
            assert_eq!(tablespaces, ["main", if is_done { "main" } else { "old" }], "{deed} at {place}");
            let kept = store.branch(&name("before")).is_ok();
            assert_eq!(kept, is_done && keeps, "{deed} at {place}");
            if kept {
                assert!(has_its_own(&store, "before"));
                assert_eq!(tablespace_of(&store, "before"), "old", "{deed} at {place}");
                assert_eq!(store.branch(&name("before")).unwrap().record.id, id(7));
            }
            if !is_done {
                run(&store, deed).unwrap();
                assert!(!has_its_own(&store, "old"), "{deed} again after {place}");
            }
        }
    }
}

#[test]
fn a_state_is_kept_only_under_a_free_name() {
    let root = tempfile::tempdir().unwrap();
    let store = with_changed_child(root.path());
    store.create_root(&name("before"), id(9), MAJOR, no_fill).unwrap();
    assert!(matches!(run(&store, "reset and keep"), Err(StoreError::Exists(_))));
    assert!(has_its_own(&store, "old"));
    assert_eq!(count(&store.home().staging()), 0);
    let mut root_draft = store.draft_again(&name("main"));
    assert!(matches!(root_draft.as_mut().err(), Some(StoreError::NoParent(_))));
}

/// Somebody takes the name between the look at it and the end: whatever fails there, a full disk say, ends like this.
#[test]
fn a_state_that_cannot_be_kept_is_put_back() {
    let root = tempfile::tempdir().unwrap();
    let store = with_changed_child(root.path());
    store.clone_branch(&name("old"), &name("grandchild"), id(3)).unwrap();
    let before = store.branch(&name("old")).unwrap().record;
    let taken = store.home().branch(&name("before")).root;
    fault::meanwhile("exchanged", move || std::fs::create_dir(taken).unwrap());
    assert!(run(&store, "reset and keep").is_err());
    std::fs::remove_dir(store.home().branch(&name("before")).root).unwrap();
    assert!(has_its_own(&store, "old"));
    assert_eq!(store.branch(&name("old")).unwrap().record, before);
    assert_eq!(store.children(&name("old")).unwrap(), [name("grandchild")]);
    assert_eq!(count(&store.home().staging()), 0);
    assert!(store.branches().unwrap().broken.is_empty());
    run(&store, "reset and keep").unwrap();
    assert_eq!(store.children(&name("before")).unwrap(), [name("grandchild")]);
}

#[test]
fn a_killed_renaming_is_done_or_not() {
    for place in
        ["link replaced", "relinked", "written", "to be renamed", "taken away", "followed", "kept", "published"]
    {
        let root = tempfile::tempdir().unwrap();
        drop(with_changed_child(root.path()));
        die(root.path(), "rename", place);
        let store = Store::open(Home::at(root.path().to_owned())).unwrap();
        assert_eq!(count(&store.home().staging()), 0, "{place}");
        let branches = store.branches().unwrap();
        assert!(branches.broken.is_empty(), "{place}: {:?}", branches.broken);
        let is_done = !matches!(place, "link replaced" | "relinked" | "written" | "to be renamed");
        let (now, never) = if is_done { ("trunk", "main") } else { ("main", "trunk") };
        assert_whole(&store, now);
        assert_eq!([now, "old"].map(|branch| tablespace_of(&store, branch)), ["main", "old"], "{place}");
        assert_eq!(store.branch(&name(now)).unwrap().record.id, id(1), "{place}");
        assert!(store.branch(&name(never)).is_err(), "{place}");
        assert_eq!(store.children(&name(now)).unwrap(), [name("old")], "{place}");
        if !is_done {
            run(&store, "rename").unwrap();
            assert_eq!(store.children(&name("trunk")).unwrap(), [name("old")], "again after {place}");
        }
    }
}

#[test]
fn a_killed_snapshot_is_whole_or_not_there() {
    let named = |store: &Store| store.history(&name("main")).unwrap().snapshots.len();
    for place in ["staged", "cloning", "cloned", "synced", "published"] {
        let (_root, store) = after("snapshot", place);
        assert_eq!(named(&store), usize::from(place == "published"), "{place}");
        if place != "published" {
            run(&store, "snapshot").unwrap();
        }
        run(&store, "branch from snapshot").unwrap();
        assert_whole(&store, "new");
        assert_eq!(tablespace_of(&store, "new"), "main", "{place}");
        assert!(matches!(run(&store, "snapshot"), Err(StoreError::SnapshotExists { .. })));
        let root = store.home().root().to_owned();
        drop(store);
        die(&root, "forget snapshot", "thrown away");
        let store = Store::open(Home::at(root)).unwrap();
        assert_eq!((named(&store), store.empty_trash().unwrap()), (0, 1), "{place}");
        let mut draft = store.draft(&name("main"), &name("newer"), id(8)).unwrap();
        let gone = draft.clone_snapshot(&"kept".parse().unwrap());
        assert!(matches!(gone, Err(StoreError::NoSuchSnapshot { .. })), "{place}: {gone:?}");
    }
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
    assert_eq!(count(&dir.root), 6, "branch.toml, data, discarded, log, roles, tablespaces");
}

#[test]
fn a_home_killed_while_it_is_made_can_be_made_again() {
    let root = tempfile::tempdir().unwrap();
    die(root.path(), "make home", "written");
    assert_eq!(count(root.path()), 1, "only the temporary file");
    make_home(&Home::at(root.path().to_owned())).unwrap();
    Store::open(Home::at(root.path().to_owned())).unwrap();
}
