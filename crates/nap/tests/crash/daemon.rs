//! kill -9 of the daemon: servers go on, the next daemon takes them over in whatever state they are.

use nap_testkit::{eventually, process};

use super::{begin, builder, home, rows};

#[test]
fn servers_outlive_the_daemon_and_the_next_one_adopts_them() {
    let home = home();
    home.psql("main", "insert into kept values (1)").ok();
    let server = home.server_pid("main").unwrap();
    home.kill_daemon();

    assert_eq!(home.psql_past_the_daemon("main", "select 2").ok(), "2", "the server goes on");
    assert!(process::is_alive(server));
    home.nap(&["ls"]).fails_with(3);

    home.up();
    assert_eq!(home.branch("main").unwrap()["status"]["pid"], server);
    assert_eq!(home.state("main"), "awake");
    assert_eq!(home.server_pid("main"), Some(server), "it was not started anew");
    home.wait_state("main", "asleep");
    home.wait_nothing_runs();
    assert_eq!(rows(&home), "1");
    assert!(!home.server_log("main").contains("not properly shut down"), "the adopted server was shut down cleanly");
}

#[tokio::test]
async fn a_session_that_loses_its_daemon_leaves_no_backend_that_keeps_the_server_awake() {
    let home = home();
    let session = home.connect("main").await;
    session.batch_execute("begin; insert into kept values (1)").await.unwrap();
    home.kill_daemon();
    assert!(session.batch_execute("commit").await.is_err(), "its connection is gone");
    home.up();
    home.wait_state("main", "asleep");
    assert_eq!(rows(&home), "0", "what was not committed is not there");
}

#[test]
fn a_daemon_that_dies_while_a_server_wakes_leaves_it_to_the_next() {
    let home = home();
    let hold = home.hold_starts("main");
    home.sleep("main");
    let url = home.url("main");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| home.psql_with(&url, "select 1"));
        let server = home.wait_start_is_held("main");
        assert_eq!(home.state("main"), "waking");
        home.kill_daemon();
        assert!(!waiting.join().unwrap().succeeded(), "its daemon is gone");

        home.up();
        assert_eq!(home.state("main"), "waking");
        let next = scope.spawn(|| home.psql_with(&url, "select 2"));
        eventually("a client waits", || (home.branch("main")?["status"]["waiting"] == 1).then_some(()));
        hold.release();
        assert_eq!(next.join().unwrap().ok(), "2");
        assert_eq!(home.server_pid("main"), Some(server), "it is the same server");
    });
    home.wait_state("main", "asleep");
}

#[test]
fn a_daemon_that_dies_while_a_server_settles_leaves_it_awake() {
    let home = home();
    home.psql("main", "insert into kept values (1)").ok();
    let server = home.server_pid("main").unwrap();
    let frozen = home.freeze_checkpointer("main");
    home.wait_state("main", "settling");
    home.kill_daemon();
    home.up();
    assert_eq!(home.server_pid("main"), Some(server));
    // It would settle, but cannot; a client that comes meanwhile is served all the same.
    assert_eq!(rows(&home), "1");
    drop(frozen);
    home.wait_state("main", "asleep");
    assert_eq!(rows(&home), "1");
}

#[test]
fn a_daemon_that_dies_while_a_server_shuts_down_leaves_the_end_to_the_next() {
    let home = begin(builder().setting("sleep_after", "\"never\""));
    home.psql("main", "insert into kept values (1)").ok();
    let (server, url) = (home.server_pid("main").unwrap(), home.url("main"));
    let frozen = home.freeze_checkpointer("main");
    std::thread::scope(|scope| {
        let restart = scope.spawn(|| home.nap(&["restart", "main"]));
        eventually("it shuts down", || (home.postmaster_progress("main")? == "stopping").then_some(()));
        assert_eq!(home.state("main"), "stopping");
        home.kill_daemon();
        assert!(!restart.join().unwrap().succeeded());
    });
    home.up();
    assert_eq!((home.state("main"), home.server_pid("main")), ("stopping".to_owned(), Some(server)));
    std::thread::scope(|scope| {
        let next = scope.spawn(|| home.psql_with(&url, "select count(*) from kept"));
        drop(frozen);
        assert_eq!(next.join().unwrap().ok(), "1");
    });
    process::wait_gone(server);
    assert_ne!(home.server_pid("main"), Some(server));
}
