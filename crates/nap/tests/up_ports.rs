//! Which port it takes, and that it never moves again by itself.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods, reason = "a test")]

use std::net::TcpListener;

use nap_testkit::{PortPair, TestHome};

/// A home whose first start has to choose.
fn without_a_port() -> TestHome {
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).build();
    let toml = home.path().join("nap.toml");
    let text = std::fs::read_to_string(&toml).unwrap();
    let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with("port")).collect();
    std::fs::write(&toml, kept.join("\n") + "\n").unwrap();
    home
}

fn port_of(home: &TestHome) -> u16 {
    u16::try_from(home.nap(&["status", "--json"]).json()["port"].as_u64().unwrap()).unwrap()
}

fn in_nap_toml(home: &TestHome) -> String {
    let text = std::fs::read_to_string(home.path().join("nap.toml")).unwrap();
    text.lines().find(|line| line.starts_with("port")).unwrap().to_owned()
}

/// Holds a port, or learns that somebody else does.
fn hold(port: u16) -> Option<TcpListener> {
    TcpListener::bind(("127.0.0.1", port)).ok()
}

#[test]
fn a_pair_is_taken_only_when_both_are_free_and_is_kept() {
    // Only the read-only door's port is taken: that is enough to go on to the next pair.
    let _held = hold(5433);
    let home = without_a_port();
    home.up();
    let port = port_of(&home);
    assert!((54_320..54_520).contains(&port) && port.is_multiple_of(2), "{port}");
    assert_eq!(in_nap_toml(&home), format!("port = {port}"));
    let other = without_a_port();
    other.up();
    assert_ne!(port_of(&other), port);
    other.nap(&["down"]).ok();
    home.nap(&["down"]).ok();
    drop(_held);
    home.up();
    assert_eq!(port_of(&home), port, "it never moves again");
}

#[test]
fn a_taken_port_is_an_error_that_names_its_holder() {
    let home = TestHome::new(env!("CARGO_BIN_EXE_nap"));
    home.up();
    home.nap(&["down"]).ok();
    let held = hold(home.port()).unwrap();
    let said = home.nap(&["up"]);
    let text = said.fails_with(1);
    assert!(text.contains(&home.port().to_string()), "{said}");
    assert!(text.contains(&format!("PID {}", std::process::id())), "it names the holder: {said}");
    assert!(text.contains("--port"), "and the way out: {said}");
    assert_eq!(in_nap_toml(&home), format!("port = {}", home.port()));
    drop(held);
    home.up();
    assert_eq!(port_of(&home), home.port());
}

#[test]
fn a_port_that_is_asked_for_is_written_down() {
    let home = TestHome::new(env!("CARGO_BIN_EXE_nap"));
    let other = PortPair::free();
    home.nap(&["up", "--port", &other.port.to_string()]).ok();
    assert_eq!(port_of(&home), other.port);
    assert_eq!(in_nap_toml(&home), format!("port = {}", other.port));
    assert_eq!(home.psql("main", "select 1").ok(), "1");
    home.nap(&["down"]).ok();
    home.up();
    assert_eq!(port_of(&home), other.port);
}

#[test]
fn a_cluster_of_the_system_beside_us_is_left_alone() {
    // A cluster as Debian's packages start it: on its port, with its socket in a directory of its own.
    let home = TestHome::new(env!("CARGO_BIN_EXE_nap"));
    home.up();
    let beside = home.beside().join("theirs");
    let pair = PortPair::free();
    let run = |name: &str, arguments: &[&str]| {
        let mut command = nap_testkit::as_server_user(home.install().program(name));
        nap_testkit::Output::of(command.args(arguments).current_dir("/")).ok().to_owned()
    };
    std::fs::create_dir(&beside).unwrap();
    nap_testkit::give_to_server_user(&beside);
    let data = beside.join("data");
    let (data, sockets) = (data.to_str().unwrap(), beside.to_str().unwrap());
    run("initdb", &["-A", "trust", "-U", "postgres", "--no-sync", "-D", data]);
    let options = format!("-p {} -k {sockets} -c listen_addresses=127.0.0.1", pair.port);
    let log = beside.join("log");
    run("pg_ctl", &["-w", "-s", "-l", log.to_str().unwrap(), "-o", &options, "-D", data, "start"]);
    home.nap(&["down"]).ok();
    let said = home.nap(&["up", "--port", &pair.port.to_string()]);
    assert!(said.fails_with(1).contains("postgres (PID"), "{said}");
    home.up();
    assert_eq!(home.psql("main", "select 1").ok(), "1");
    let theirs = format!("host={sockets} port={} user=postgres dbname=postgres", pair.port);
    assert_eq!(home.psql_with(&theirs, "select current_setting('nap.branch', true) is null").ok(), "t");
    run("pg_ctl", &["-w", "-s", "-m", "fast", "-D", data, "stop"]);
}

#[test]
fn a_reload_tells_the_value_of_what_waits_for_the_next_start() {
    let home = TestHome::new(env!("CARGO_BIN_EXE_nap"));
    home.up();
    let file = home.path().join("nap.toml");
    let again = "the settings, the rules for connections and the certificate were read again";
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace(&in_nap_toml(&home), "port = 54998")).unwrap();
    assert_eq!(
        home.nap(&["config", "reload"]).ok(),
        format!("{again}\nport = 54998 (takes effect at the next `nap up`)")
    );
    std::fs::write(&file, format!("{text}max_awake = 0\n")).unwrap();
    let said = home.nap(&["config", "reload"]);
    assert!(said.fails_with(1).contains("nap.toml cannot be used"), "{said}");
    std::fs::write(&file, text).unwrap();
    assert_eq!(home.nap(&["config", "reload"]).ok(), again);
}
