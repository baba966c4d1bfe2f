//! When a server goes to sleep, and what keeps it from that.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods, reason = "a test")]

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nap_testkit::process::{self, Signal};
use nap_testkit::{TestHome, eventually};

fn home(sleep_after: &str) -> TestHome {
    let home =
        TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_after", &format!("\"{sleep_after}\"")).build();
    home.up();
    home
}

#[tokio::test(flavor = "multi_thread")]
async fn it_sleeps_after_its_last_session_and_not_before() {
    let home = home("2s");
    let client = home.connect("postgres@main").await;
    assert_eq!(home.state("main"), "awake");
    let leaves = Instant::now();
    drop(client);
    home.wait_state("main", "asleep");
    assert!(leaves.elapsed() >= Duration::from_secs(2), "after {:?}", leaves.elapsed());
    assert_eq!(home.server_pid("main"), None, "no PostgreSQL runs");
}

#[test]
fn each_branch_may_sleep_at_its_own_time() {
    let home = home("10min");
    home.nap(&["branch", "quick"]).ok();
    home.nap(&["branch", "never"]).ok();
    home.nap(&["set", "quick", "sleep_after=300ms"]).ok();
    home.nap(&["set", "never", "sleep_after=never"]).ok();
    for branch in ["main", "never", "quick"] {
        home.psql(branch, "select 1").ok();
    }
    home.wait_state("quick", "asleep");
    assert_eq!((home.state("main"), home.state("never")), ("awake".into(), "awake".into()));
    // The home's own setting holds at once, also for servers that are awake, but not for who has another.
    home.nap(&["config", "set", "sleep_after=200ms"]).ok();
    home.wait_state("main", "asleep");
    assert_eq!(home.state("never"), "awake");
    let listed = home.nap(&["ls"]);
    assert!(listed.ok().contains("sleep_after = never"), "{listed}");
    home.nap(&["down"]).ok();
    home.up();
    home.psql("never", "select 1").ok();
    home.psql("quick", "select 1").ok();
    home.wait_state("quick", "asleep");
    assert_eq!(home.state("never"), "awake", "the settings are kept");
    home.nap(&["sleep", "never"]).ok();
    assert_eq!(home.state("never"), "asleep", "told to, it sleeps");
    home.psql("never", "select 1").ok();
    home.nap(&["set", "never", "sleep_after="]).ok();
    home.wait_state("never", "asleep");
    assert!(home.nap(&["set", "never", "sleep_after=soon"]).fails_with(2).contains("soon"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_not_to_be_parked_keeps_it_awake_and_is_named() {
    let home = home("200ms");
    home.nap(&["set", "main", "park=off"]).ok();
    let client = home.connect("postgres@main").await;
    let said = home.nap(&["sleep", "main"]);
    assert!(said.fails_with(1).contains("1 session"), "{said}");
    let listed = home.nap(&["ls"]);
    assert!(listed.ok().contains("1 session"), "{listed}");
    // A branch of it does not disturb it.
    assert_eq!(home.nap(&["branch", "other", "--json"]).json()["parent_in_use"], true);
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(client.query_one("select 1", &[]).await.unwrap().get::<_, i32>(0), 1);
    assert_eq!(home.state("main"), "awake");
    drop(client);
    home.wait_state("main", "asleep");
}

/// The guards that `nap ls --json` tells of.
fn guards(home: &TestHome) -> Vec<String> {
    let branch = home.branch("main").unwrap();
    branch["status"]["guards"]
        .as_array()
        .unwrap()
        .iter()
        .map(|guard| guard["guard"].as_str().unwrap().to_owned())
        .collect()
}

/// A program that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        process::signal(self.0.id() as i32, Signal::TERM);
        let _ = self.0.wait();
    }
}

fn run(home: &TestHome, name: &str, arguments: &[&str]) -> Running {
    let mut command = home.program(name);
    Running(command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

/// Past the gateway: a server's own socket.
fn private_socket(home: &TestHome) -> String {
    let id = home.branch("main").unwrap()["id"].as_str().unwrap().to_owned();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(home.path().join("run/.servers")).unwrap().flatten() {
        if entry.file_name().to_string_lossy().contains(&id) {
            found.push(entry.path());
        }
    }
    assert_eq!(found.len(), 1);
    found[0].display().to_string()
}

#[test]
fn what_comes_past_the_gateway_keeps_it_awake_and_is_named() {
    let home = home("10min");
    home.psql("postgres@main", "create table big as select repeat('x', 500) as x from generate_series(1, 20000)").ok();
    home.nap(&["wake", "main"]).ok();
    let socket = private_socket(&home);
    let connection = format!("host={socket} port=5432 user=postgres dbname=postgres");
    let files = home.beside().join("wal");
    std::fs::create_dir(&files).unwrap();
    let slow_vacuum = [
        "-Xc",
        "set vacuum_cost_delay = 100",
        "-c",
        "set vacuum_cost_limit = 1",
        "-c",
        "vacuum (freeze, disable_page_skipping) big",
        "-d",
        &connection,
    ];
    let receive = ["-h", &socket, "-p", "5432", "-U", "postgres", "-D", files.to_str().unwrap()];
    let backup =
        ["-h", &socket, "-p", "5432", "-U", "postgres", "-D", files.to_str().unwrap(), "-r", "32k", "-c", "fast"];
    for (name, arguments, expected) in [
        ("psql", &slow_vacuum[..], "maintenance"),
        ("pg_receivewal", &receive[..], "wal-senders"),
        ("pg_basebackup", &backup[..], "base-backups"),
        ("psql", &["-Xc", "select pg_sleep(1000)", "-d", &connection][..], "other-clients"),
    ] {
        // It is not to sleep before the program has come.
        home.nap(&["set", "main", "sleep_after=10min"]).ok();
        home.nap(&["wake", "main"]).ok();
        let program = run(&home, name, arguments);
        let server = home.server_pid("main");
        eventually(&format!("{name} is seen as {expected}"), || {
            guards(&home).contains(&expected.to_owned()).then_some(())
        });
        home.nap(&["set", "main", "sleep_after=200ms"]).ok();
        home.nap(&["sleep", "main"]).fails_with(1);
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(home.server_pid("main"), server, "{name} keeps it awake");
        drop(program);
        // A backend that works does not see that its client has gone.
        let end = "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and backend_type in ('client backend', 'walsender')";
        home.psql_with(&connection, end).ok();
        home.wait_state("main", "asleep");
        let _ = std::fs::remove_dir_all(&files);
        std::fs::create_dir(&files).unwrap();
    }
}

#[test]
fn backups_through_the_gateway_keep_it_awake() {
    let home = home("200ms");
    let files = home.beside().join("backup");
    home.wait_state("main", "asleep");
    let wakes = home.wakes("main");
    let mut command = home.program_on(nap_testkit::Way::Door, "main", "pg_basebackup");
    command.args(["-r", "8M", "-c", "fast", "-D"]).arg(&files);
    let said = nap_testkit::Output::of(&mut command);
    said.ok();
    assert_eq!(home.wakes("main"), wakes + 1, "it was awake all the time: {said}");
    home.wait_state("main", "asleep");
}
