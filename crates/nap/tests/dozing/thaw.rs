//! Everything that lets a frozen server go on.

use super::*;

/// A home whose server dozes under a pinned session.
fn dozing() -> (TestHome, Raw<UnixStream>) {
    let home = home();
    let session = pinned(&home);
    doze(&home);
    (home, session)
}

fn goes_on(home: &TestHome, why: &str) {
    assert_eq!(home.state("main"), "awake");
    assert!(home.daemon_log().contains(&format!("{why} branch=main from=dozing to=awake")), "{}", home.daemon_log());
    runs(home);
}

#[test]
fn a_session_that_says_half_a_message() {
    let (home, mut session) = dozing();
    session.send(b"Q\0\0\0\x0dSEL");
    home.wait_state("main", "awake");
    goes_on(&home, "a session does something");
    session.send(b"ECT 2\0");
    session.ready().unwrap();
    still_has_its_table(&mut session);
}

#[test]
fn a_new_client() {
    let (home, mut session) = dozing();
    assert_eq!(home.psql("postgres@main", "SELECT 1").ok(), "1");
    goes_on(&home, "a client arrived");
    still_has_its_table(&mut session);
}

#[test]
fn a_parked_session_that_returns() {
    let home = home();
    let mut parked = session(&home);
    home.nap(&["sleep"]).ok();
    let mut session = pinned(&home);
    doze(&home);
    assert_eq!(parked.ask("SELECT 1").unwrap(), "1");
    is_frozen(&home);
    assert_eq!(parked.ask("SELECT 2").unwrap(), "2");
    goes_on(&home, "a client arrived");
    still_has_its_table(&mut session);
}

#[test]
fn a_session_that_leaves_politely_or_not() {
    for farewell in [&b"X\0\0\0\x04"[..], b""] {
        let (home, mut session) = dozing();
        session.send(farewell);
        drop(session);
        home.wait_state("main", "awake");
        runs(&home);
        home.sleep("main");
    }
}

#[test]
fn a_session_that_is_ended() {
    let (home, mut session) = dozing();
    home.nap(&["sessions", "--end", "1"]).ok();
    assert_eq!(session.ready().unwrap_err().code, "57P01");
    home.wait_state("main", "awake");
    home.sleep("main");
}

#[test]
fn a_cancel_request() {
    let home = home();
    let mut session = begin(&home);
    let key = loop {
        if let (b'K', key) = session.message().unwrap() {
            break key;
        }
    };
    session.ready().unwrap();
    session.ask("CREATE TEMP TABLE pin AS SELECT 41 AS number").unwrap();
    let request = [&(8 + key.len() as u32).to_be_bytes()[..], &80_877_102_u32.to_be_bytes(), &key].concat();
    doze(&home);
    // Of nothing: it is heard at once, so that it does not hit what comes later.
    Raw::unix(&home.socket_directory(), home.port()).send(&request);
    home.wait_state("main", "awake");
    goes_on(&home, "a session does something");
    doze(&home);
    session.send(b"Q\0\0\0\x1aSELECT pg_sleep(1000)\0");
    let running = || home.psql("main", "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'");
    eventually("it runs", || (running().ok() == "1").then_some(()));
    Raw::unix(&home.socket_directory(), home.port()).send(&request);
    assert_eq!(session.ready().unwrap_err().code, "57014");
    session.ready().unwrap();
    still_has_its_table(&mut session);
}

#[test]
fn nap_wake() {
    let (home, mut session) = dozing();
    home.nap(&["wake"]).ok();
    goes_on(&home, "a client arrived");
    still_has_its_table(&mut session);
}

#[test]
fn sessions_that_are_to_be_parked() {
    let (home, mut session) = dozing();
    let parked = home.nap(&["sessions", "main", "--park", "--json"]);
    let parked: serde_json::Value = serde_json::from_str(parked.ok()).unwrap();
    assert_eq!(parked[0]["pin"], "temporary-objects");
    still_has_its_table(&mut session);
}

#[test]
fn restart_remove_and_down_end_its_sessions_at_once() {
    let (home, mut session) = dozing();
    let server = home.server_pid("main").unwrap();
    home.nap(&["restart", "main"]).ok();
    assert_eq!(session.ready().unwrap_err().code, "57P01");
    assert_ne!(home.server_pid("main"), Some(server));
    home.nap(&["branch", "dev"]).ok();
    let socket = Raw::unix(&home.socket_directory(), home.port());
    let mut session = socket.start(&[("user", &home.role()), ("database", "postgres@dev")]);
    session.ready().unwrap();
    home.nap(&["doze", "dev"]).ok();
    home.nap(&["rm", "dev", "--force"]).ok();
    assert_eq!(session.ready().unwrap_err().code, "57P01");
    let mut session = pinned(&home);
    doze(&home);
    home.nap(&["down"]).ok();
    assert_eq!(session.ready().unwrap_err().code, "57P01");
    home.wait_nothing_runs();
    eventually("the guardian has gone", || guardian(&home).is_none().then_some(()));
}

#[test]
fn nobody_who_has_not_been_let_in_does() {
    let (home, mut session) = dozing();
    let url = home.url("postgres@main");
    let wrong = url.replacen(url.split(':').nth(2).unwrap().split('@').next().unwrap(), "wrong", 1);
    home.psql_with(&wrong, "SELECT 1").fails_with(2);
    is_frozen(&home);
    still_has_its_table(&mut session);
}
