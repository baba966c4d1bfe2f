//! A server that pinned sessions keep from sleeping dozes: its processes are stopped, and nobody notices.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods, reason = "a test")]

use std::os::unix::net::UnixStream;

use nap_testkit::{Raw, TestHome, TestHomeBuilder, eventually, process};

mod crash;
mod life;
mod race;
mod settings;
mod thaw;
mod timeouts;

fn builder() -> TestHomeBuilder {
    TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_after", "\"10min\"")
}

fn home() -> TestHome {
    let home = builder().build();
    home.up();
    home
}

/// A session whose bytes the test sees, as the home's first role.
fn session(home: &TestHome) -> Raw<UnixStream> {
    let mut session = begin(home);
    session.ready().unwrap();
    session
}

/// The same, its greeting not yet read.
fn begin(home: &TestHome) -> Raw<UnixStream> {
    Raw::unix(&home.socket_directory(), home.port()).start(&[("user", &home.role()), ("database", "postgres")])
}

/// A session that cannot be parked, and knows whether it has lost anything.
fn pinned(home: &TestHome) -> Raw<UnixStream> {
    let mut session = session(home);
    session.ask("CREATE TEMP TABLE pin (number int)").unwrap();
    session.ask("INSERT INTO pin VALUES (41)").unwrap();
    session
}

fn still_has_its_table(session: &mut Raw<UnixStream>) {
    assert_eq!(session.ask("SELECT number + 1 FROM pin").unwrap(), "42");
}

/// It dozes, and so do all of its processes.
fn is_frozen(home: &TestHome) {
    assert_eq!(home.state("main"), "dozing");
    let states = process_states(home);
    assert!(states.len() > 4 && states.iter().all(|state| *state == 'T'), "{states:?}");
}

/// None of its processes is stopped.
fn runs(home: &TestHome) {
    let states = process_states(home);
    assert!(states.len() > 4 && !states.contains(&'T'), "{states:?}");
}

fn process_states(home: &TestHome) -> Vec<char> {
    home.server_processes("main").into_iter().filter_map(process::state).collect()
}

fn doze(home: &TestHome) {
    home.nap(&["doze"]).ok();
    is_frozen(home);
}

fn dozes(home: &TestHome) {
    home.wait_state("main", "dozing");
    is_frozen(home);
}

/// What the daemon has started beside itself.
fn guardian(home: &TestHome) -> Option<i32> {
    let arguments = ["nap".to_owned(), "--home".to_owned(), home.path().display().to_string(), "guardian".to_owned()];
    process::everything()
        .into_iter()
        .filter(|pid| process::is_alive(*pid))
        .find(|pid| process::command_line(*pid) == arguments)
}

/// How often it has begun to doze.
fn dozed(home: &TestHome) -> usize {
    home.daemon_log().matches("to=dozing").count()
}

fn eventually_dozed(home: &TestHome, times: usize) {
    eventually("it dozes again", || (dozed(home) >= times && home.state("main") == "dozing").then_some(()));
}
