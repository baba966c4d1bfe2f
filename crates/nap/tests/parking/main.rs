//! Sessions that do nothing are parked, and notice nothing.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods, reason = "a test")]

use std::os::unix::net::UnixStream;

use nap_testkit::{Raw, TestHome, eventually};

mod control;
mod differences;
mod far;
mod flash;
mod life;
mod listen;
mod pings;
mod pins;
mod property;
mod replace;
mod state;

fn home() -> TestHome {
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_after", "\"10min\"").build();
    home.up();
    home
}

/// A session whose bytes the test sees, as the home's first role.
fn session(home: &TestHome) -> Raw<UnixStream> {
    session_of(home, "main", &[])
}

fn session_of(home: &TestHome, branch: &str, more: &[(&str, &str)]) -> Raw<UnixStream> {
    let (role, database) = (home.role(), format!("postgres@{branch}"));
    let parameters = [&[("user", role.as_str()), ("database", database.as_str())], more].concat();
    let mut session = Raw::unix(&home.socket_directory(), home.port()).start(&parameters);
    session.ready().unwrap();
    session
}

/// The sessions of a branch: their states and pins.
fn sessions(home: &TestHome, branch: &str) -> Vec<(String, Option<String>)> {
    let listed = home.nap(&["sessions", branch, "--json"]);
    let listed: serde_json::Value = serde_json::from_str(listed.ok()).unwrap();
    let of = |session: &serde_json::Value| {
        (session["state"].as_str().unwrap().to_owned(), session["pin"].as_str().map(str::to_owned))
    };
    listed.as_array().unwrap().iter().map(of).collect()
}

/// Parks the sessions of a branch that can be, and tells what keeps the others.
fn park(home: &TestHome, branch: &str) -> Vec<(String, Option<String>)> {
    home.nap(&["sessions", branch, "--park"]).ok();
    sessions(home, branch)
}

fn all_parked(home: &TestHome, branch: &str) {
    let parked = park(home, branch);
    assert!(parked.iter().all(|(state, _)| state == "parked"), "{parked:?}");
}

/// Waits until a branch sleeps, with whoever is connected.
fn sleeps(home: &TestHome, branch: &str) {
    eventually("the branch sleeps", || (home.state(branch) == "asleep").then_some(()));
}
