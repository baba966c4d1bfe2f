//! What sleeps costs nothing, and what the daemon may open suffices for those it lets in.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use nap_testkit::{Output, TestHome, connect};

/// How often each thread of the process has waited for something so far.
fn waits(pid: i32) -> BTreeMap<String, u64> {
    let read = |tid: String| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        Some((tid, line.trim().parse().ok()?))
    };
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.filter_map(|entry| read(entry.unwrap().file_name().into_string().unwrap())).collect()
}

/// Timers that are rare are allowed (logs are looked at twice a minute): one quiet span must be found. Whatever polled,
/// for each branch or for all, would show in every one.
#[test]
fn a_daemon_whose_branches_sleep_does_nothing_at_all() {
    const SPAN: Duration = Duration::from_secs(2);
    let home = TestHome::new(env!("CARGO_BIN_EXE_nap"));
    home.up();
    for branch in ["one", "two"] {
        home.nap(&["branch", branch]).ok();
        home.psql(&format!("postgres@{branch}"), "select 1").ok();
        home.nap(&["sleep", branch]).ok();
    }
    home.sleep("main");
    let daemon = home.daemon_pid();
    let deadline = Instant::now() + 10 * SPAN;
    loop {
        let before = waits(daemon);
        // Nothing tells that nothing happens.
        std::thread::sleep(SPAN);
        let after = waits(daemon);
        let woke: Vec<_> = after.iter().filter(|(thread, count)| before.get(*thread) != Some(count)).collect();
        if woke.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "it is never quiet: {woke:?} after {before:?}");
    }
}

/// `nap up` by somebody who may open only so many files.
fn up_with_open_files(home: &TestHome, most: u32) {
    let up = home.nap_command(&["up"]);
    let mut limited = Command::new("prlimit");
    limited.arg(format!("--nofile={most}:{most}")).arg(up.get_program()).args(up.get_args()).current_dir("/");
    for (name, value) in up.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    Output::of(&mut limited).ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_open_few_files_lets_few_clients_in_and_says_so() {
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("max_awake", "2").build();
    // 400 for the rest, 5 for each of two servers, one for each branch, and 2 for each of 20 clients.
    up_with_open_files(&home, 400 + 10 + 1 + 40);
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(home.connect("postgres@main").await);
    }
    let refused = connect(&home.config("postgres@main")).await.map(drop).unwrap_err();
    assert_eq!(refused.as_db_error().unwrap().code().code(), "53300");
    for client in &held {
        client.simple_query("select 1").await.unwrap();
    }
    let status = home.nap(&["status", "--json"]).json();
    let lowered = &status["max_connections_lowered"];
    assert_eq!((lowered["set"].as_u64(), lowered["to"].as_u64()), (Some(1_000), Some(20)), "{status}");
    let said = home.nap(&["status"]);
    assert!(said.ok().contains("at most 20, not 1000 (max_connections): the limit of open files is 451"), "{said}");
    let log = home.daemon_log();
    assert_eq!(log.matches("max_connections is lowered").count(), 1, "{log}");
}
