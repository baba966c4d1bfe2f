//! Another state in a branch's place: what is known of it, and that all of it happens or nothing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::disallowed_methods, missing_docs)]

use nap_store::{BranchDir, BranchRecord, Draft, Home, Store, make_home};

#[path = "../src/fixture.rs"]
mod fixture;
use fixture::{MAJOR, home_with_template, id, name, no_fill};

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
