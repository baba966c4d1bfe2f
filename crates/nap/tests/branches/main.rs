//! Branches of servers that are in use.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods, reason = "a test")]

use std::process::{Child, Command, Stdio};

use nap_testkit::{Disk, Output, TestHome, TestHomeBuilder, eventually, process};

mod busy;
mod full;
mod inherited;
mod inodes;
mod killed;
mod past;
mod proof;
mod shown;
mod steps;
mod tablespaces;
mod together;
mod tree;

fn builder() -> TestHomeBuilder {
    TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_after", "\"10min\"")
}

/// A home on a file system that can clone, where one can be had; the disk goes after it.
struct OnDisk {
    home: TestHome,
    disk: Disk,
}

fn on_xfs() -> Option<OnDisk> {
    on(Disk::xfs(2_048)?)
}

/// Where a branch is a snapshot.
fn on_btrfs() -> Option<OnDisk> {
    on(Disk::btrfs(2_048)?)
}

fn on(disk: Disk) -> Option<OnDisk> {
    let home = builder().below(&disk.path()).build();
    home.up();
    Some(OnDisk { home, disk })
}

/// What came to nothing is deleted where that holds nobody up.
#[track_caller]
fn nothing_is_staged(home: &TestHome) {
    let staged = || std::fs::read_dir(home.path().join("staging")).unwrap().count();
    eventually("nothing is left in staging", || (staged() == 0).then_some(()));
}

/// A pgbench that runs until this is dropped.
struct Load(Child);

impl Load {
    /// On tables of scale 1, which are made if need be.
    fn on(home: &TestHome, target: &str) -> Self {
        let mut begin = pgbench(home, target);
        assert!(begin.args(["-iq", "-s", "1"]).output().unwrap().status.success());
        let mut load = pgbench(home, target);
        load.args(["-c", "4", "-T", "3600"]).stdout(Stdio::null()).stderr(Stdio::null());
        Self(load.spawn().unwrap())
    }

    fn goes_on(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A story of a disk, where one can be had.
fn tell(disk: Option<OnDisk>, story: fn(&OnDisk)) {
    if let Some(disk) = disk {
        story(&disk);
    }
}

/// The subvolumes of a disk.
fn subvolumes(disk: &OnDisk) -> Vec<String> {
    let list = Output::of(Command::new("btrfs").args(["subvolume", "list", "-o"]).arg(disk.disk.path()));
    list.ok().lines().filter_map(|line| Some(line.split_once(" path ")?.1.to_owned())).collect()
}

fn pgbench(home: &TestHome, target: &str) -> Command {
    let mut pgbench = home.program("pgbench");
    pgbench.arg(home.url(target));
    pgbench
}

/// pgbench's own invariant: whatever was committed changed all four tables by the same.
const SUMS: &str = "select count(distinct sum), max(count) from (select sum(abalance), 0::bigint as count from pgbench_accounts \
                    union all select sum(tbalance), 0 from pgbench_tellers union all select sum(bbalance), 0 from pgbench_branches \
                    union all select coalesce(sum(delta), 0), count(*) from pgbench_history) as sums";

/// How many transactions a branch has; they are whole.
#[track_caller]
fn whole_transactions(home: &TestHome, branch: &str) -> u64 {
    let told = home.psql(&format!("postgres@{branch}"), SUMS);
    let (sums, count) = told.ok().split_once('|').unwrap();
    assert_eq!(sums, "1", "{branch}: the sums differ");
    count.parse().unwrap()
}

/// None of a branch's processes is stopped.
fn runs(home: &TestHome, branch: &str) -> bool {
    let processes = home.server_processes(branch);
    !processes.is_empty() && processes.iter().all(|pid| process::state(*pid) != Some('T'))
}
