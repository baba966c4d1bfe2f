//! Real listeners stay connected while their server sleeps, and hear the first thing of each wake.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use nap_testkit::{TestHome, eventually};

use crate::program::{java, node, python};

/// How often the server sleeps under them.
const SLEEPS: usize = 100;

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn home() -> TestHome {
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_after", "\"10min\"").build();
    home.up();
    home
}

fn ids(home: &TestHome) -> Vec<u64> {
    let listed = home.nap(&["sessions", "main", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(listed.ok()).unwrap();
    listed.as_array().unwrap().iter().map(|session| session["id"].as_u64().unwrap()).collect()
}

/// Each of `names` hears one notification of each wake, by the connection that it began with.
fn hear_the_first_of_each_wake(home: &TestHome, mut program: Command, names: &[&str]) {
    let mut child = Ended(program.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let mut line = || lines.next().expect("it goes on").unwrap();
    assert_eq!(line(), "ready");
    let connected = ids(home);
    assert_eq!(connected.len(), names.len());
    for wake in 0..SLEEPS {
        eventually("the server sleeps", || home.nap(&["sleep", "main"]).succeeded().then_some(()));
        assert_eq!(home.server_pid("main"), None);
        home.psql("postgres@main", &format!("NOTIFY jobs, '{wake}'")).ok();
        let mut heard: Vec<String> = names.iter().map(|_| line()).collect();
        heard.sort();
        assert_eq!(heard, names.iter().map(|name| format!("{name} {wake}")).collect::<Vec<_>>());
    }
    let listed = ids(home);
    assert!(connected.iter().all(|id| listed.contains(id)), "the same connections: {connected:?} {listed:?}");
}

#[test]
fn slow_listeners_in_python() {
    let Some(mut python) = python("listeners.py") else { return };
    let home = home();
    python.arg(home.url("postgres@main"));
    hear_the_first_of_each_wake(&home, python, &["asyncpg", "psycopg"]);
}

#[test]
fn slow_listeners_in_javascript() {
    let Some(mut node) = node("listeners.cjs") else { return };
    let home = home();
    node.arg(home.url("postgres@main"));
    hear_the_first_of_each_wake(&home, node, &["node-postgres", "postgres.js"]);
}

#[test]
fn slow_listeners_in_java() {
    let home = home();
    let hosts = home.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    let Some(mut java) = java("Listener.java", &hosts) else { return };
    let config = home.config("postgres@main");
    let (user, password) = (config.get_user().unwrap(), String::from_utf8_lossy(config.get_password().unwrap()));
    java.arg(format!("jdbc:postgresql://localhost:{}/postgres@main?sslmode=disable", home.port()));
    java.args([user, &password]);
    hear_the_first_of_each_wake(&home, java, &["pgjdbc"]);
}
