//! What a service manager hears.

use nap_testkit::process::{self, Signal};
use nap_testkit::{DEADLINE, eventually};

use crate::home;
use crate::manager::Manager;

#[test]
fn it_says_when_it_serves_how_many_are_awake_and_that_it_reads_its_settings_again() {
    let home = home();
    let manager = Manager::new(&home);
    let daemon = manager.run(&["up", "--foreground"], &[]);
    let heard = manager.hears_of("READY=1");
    assert!(heard.iter().any(|message| message.starts_with("EXTEND_TIMEOUT_USEC=")), "{heard:?}");
    assert_eq!(home.psql("main", "select 1").ok(), "1", "whoever waited for READY is served");
    assert!(heard.last().unwrap().contains("\nSTATUS="), "{heard:?}");
    manager.hears_of("STATUS=0 of 1 branch awake");
    assert_eq!(home.psql("main", "select 1").ok(), "1");
    manager.hears_of("STATUS=1 of 1 branch awake");

    process::signal(daemon.id() as i32, Signal::HUP);
    let heard = manager.hears_of("RELOADING=1");
    let reloading = heard.last().unwrap();
    let since = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
    assert!(since.parse::<u64>().unwrap() > 0, "{reloading}");
    manager.hears_of("READY=1");

    let service = crate::manager::Service { daemon };
    service.stop();
    manager.hears_of("STOPPING=1");
}

#[test]
fn sigterm_to_the_daemon_alone_leaves_no_server_and_no_recovery() {
    let home = home();
    let manager = Manager::new(&home);
    let service = manager.start(&[]);
    home.nap(&["branch", "feature"]).ok();
    for branch in ["main", "feature"] {
        home.psql(&format!("postgres@{branch}"), "create table kept as select 1").ok();
    }
    let servers: Vec<i32> = ["main", "feature"].iter().flat_map(|branch| home.server_processes(branch)).collect();
    assert!(servers.len() > 4, "{servers:?}");
    service.stop();
    assert!(servers.iter().all(|pid| !process::is_alive(*pid)));
    for branch in ["main", "feature"] {
        let log = home.server_log(branch);
        assert!(log.trim_end().ends_with("database system is shut down"), "{log}");
    }
}

#[test]
fn it_says_that_it_lives_as_often_as_it_is_asked_and_no_server_hears_of_it() {
    let home = home();
    let manager = Manager::new(&home);
    let service = manager.start(&[("WATCHDOG_USEC", "200000")]);
    for _ in 0..3 {
        manager.hears_of("WATCHDOG=1");
    }
    home.psql("main", "select 1").ok();
    let server = home.server_pid("main").unwrap();
    let environment = std::fs::read(format!("/proc/{server}/environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment).replace('\0', "\n");
    let ours = home.beside().join("notify").display().to_string();
    assert!(!environment.contains(&ours) && !environment.contains("WATCHDOG_"), "{environment}");
    // Stopped, it is silent: a tick that is due meanwhile is not made up for.
    process::signal(service.pid(), Signal::STOP);
    eventually("it is stopped", || (process::state(service.pid()) == Some('T')).then_some(()));
    while manager.heard().is_some() {}
    assert_eq!(manager.heard(), None);
    process::signal(service.pid(), Signal::CONT);
    manager.hears_of("WATCHDOG=1");
    service.stop();
}

#[test]
fn a_long_shutdown_asks_for_time() {
    let home = home();
    let manager = Manager::new(&home);
    let mut service = manager.start(&[]);
    home.psql("main", "select 1").ok();
    let frozen = home.freeze_checkpointer("main");
    process::signal(service.pid(), Signal::TERM);
    let heard = manager.hears_of("STOPPING=1");
    let begun = std::time::Instant::now();
    let more = std::iter::from_fn(|| Some(manager.heard())).take_while(|_| begun.elapsed() < DEADLINE).flatten();
    let asked = heard.into_iter().chain(more).any(|message| message.starts_with("EXTEND_TIMEOUT_USEC="));
    assert!(asked, "its servers may take longer than the manager's patience");
    drop(frozen);
    assert!(service.daemon.wait().unwrap().success());
}
