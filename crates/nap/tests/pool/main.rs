//! `nap pool`, on a real ext4 below, with real images and mounts. It takes root.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods, reason = "a test")]

use std::ops::Deref;
use std::process::Command;

use nap_testkit::{Disk, Output, TestHome, eventually};

mod full;
mod killed;
mod life;
mod refused;
mod units;

/// Both kinds of file system that a pool can have.
const KINDS: [&str; 2] = ["btrfs", "xfs"];

/// A home on ext4, in whose place pools are mounted. They go before the disk.
struct OnExt4 {
    home: Option<TestHome>,
    disk: Disk,
}

impl OnExt4 {
    fn new(megabytes: u64) -> Option<Self> {
        let disk = Disk::ext4(megabytes)?;
        let has =
            |program: &str| ["/usr/sbin", "/sbin"].iter().any(|dir| std::path::Path::new(dir).join(program).exists());
        let has_all = has("mkfs.btrfs") && has("mkfs.xfs");
        if !has_all && !nap_testkit::is_full_run() {
            return None;
        }
        let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_after", "\"10min\"");
        Some(Self { home: Some(home.below(&disk.path()).build()), disk })
    }

    /// One with a table and a row in it, whose daemon is down.
    fn with_a_row(megabytes: u64) -> Option<Self> {
        let this = Self::new(megabytes)?;
        this.up();
        this.psql("postgres@main", "create table t as select 1 as n").ok();
        this.nap(&["down"]).ok();
        Some(this)
    }

    /// `nap pool create`, which must go well.
    #[track_caller]
    fn pool(&self, kind: &str, size: &str) -> Output {
        let made = self.nap(&["pool", "create", "--size", size, "--filesystem", kind]);
        made.ok();
        made
    }

    #[track_caller]
    fn pool_status(&self) -> serde_json::Value {
        self.nap(&["pool", "status", "--json"]).json()
    }

    fn is_mounted(&self) -> bool {
        Command::new("mountpoint").arg("-q").arg(self.path().join("pool")).status().unwrap().success()
    }

    /// The names in the home.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// The row is there, in a home that is up.
    #[track_caller]
    fn has_its_row(&self) {
        assert_eq!(self.psql("postgres@main", "select n from t").ok(), "1");
    }
}

impl Deref for OnExt4 {
    type Target = TestHome;

    fn deref(&self) -> &TestHome {
        self.home.as_ref().unwrap()
    }
}

impl Drop for OnExt4 {
    fn drop(&mut self) {
        let _ = self.nap_command(&["down"]).output();
        for pid in nap_testkit::process::below(&self.path()) {
            nap_testkit::process::kill9(pid);
        }
        let place = self.path().join("pool");
        let gone = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually("the pool is unmounted", || {
                (!self.is_mounted() || Command::new("umount").arg(&place).status().unwrap().success()).then_some(())
            });
        }));
        if gone.is_err() {
            let _ = Command::new("umount").arg("--lazy").arg(&place).status();
        }
        drop(self.home.take());
    }
}

/// A program of the system, which must go well.
#[track_caller]
fn system(words: &[&str]) -> String {
    Output::of(Command::new(words[0]).args(&words[1..])).ok().to_owned()
}
