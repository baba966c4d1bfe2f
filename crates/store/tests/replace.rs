//! Another state in a branch's place: what is known of it, and that all of it happens or nothing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::disallowed_methods, missing_docs)]

use nap_store::{BranchDir, BranchRecord, Draft, Home, Store, StoreError, make_home};

#[path = "../src/fixture.rs"]
mod fixture;
use fixture::{MAJOR, count, home_with_template, id, make_tablespace, name, no_fill};

/// `leaf` is a branch of `dev`, which is one of `main`.
fn three() -> (tempfile::TempDir, Store) {
    let root = tempfile::tempdir().unwrap();
    let store = home_with_template(root.path());
    store.create_root(&name("main"), id(1), MAJOR, no_fill).unwrap();
    store.clone_branch(&name("main"), &name("dev"), id(2)).unwrap();
    store.clone_branch(&name("dev"), &name("leaf"), id(3)).unwrap();
    (root, store)
}

fn record(store: &Store, branch: &str) -> BranchRecord {
    store.branch(&name(branch)).unwrap().record
}

/// The parent's state for a branch.
fn anew(store: &Store, branch: &str) -> Draft {
    let mut draft = store.draft_again(&name(branch)).unwrap();
    draft.clone_asleep().unwrap();
    draft
}

#[test]
fn what_came_from_a_parent_that_has_another_state_by_now_shares_no_past_with_it() {
    let (_root, store) = three();
    let replaced = store.replace(anew(&store, "leaf"), None).unwrap();
    assert!(replaced.branch.record.shared_until.is_some(), "it is the parent's past");
    let of_before = anew(&store, "leaf");
    store.replace(anew(&store, "dev"), None).unwrap();
    let replaced = store.replace(of_before, None).unwrap();
    assert_eq!((replaced.branch.record.shared_until, record(&store, "leaf").shared_until), (None, None));
}

/// A link to a tablespace cannot be made relative: the directory that it is in lies on another file system.
fn with_a_link_that_stays(store: &Store, branch: &str) -> tempfile::TempDir {
    let dir = store.branch(&name(branch)).unwrap().dir;
    let (links, far) = (dir.data().join("pg_tblspc"), tempfile::tempdir_in("/dev/shm").unwrap());
    make_tablespace(&dir, b"here");
    let link = std::fs::read_link(links.join("16384")).unwrap();
    std::os::unix::fs::symlink(link, far.path().join("16384")).unwrap();
    std::fs::remove_dir_all(&links).unwrap();
    std::os::unix::fs::symlink(far.path(), links).unwrap();
    far
}

#[test]
fn a_branch_that_cannot_be_exchanged_stays_what_it_was_with_its_children() {
    let (_root, store) = three();
    let (dev, leaf) = (record(&store, "dev"), record(&store, "leaf"));
    assert!(leaf.shared_until.is_some());
    let _far = with_a_link_that_stays(&store, "dev");
    let root = store.branch(&name("dev")).unwrap().dir.root;
    let files = count(&root);
    for keep_as in [None, Some((name("before"), id(9)))] {
        let failed = store.replace(anew(&store, "dev"), keep_as).unwrap_err();
        assert!(matches!(failed, StoreError::Io { .. }), "{failed}");
        assert_eq!((record(&store, "dev"), record(&store, "leaf")), (dev.clone(), leaf.clone()));
        assert_eq!(count(&root), files, "of what was to be kept nothing is left");
    }
}

#[test]
fn a_branch_that_cannot_be_moved_is_not_to_be_renamed_any_more() {
    let (_root, store) = three();
    let dev = record(&store, "dev");
    let root = store.branch(&name("dev")).unwrap().dir.root;
    let files = count(&root);
    std::fs::create_dir(store.home().staging().join(format!("dev-{}-renamed", dev.id))).unwrap();
    store.rename(&name("dev"), &name("other")).unwrap_err();
    assert_eq!(record(&store, "dev"), dev);
    assert_eq!(count(&root), files);
}
