//! Servers that somebody else starts or stops.

use std::process::Command;

use nap_testkit::{Output, TestHome, as_server_user, eventually, process};
use tokio_postgres::error::SqlState;

use super::{home, rows};

fn pg_ctl(home: &TestHome, arguments: &[&str]) -> Command {
    let mut command = as_server_user(home.install().program("pg_ctl"));
    command.arg("-D").arg(home.data("main")).args(arguments);
    command
}

/// Starts a server on main's data directory as its user would by hand. Gives its pid and how to connect to it.
fn start_by_hand(home: &TestHome) -> (i32, String) {
    let (sockets, port) = (home.socket_directory(), home.port() + 1);
    let options = format!("-c port={port} -c listen_addresses='' -c unix_socket_directories={}", sockets.display());
    let log = home.beside().join("by-hand.log");
    Output::of(pg_ctl(home, &["-w", "-o", &options, "-l"]).arg(&log).arg("start")).ok();
    (home.server_pid("main").unwrap(), format!("host={} port={port} user=postgres dbname=postgres", sockets.display()))
}

fn by_hand(home: &TestHome, connection: &str, sql: &str) {
    Output::of(as_server_user(home.install().program("psql")).args(["-Xq", "-d", connection, "-c", sql])).ok();
}

#[tokio::test]
async fn a_server_started_by_hand_is_named_and_its_changes_to_roles_count() {
    let home = home();
    let mut config = home.config("main");
    let role = home.role();
    home.sleep("main");
    let (pid, connection) = start_by_hand(&home);

    let named = format!("PID {pid}");
    let asleep = home.branch("main").unwrap();
    assert!(asleep["status"]["failure"].as_str().unwrap_or_default().contains(&named), "{asleep}");
    assert!(home.nap(&["ls"]).ok().contains(&named), "{}", home.nap(&["ls"]));

    let refused = nap_testkit::connect(&config).await.expect_err("the directory is in use");
    let error = refused.as_db_error().expect("an error of PostgreSQL's kind");
    assert_eq!(error.code(), &SqlState::OBJECT_IN_USE, "{error}");
    assert!(error.message().contains(&named), "{error}");
    assert!(home.nap(&["wake", "main"]).fails_with(1).contains(&named));

    by_hand(&home, &connection, &format!("alter role \"{role}\" password 'changed by hand'"));
    assert!(process::is_alive(pid), "nobody touched it");
    Output::of(&mut pg_ctl(&home, &["-w", "-m", "fast", "stop"])).ok();

    let old = nap_testkit::connect(&config).await.expect_err("the old password is of no use");
    assert_eq!(old.code(), Some(&SqlState::INVALID_PASSWORD), "{old:?}");
    config.password("changed by hand");
    nap_testkit::connect(&config).await.unwrap();
    assert!(home.branch("main").unwrap()["status"]["failure"].is_null());
}

#[tokio::test]
async fn a_daemon_that_starts_beside_a_server_started_by_hand_waits_for_its_end() {
    let home = home();
    let config = home.config("main");
    home.nap(&["down"]).ok();
    let (pid, _) = start_by_hand(&home);
    home.up();
    let refused = nap_testkit::connect(&config).await.expect_err("the directory is in use");
    assert_eq!(refused.code(), Some(&SqlState::OBJECT_IN_USE), "{refused:?}");
    Output::of(&mut pg_ctl(&home, &["-w", "-m", "fast", "stop"])).ok();
    process::wait_gone(pid);
    nap_testkit::connect(&config).await.unwrap();
}

#[tokio::test]
async fn our_server_stopped_by_hand_is_started_for_the_next_client() {
    let home = home();
    home.psql("main", "insert into kept values (1)").ok();
    let session = home.connect("main").await;
    Output::of(&mut pg_ctl(&home, &["-w", "-m", "fast", "stop"])).ok();
    let ended = session.query_one("select 1", &[]).await.unwrap_err();
    assert!(ended.code().is_none_or(|code| *code == SqlState::ADMIN_SHUTDOWN), "{ended:?}");
    home.wait_state("main", "asleep");
    assert_eq!(home.branch("main").unwrap()["status"]["reason"], "stopped-by-other");
    assert_eq!(rows(&home), "1");

    Output::of(&mut pg_ctl(&home, &["-w", "-m", "immediate", "stop"])).ok();
    assert_eq!(rows(&home), "1");
}

#[tokio::test]
async fn who_comes_while_somebody_shuts_our_server_down_the_smart_way_waits_and_is_served() {
    let home = home();
    home.psql("main", "insert into kept values (1)").ok();
    let (session, url) = (home.connect("main").await, home.url("main"));
    let server = home.server_pid("main").unwrap();
    Output::of(&mut pg_ctl(&home, &["-W", "-m", "smart", "stop"])).ok();
    eventually("it shuts down", || (home.postmaster_progress("main")? == "stopping").then_some(()));
    let next = std::thread::spawn({
        let command = std::sync::Mutex::new(home.program("psql"));
        move || Output::of(command.lock().unwrap().args(["-XqAt", "-d", &url, "-c", "select count(*) from kept"]))
    });
    // A smart shutdown lets the sessions there are go on.
    assert_eq!(session.query_one("select 1", &[]).await.unwrap().get::<_, i32>(0), 1);
    assert!(!next.is_finished(), "nobody can be let in now");
    drop(session);
    assert_eq!(next.join().unwrap().ok(), "1");
    assert_ne!(home.server_pid("main"), Some(server));
}

#[test]
fn our_server_restarted_by_hand_is_taken_over() {
    let home = home();
    home.psql("main", "insert into kept values (1)").ok();
    let before = home.server_pid("main").unwrap();
    let log = home.beside().join("by-hand.log");
    // pg_ctl starts it with the command line that we gave it.
    Output::of(pg_ctl(&home, &["-w", "-m", "fast", "-l"]).arg(&log).arg("restart")).ok();
    let after = home.server_pid("main").unwrap();
    assert_ne!(before, after);
    assert_eq!(rows(&home), "1");
    assert_eq!(home.branch("main").unwrap()["status"]["pid"], after);
    home.wait_state("main", "asleep");
    process::wait_gone(after);
}
