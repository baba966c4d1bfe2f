//! A cluster of Debian's own beside us: it has its port and its socket, and we stay out of its way.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods, reason = "a test")]

use nap_testkit::{Debian, Output, TestHome, as_server_user, give_to_server_user};

/// A home as a newcomer has it: nothing is set but what keeps the test to its PostgreSQL.
fn newcomer(port: Option<u16>) -> TestHome {
    let home = TestHome::new(env!("CARGO_BIN_EXE_nap"));
    let mut text = format!("postgres_bin = \"{}\"\n", home.install().bin.display());
    text.extend(port.map(|port| format!("port = {port}\n")));
    let toml = home.path().join("nap.toml");
    std::fs::write(&toml, text).unwrap();
    give_to_server_user(&toml);
    home
}

/// What Debian's own user gets by a psql without arguments.
fn bare_psql(port: Option<u16>) -> String {
    let mut psql = as_server_user("/usr/bin/psql");
    psql.envs(port.map(|port| ("PGPORT", port.to_string())));
    let sql = "select current_setting('cluster_name')";
    Output::of(psql.args(["-XAt", "-d", "postgres", "-c", sql])).ok().to_owned()
}

#[test]
fn debians_cluster_on_5432_keeps_its_port_and_we_say_once_that_we_have_another() {
    let Some((debian, theirs)) = Debian::on_the_first_port() else { return };
    let cluster = debian.cluster();
    assert!(theirs || bare_psql(None) == cluster);
    let (pid, files) = (debian.pid(), debian.files());

    let home = newcomer(None);
    let up = home.nap(&["up"]);
    up.ok();
    let port = home.nap(&["status", "--json"]).json()["port"].as_u64().unwrap();
    assert!((54_320..54_520).contains(&port), "{up}");
    assert!(up.stderr.contains("port 5432 belongs to"), "it is said: {up}");
    assert!(up.stderr.contains(&format!("port {port} from now on")), "{up}");
    assert!(theirs || up.stderr.contains(&format!("postgres (PID {pid})")), "and whose it is: {up}");
    assert!(!up.stderr.contains("psql -p"), "which not every user can write a socket for: {up}");
    assert_eq!(home.psql("main", "select 1").ok(), "1");
    let port = u16::try_from(port).unwrap();
    assert_eq!(bare_psql(Some(port)), "nap/main", "our socket is beside theirs");
    assert!(home.nap(&["status"]).ok().contains("beside us   port 5432 belongs to"));
    let doctor = home.nap(&["doctor"]);
    assert!(doctor.stdout.contains("port 5432 belongs to"), "{doctor}");

    home.nap(&["down"]).ok();
    let again = home.nap(&["up"]);
    assert!(again.succeeded() && !again.stderr.contains("5432"), "once is enough: {again}");
    home.nap(&["down"]).ok();
    assert!(theirs || bare_psql(None) == cluster, "a bare psql still goes there");
    assert_eq!((debian.pid(), debian.files()), (pid, files), "nothing of it was touched");
}

#[test]
fn debians_cluster_that_comes_later_gets_another_port_or_an_error_of_its_own() {
    let own = TestHome::new(env!("CARGO_BIN_EXE_nap"));
    let home = newcomer(Some(own.port()));
    home.up();
    home.psql("main", "create table kept as select 1 as number").ok();
    let port = own.port().to_string();
    let Some(debian) = Debian::create(&["-p", &port]) else { return };
    let start = debian.start();
    assert!(!start.succeeded(), "{start}");
    assert_eq!(home.psql("main", "select number from kept").ok(), "1", "we go on as before");
    assert_eq!(bare_psql(Some(own.port())), "nap/main");
    home.nap(&["down"]).ok();
    debian.start().ok();
    let up = home.nap(&["up"]);
    assert!(up.fails_with(1).contains("postgres (PID"), "now the port is theirs: {up}");
    assert_eq!(bare_psql(Some(own.port())), debian.cluster());
}
