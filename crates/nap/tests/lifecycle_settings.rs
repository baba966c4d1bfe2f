//! PostgreSQL's own ways to change settings work; what Napgres needs stands on the command line and wins.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods, reason = "a test")]

use std::io::Write;

use nap_testkit::{TestHome, eventually};

fn home() -> TestHome {
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_after", "\"10min\"").build();
    home.up();
    home
}

#[test]
fn alter_system_and_restart() {
    let home = home();
    home.psql("main", "alter system set shared_buffers = '17MB'").ok();
    home.psql("main", "alter system set work_mem = '5MB'").ok();
    assert_ne!(home.psql("main", "show shared_buffers").ok(), "17MB");
    let before = home.server_pid("main");
    eventually("restarted", || home.nap(&["restart", "main"]).succeeded().then_some(()));
    assert_ne!(home.server_pid("main"), before);
    assert_eq!(home.psql("main", "show shared_buffers").ok(), "17MB");
    assert_eq!(home.psql("main", "show work_mem").ok(), "5MB");
}

#[test]
fn postgresql_conf_holds_at_the_next_wake() {
    let home = home();
    home.psql("main", "select 1").ok();
    let mut file = std::fs::OpenOptions::new().append(true).open(home.data("main").join("postgresql.conf")).unwrap();
    writeln!(file, "shared_buffers = 18MB\nmy.own = 'x'").unwrap();
    home.put_to_sleep("main");
    assert_eq!(home.psql("main", "show shared_buffers").ok(), "18MB");
    assert_eq!(home.psql("main", "show my.own").ok(), "x");
    home.nap(&["branch", "feat"]).ok();
    assert_eq!(home.psql("feat", "show my.own").ok(), "x", "a clone has its parent's settings");
}

#[test]
fn ours_win() {
    let home = home();
    for setting in [
        "listen_addresses = '*'",
        "port = 1",
        "unix_socket_directories = '/nowhere'",
        "unix_socket_permissions = '0777'",
        "hba_file = '/nowhere'",
        "logging_collector = on",
        "log_destination = 'csvlog'",
        "cluster_name = 'x'",
    ] {
        home.psql("main", &format!("alter system set {setting}")).ok();
    }
    home.put_to_sleep("main");
    let show = |name: &str| home.psql("main", &format!("show {name}")).ok().to_owned();
    assert_eq!(show("listen_addresses"), "");
    assert_eq!(show("port"), "5432");
    assert_eq!(show("unix_socket_permissions"), "0700");
    assert_eq!(show("logging_collector"), "off");
    assert_eq!(show("cluster_name"), "nap/main");
    // A reload must not bring them in either.
    home.psql("main", "select pg_reload_conf()").ok();
    assert_eq!(show("log_destination"), "stderr");
    assert_eq!(show("hba_file"), home.path().join("run/server_hba.conf").display().to_string());
    home.put_to_sleep("main");
    assert_eq!(home.psql("main", "select 1").ok(), "1");
}
