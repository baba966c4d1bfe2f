//! What is done to a home that works.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nap_testkit::{TestHome, eventually, process};
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;

use super::BRANCHES;

/// How often each was done.
#[derive(Debug, Default)]
pub(crate) struct Done {
    counts: Mutex<BTreeMap<&'static str, u32>>,
    /// The most memory that a daemon was seen to have.
    pub(crate) largest_kb: AtomicU64,
}

/// What a daemon has in memory.
pub(crate) fn memory_kb(home: &TestHome) -> u64 {
    let status = home.daemon_process().and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).ok());
    let line = status.as_deref().and_then(|status| status.lines().find_map(|line| line.strip_prefix("VmRSS:")));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok()).unwrap_or(0)
}

/// Done to a branch, or to the daemon of all.
type Deed = fn(&TestHome, &str);

const DEEDS: [(&str, Deed); 11] = [
    ("a postmaster killed", |home, branch| home.server_pid(branch).into_iter().for_each(process::kill9)),
    ("a process of a server killed", |home, branch| {
        home.server_processes(branch).choose(&mut rand::rng()).copied().into_iter().for_each(process::kill9);
    }),
    ("the guardian killed", |home, _| guardian(home).into_iter().for_each(process::kill9)),
    ("the daemon killed", |home, _| {
        home.kill_daemon();
        up(home);
    }),
    ("a sleep asked for", |home, branch| drop(home.nap(&["sleep", branch]))),
    ("a sleep asked for again", |home, branch| drop(home.nap(&["sleep", branch]))),
    ("a doze asked for", |home, branch| drop(home.nap(&["doze", branch]))),
    ("sessions parked", |home, _| drop(home.nap(&["sessions", "--park"]))),
    ("a restart asked for", |home, branch| drop(home.nap(&["restart", branch]))),
    ("the daemon replaced", |home, _| {
        home.nap(&["up", "--replace"]).ok();
    }),
    ("a branch made", |home, branch| {
        if home.nap(&["branch", COPY, "--from", branch]).succeeded() {
            home.psql(&format!("postgres@{COPY}"), "SELECT count(*) FROM log").ok();
            home.nap(&["rm", COPY, "--force"]).ok();
        }
    }),
];

/// A branch that comes and goes.
const COPY: &str = "copy";

/// One deed after the other, with pauses in which the home may come to rest.
pub(crate) fn reign(home: &TestHome, done: &Done, until: Instant) {
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(rand::rng().random_range(0..1_000)));
        let (name, deed) = DEEDS.choose(&mut rand::rng()).unwrap();
        deed(home, BRANCHES.choose(&mut rand::rng()).unwrap());
        done.largest_kb.fetch_max(memory_kb(home), Ordering::Relaxed);
        *done.counts.lock().unwrap().entry(name).or_default() += 1;
    }
}

fn up(home: &TestHome) {
    eventually("the daemon is up again", || home.nap(&["up"]).succeeded().then_some(()));
}

fn guardian(home: &TestHome) -> Option<i32> {
    let path = home.path().display().to_string();
    let is_guardian = |pid: &i32| {
        let line = process::command_line(*pid);
        line.contains(&path) && line.iter().any(|word| word == "guardian")
    };
    process::everything().into_iter().filter(|pid| process::is_alive(*pid)).find(is_guardian)
}
