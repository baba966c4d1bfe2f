//! Real pools stay connected while their server sleeps, again and again.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use nap_testkit::{TestHome, eventually};

use crate::program::{java, node, python};

/// How often the server sleeps under them.
const SLEEPS: usize = 20;

fn sessions(home: &TestHome) -> Vec<u64> {
    let listed = home.nap(&["sessions", "main", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(listed.ok()).unwrap();
    listed.as_array().unwrap().iter().map(|session| session["id"].as_u64().unwrap()).collect()
}

fn home() -> TestHome {
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_after", "\"10min\"").build();
    home.up();
    home
}

/// Not an error and not one new connection in all the rounds.
fn stays_connected(home: &TestHome, mut program: Command, connections: usize) {
    program.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = program.spawn().unwrap();
    let (mut rounds, mut answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()).lines());
    let mut round = || {
        rounds.write_all(b"round\n").unwrap();
        answers.next().unwrap().unwrap()
    };
    assert_eq!(round(), "ok");
    let connected = sessions(home);
    assert_eq!(connected.len(), connections, "all of the pools' connections");
    for sleep in 1..=SLEEPS {
        // A pool may look after a connection that has just come back.
        eventually("the server sleeps", || home.nap(&["sleep", "main"]).succeeded().then_some(()));
        assert_eq!(home.server_pid("main"), None);
        assert_eq!(round(), "ok", "after sleep {sleep}");
        assert_eq!(sessions(home), connected, "after sleep {sleep}");
    }
    drop(rounds);
    assert!(child.wait().unwrap().success());
}

#[test]
fn slow_pools_in_python() {
    let Some(mut python) = python("pools.py") else { return };
    let home = home();
    python.arg(home.url("postgres@main"));
    stays_connected(&home, python, 60);
}

#[test]
fn slow_pools_in_javascript() {
    let Some(mut node) = node("pools.cjs") else { return };
    let home = home();
    node.arg(home.url("postgres@main"));
    stays_connected(&home, node, 40);
}

#[test]
fn slow_pools_in_java() {
    let home = home();
    let hosts = home.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    if !std::env::var("NAP_TEST_JAVA_CLASSES").is_ok_and(|classes| classes.contains("HikariCP")) {
        return;
    }
    let Some(mut java) = java("Pools.java", &hosts) else { return };
    let config = home.config("postgres@main");
    let (user, password) = (config.get_user().unwrap(), String::from_utf8_lossy(config.get_password().unwrap()));
    java.arg(format!("jdbc:postgresql://localhost:{}/postgres@main?sslmode=disable", home.port()));
    java.args([user, &password]);
    stays_connected(&home, java, 20);
}
