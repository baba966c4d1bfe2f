//! What is done to a home that works.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nap_testkit::{TestHome, eventually, process};
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;

/// How often each was done.
#[derive(Debug, Default)]
pub(crate) struct Done(Mutex<BTreeMap<&'static str, u32>>);

type Deed = fn(&TestHome);

const DEEDS: [(&str, Deed); 10] = [
    ("a postmaster killed", |home| home.server_pid("main").into_iter().for_each(process::kill9)),
    ("a process of a server killed", |home| {
        home.server_processes("main").choose(&mut rand::rng()).copied().into_iter().for_each(process::kill9);
    }),
    ("the guardian killed", |home| guardian(home).into_iter().for_each(process::kill9)),
    ("the daemon killed", |home| {
        home.kill_daemon();
        up(home);
    }),
    ("a sleep asked for", |home| drop(home.nap(&["sleep"]))),
    ("a sleep asked for again", |home| drop(home.nap(&["sleep"]))),
    ("a doze asked for", |home| drop(home.nap(&["doze"]))),
    ("sessions parked", |home| drop(home.nap(&["sessions", "--park"]))),
    ("a restart asked for", |home| drop(home.nap(&["restart"]))),
    ("the daemon replaced", |home| {
        home.nap(&["up", "--replace"]).ok();
    }),
];

/// One deed after the other, with pauses in which the home may come to rest.
pub(crate) fn reign(home: &TestHome, done: &Done, until: Instant) {
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(rand::rng().random_range(0..1_000)));
        let (name, deed) = DEEDS.choose(&mut rand::rng()).unwrap();
        deed(home);
        *done.0.lock().unwrap().entry(name).or_default() += 1;
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
