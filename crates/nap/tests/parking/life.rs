//! Sleep with clients that stay connected.

use super::*;

#[test]
fn a_server_sleeps_under_an_idle_session_and_wakes_for_it() {
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_after", "\"300ms\"").build();
    home.up();
    let mut session = session(&home);
    assert_eq!(session.ask("SELECT 41 + 1").unwrap(), "42");
    let first = session.ask("SELECT pg_backend_pid()").unwrap();
    sleeps(&home, "main");
    assert_eq!(home.server_pid("main"), None, "no PostgreSQL runs");
    assert_eq!(sessions(&home, "main"), [("parked".to_owned(), None)]);
    assert_eq!(session.ask("SELECT 42 + 1").unwrap(), "43");
    assert_ne!(session.ask("SELECT pg_backend_pid()").unwrap(), first);
    sleeps(&home, "main");
    assert_eq!(session.ask("SELECT 43 + 1").unwrap(), "44");
}

#[test]
fn told_to_sleep_it_parks_who_is_idle_and_is_refused_by_who_is_not() {
    let home = home();
    let mut idle = session(&home);
    idle.ask("SET application_name = 'x'").unwrap();
    home.nap(&["sleep"]).ok();
    assert_eq!(home.state("main"), "asleep");
    assert_eq!(idle.ask("SHOW application_name").unwrap(), "x");
    idle.ask("BEGIN").unwrap();
    let refused = home.nap(&["sleep"]);
    assert!(refused.fails_with(1).contains("1 pinned session"), "{refused}");
    assert_eq!(sessions(&home, "main"), [("idle in transaction".to_owned(), Some("in-transaction".to_owned()))]);
    let listed = home.nap(&["ls"]);
    assert!(listed.ok().contains("1 pinned session"), "{listed}");
    idle.ask("COMMIT").unwrap();
    home.nap(&["sleep"]).ok();
}

#[test]
fn a_restart_is_not_noticed_by_who_is_idle() {
    let home = home();
    let (mut idle, mut pinned) = (session(&home), session(&home));
    idle.ask("SET my.var = 'kept'").unwrap();
    pinned.ask("BEGIN").unwrap();
    let before = home.server_pid("main");
    home.nap(&["restart"]).ok();
    assert_ne!(home.server_pid("main"), before);
    assert_eq!(idle.ask("SHOW my.var").unwrap(), "kept");
    assert_eq!(pinned.ready().unwrap_err().code, "57P01");
}

#[test]
fn without_parking_every_session_keeps_its_server_awake() {
    let home = home();
    home.nap(&["set", "main", "park=off"]).ok();
    let mut idle = session(&home);
    let refused = home.nap(&["sleep"]);
    assert!(refused.fails_with(1).contains("1 session"), "{refused}");
    assert_eq!(idle.ask("SELECT 2").unwrap(), "2");
    home.nap(&["set", "main", "park="]).ok();
    home.nap(&["sleep"]).ok();
    assert_eq!(idle.ask("SELECT 3").unwrap(), "3");
}

#[test]
fn a_parked_session_is_told_when_it_ends() {
    let home = home();
    home.nap(&["branch", "dev"]).ok();
    let (mut ended, mut stays) = (session(&home), session_of(&home, "dev", &[]));
    home.nap(&["sleep"]).ok();
    let listed = home.nap(&["sessions", "main", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(listed.ok()).unwrap();
    home.nap(&["sessions", "--end", &listed[0]["id"].to_string()]).ok();
    assert_eq!(ended.ready().unwrap_err().code, "57P01");
    assert!(home.nap(&["sessions", "--end", "99999"]).fails_with(1).contains("no session 99999"));
    home.nap(&["sleep", "dev"]).ok();
    assert!(home.nap(&["rm", "dev"]).fails_with(1).contains("has 1 session"));
    home.nap(&["rm", "dev", "--force"]).ok();
    assert_eq!(stays.ready().unwrap_err().code, "57P01");
    let mut last = session(&home);
    home.nap(&["sleep"]).ok();
    home.nap(&["down"]).ok();
    assert_eq!(last.ready().unwrap_err().code, "57P01");
}

#[test]
fn an_active_session_that_is_ended_ends_at_once() {
    let home = home();
    let mut busy = session(&home);
    busy.send(b"Q\0\0\0\x1aSELECT pg_sleep(1000)\0");
    eventually("it is active", || (sessions(&home, "main")[0].0 == "active").then_some(()));
    home.nap(&["sessions", "--end", "1"]).ok();
    assert_eq!(busy.ready().unwrap_err().code, "57P01");
    let left = || home.psql("main", "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'");
    eventually("its statement is cancelled", || (left().ok() == "0").then_some(()));
}

#[test]
fn what_a_new_login_would_be_told_a_returning_session_is_told() {
    let home = home();
    home.psql("main", "CREATE ROLE gone LOGIN").ok();
    home.psql("main", "CREATE DATABASE lost").ok();
    let socket = |role: &str, database: &str| {
        let mut session =
            Raw::unix(&home.socket_directory(), home.port()).start(&[("user", role), ("database", database)]);
        session.ready().unwrap();
        session
    };
    let (mut of_role, mut of_database) = (socket("gone", "postgres"), socket(&home.role(), "lost"));
    home.nap(&["sleep"]).ok();
    home.psql("main", "DROP ROLE gone").ok();
    home.psql("main", "DROP DATABASE lost").ok();
    of_role.send(b"Q\0\0\0\x0dSELECT 2\0");
    assert_eq!(of_role.ready().unwrap_err().code, "28000");
    of_database.send(b"Q\0\0\0\x0dSELECT 2\0");
    assert_eq!(of_database.ready().unwrap_err().code, "3D000");
}

#[test]
fn a_parked_session_that_leaves_wakes_nothing() {
    let home = home();
    let (mut polite, rude) = (session(&home), session(&home));
    let wakes = home.put_to_sleep("main");
    polite.send(b"X\0\0\0\x04");
    drop(rude);
    eventually("both have gone", || sessions(&home, "main").is_empty().then_some(()));
    home.still_sleeps("main", wakes);
}

#[test]
fn a_cancel_with_the_first_key_reaches_the_current_backend() {
    let home = home();
    let role = home.role();
    let mut session =
        Raw::unix(&home.socket_directory(), home.port()).start(&[("user", &role), ("database", "postgres")]);
    let key = loop {
        if let (b'K', key) = session.message().unwrap() {
            break key;
        }
    };
    session.ready().unwrap();
    home.nap(&["sleep"]).ok();
    session.ask("SELECT 2").unwrap();
    session.send(b"Q\0\0\0\x1aSELECT pg_sleep(1000)\0");
    let running = || home.psql("main", "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'");
    eventually("it runs", || (running().ok() == "1").then_some(()));
    let request = [&(8 + key.len() as u32).to_be_bytes()[..], &80_877_102_u32.to_be_bytes(), &key].concat();
    Raw::unix(&home.socket_directory(), home.port()).send(&request);
    assert_eq!(session.ready().unwrap_err().code, "57014");
}

#[test]
fn an_idle_session_timeout_counts_while_parked() {
    let home = home();
    let mut session = session(&home);
    session.ask("SET idle_session_timeout = '3s'").unwrap();
    home.nap(&["sleep"]).ok();
    assert_eq!(session.ready().unwrap_err().code, "57P05");
}

#[test]
fn limits_of_connections_count_parked_sessions() {
    let home = home();
    home.psql("main", "CREATE ROLE two LOGIN CONNECTION LIMIT 2").ok();
    let begin = || Raw::unix(&home.socket_directory(), home.port()).start(&[("user", "two"), ("database", "postgres")]);
    let mut sessions = [begin(), begin()];
    sessions.iter_mut().for_each(|session| session.ready().unwrap());
    // Nobody of this role can be let in to rehearse, so the first try needs one that leaves.
    let [mut first, second] = sessions;
    drop(second);
    eventually("it has left", || (super::sessions(&home, "main").len() == 1).then_some(()));
    all_parked(&home, "main");
    let mut other = begin();
    other.ready().unwrap();
    assert_eq!(begin().ready().unwrap_err().code, "53300");
    assert_eq!(first.ask("SELECT 2").unwrap(), "2");
}

/// A client may send its last words and leave: a server would have read them.
#[test]
fn last_words_are_heard() {
    let home = home();
    home.psql("postgres@main", "CREATE TABLE said (word text)").ok();
    for leaves in [&b"X\0\0\0\x04"[..], b""] {
        let mut session = session(&home);
        home.nap(&["sleep"]).ok();
        let sql = b"INSERT INTO said VALUES ('last')\0";
        session.send(&[b"Q", &(sql.len() as u32 + 4).to_be_bytes()[..], sql, leaves].concat());
    }
    eventually("both are heard", || {
        (home.psql("postgres@main", "SELECT count(*) FROM said").ok() == "2").then_some(())
    });
}

#[test]
fn more_sessions_than_may_wait_come_back_at_once() {
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap"))
        .setting("sleep_after", "\"10min\"")
        .setting("max_waiting_clients", "2")
        .build();
    home.up();
    let mut sessions: Vec<_> = (0..20).map(|_| session(&home)).collect();
    home.nap(&["sleep"]).ok();
    sessions.iter_mut().for_each(|session| session.send(b"Q\0\0\0\x0dSELECT 2\0"));
    sessions.iter_mut().for_each(|session| session.ready().unwrap());
}
