//! The daemon, its port, and servers that it knows or does not know.

use std::net::TcpListener;

use nap_testkit::{Frozen, TestHome, process};

use super::{doctor, home};

#[test]
fn a_port_that_another_process_holds() {
    let home = home();
    doctor(&home).is_well("port");
    let _held = TcpListener::bind(("127.0.0.1", home.port())).unwrap();
    doctor(&home).finds("port", "fail", &format!("(PID {})", std::process::id()), "--port");
}

#[test]
fn a_daemon_that_does_not_answer_or_was_killed() {
    let home = home();
    doctor(&home).finds("daemon", "warn", "not up", "nap up");
    home.up();
    home.psql("main", "select 1").ok();
    let healthy = doctor(&home);
    healthy.is_well("daemon");
    healthy.is_well("orphans");
    let frozen = Frozen::process(home.daemon_pid());
    doctor(&home).finds("daemon", "fail", "does not answer", "nap logs --daemon");
    drop(frozen);
    home.nap(&["set", "main", "sleep_after=never"]).ok();
    home.psql("main", "select 1").ok();
    std::fs::create_dir(home.path().join("staging/half")).unwrap();
    nap_testkit::give_to_server_user(&home.path().join("staging/half"));
    home.kill_daemon();
    let report = doctor(&home);
    report.finds("orphans", "warn", "main", "nap up");
    report.finds("leftovers", "warn", "staging/half", "sweeps");
    let server = home.server_pid("main");
    home.up();
    assert_eq!(home.server_pid("main"), server, "it was taken over");
    let cured = doctor(&home);
    cured.is_well("orphans");
    cured.is_well("leftovers");
}

#[test]
fn a_daemon_whose_program_was_replaced() {
    let directory = tempfile();
    let program = directory.path().join("nap");
    std::fs::copy(env!("CARGO_BIN_EXE_nap"), &program).unwrap();
    let home = TestHome::new(&program);
    home.up();
    doctor(&home).is_well("version");
    // As a package manager does it.
    let new = directory.path().join("new");
    std::fs::copy(env!("CARGO_BIN_EXE_nap"), &new).unwrap();
    std::fs::rename(&new, &program).unwrap();
    doctor(&home).finds("version", "warn", "replaced", "`nap down`, then `nap up`");
}

fn tempfile() -> tempfile::TempDir {
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    directory
}

#[test]
fn a_server_that_does_not_start() {
    let home = home();
    home.up();
    let conf = home.data("main").join("postgresql.conf");
    let text = std::fs::read_to_string(&conf).unwrap();
    std::fs::write(&conf, format!("{text}\nshared_buffers = 'many'\n")).unwrap();
    home.sleep("main");
    assert!(!home.nap(&["wake", "main"]).succeeded());
    doctor(&home).finds("servers", "fail", "main did not start", "nap logs main");
    std::fs::write(&conf, text).unwrap();
    home.nap(&["wake", "main"]).ok();
    doctor(&home).is_well("servers");
    assert!(process::is_alive(home.server_pid("main").unwrap()));
}
