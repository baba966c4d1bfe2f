//! A move that is done and cannot be made durable. This has a process of its own: for a moment it can open no file.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

use std::fs;
use std::io;

use nap_store::durable::{rename_new, rename_new_and_go_on};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// An fsync takes a descriptor, a rename none.
fn without_descriptors<T>(act: impl FnOnce() -> T) -> T {
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..before }).unwrap();
    let done = act();
    setrlimit(Resource::Nofile, before).unwrap();
    done
}

#[test]
fn what_is_in_its_place_is_done() {
    let root = tempfile::tempdir().unwrap();
    let [one, other] = ["one", "other"].map(|name| root.path().join(name));
    fs::create_dir(&one).unwrap();
    without_descriptors(|| rename_new(&one, &other)).unwrap_err();
    assert!(other.is_dir(), "it is done, and said not to be durable");
    without_descriptors(|| rename_new_and_go_on(&other, &one)).unwrap();
    assert!(one.is_dir() && !other.exists());

    fs::create_dir(&other).unwrap();
    let taken = without_descriptors(|| rename_new_and_go_on(&one, &other)).unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
    fs::remove_dir(&one).unwrap();
    without_descriptors(|| rename_new_and_go_on(&one, &other)).expect_err("another one in its place is not it");
}
