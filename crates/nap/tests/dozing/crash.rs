//! What becomes of a frozen server when something dies.

use super::*;

fn with_a_row() -> (TestHome, Raw<UnixStream>) {
    let home = home();
    let mut session = pinned(&home);
    session.ask("CREATE TABLE kept AS SELECT 7 AS number").unwrap();
    doze(&home);
    (home, session)
}

/// Whoever waits for its next words hears of its end.
fn is_told_of_its_end(session: &mut Raw<UnixStream>) {
    let ended = || session.message().is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock).then_some(());
    eventually("the session has ended", ended);
}

fn the_row_is_there(home: &TestHome) {
    assert_eq!(home.psql("postgres@main", "SELECT number FROM kept").ok(), "7");
}

#[test]
fn when_the_daemon_dies_its_servers_go_on_and_the_next_takes_them_over() {
    let (home, session) = with_a_row();
    let (server, guardian_was) = (home.server_pid("main"), guardian(&home).unwrap());
    home.kill_daemon();
    process::wait_gone(guardian_was);
    runs(&home);
    home.up();
    assert_eq!(home.server_pid("main"), server, "it is the same server");
    drop(session);
    the_row_is_there(&home);
}

#[test]
fn a_guardian_cannot_be_ended_by_who_ends_the_daemon() {
    let (home, mut session) = with_a_row();
    let guardian_was = guardian(&home).unwrap();
    for signal in [process::Signal::TERM, process::Signal::INT, process::Signal::HUP, process::Signal::QUIT] {
        process::signal(guardian_was, signal);
    }
    still_has_its_table(&mut session);
    doze(&home);
    assert_eq!(guardian(&home), Some(guardian_was));
    assert!(!home.daemon_log().contains("the guardian has died"));
}

#[test]
fn when_the_guardian_dies_its_servers_go_on_and_doze_under_another() {
    let home = builder().setting("sleep_after", "\"300ms\"").build();
    home.up();
    let mut session = pinned(&home);
    dozes(&home);
    let killed = guardian(&home).unwrap();
    process::kill9(killed);
    eventually_dozed(&home, 2);
    is_frozen(&home);
    assert!(home.daemon_log().contains("the guardian has died"));
    assert!(guardian(&home).is_some_and(|pid| pid != killed));
    still_has_its_table(&mut session);
}

#[test]
fn when_daemon_and_guardian_are_dead_the_next_daemon_lets_it_go_on() {
    let (home, session) = with_a_row();
    let (server, daemon) = (home.server_pid("main"), home.daemon_process().unwrap());
    // It must not notice that its guardian dies.
    process::signal(daemon, process::Signal::STOP);
    process::kill9(guardian(&home).unwrap());
    process::kill9(daemon);
    process::wait_gone(daemon);
    // But for the postmaster: the kernel lets go on what is stopped in a group that nobody is left to look after.
    assert!(process_states(&home).iter().filter(|state| **state == 'T').count() > 4, "nobody has let it go on");
    home.up();
    assert_eq!(home.server_pid("main"), server);
    runs(&home);
    drop(session);
    the_row_is_there(&home);
}

#[test]
fn a_postmaster_that_is_killed_is_noticed() {
    let (home, mut session) = with_a_row();
    let killed = home.kill_postmaster("main");
    is_told_of_its_end(&mut session);
    the_row_is_there(&home);
    assert_ne!(home.server_pid("main"), Some(killed));
    assert!(home.daemon_log().contains("crashed branch=main from=dozing to=asleep"));
}

#[test]
fn a_backend_that_is_killed_is_noticed() {
    let (home, mut session) = with_a_row();
    still_has_its_table(&mut session);
    let backend: i32 = session.ask("SELECT pg_backend_pid()").unwrap().parse().unwrap();
    let mut other = pinned(&home);
    doze(&home);
    process::kill9(backend);
    is_told_of_its_end(&mut session);
    // Its client hears of it first.
    eventually("it goes on", || {
        home.daemon_log().contains("a session has left branch=main from=dozing to=awake").then_some(())
    });
    // PostgreSQL ends all others when one is killed.
    is_told_of_its_end(&mut other);
    the_row_is_there(&home);
    assert!(home.server_log("main").contains("was terminated by signal 9"));
}

#[test]
fn a_data_directory_that_is_moved_meanwhile_changes_nothing() {
    let (home, mut session) = with_a_row();
    let server = home.server_pid("main").unwrap();
    let (data, elsewhere) = (home.data("main"), home.data("main").with_extension("moved"));
    std::fs::rename(&data, &elsewhere).unwrap();
    still_has_its_table(&mut session);
    std::fs::rename(&elsewhere, &data).unwrap();
    let all = [vec![server], process::children(server)].concat();
    assert!(all.into_iter().all(|pid| process::state(pid) != Some('T')));
    the_row_is_there(&home);
}
