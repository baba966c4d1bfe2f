//! From awake to dozing and back.

use super::*;

#[test]
fn pinned_sessions_let_their_server_doze_and_lose_nothing() {
    let home = builder().setting("sleep_after", "\"300ms\"").build();
    home.up();
    let mut session = pinned(&home);
    let pid = session.ask("SELECT pg_backend_pid()").unwrap();
    for _ in 0..3 {
        dozes(&home);
        let listed = home.nap(&["ls"]);
        assert!(listed.ok().contains("dozing for") && listed.ok().contains("1 pinned session"), "{listed}");
        is_frozen(&home);
        still_has_its_table(&mut session);
        assert_eq!(session.ask("SELECT pg_backend_pid()").unwrap(), pid);
    }
    session.ask("DROP TABLE pin").unwrap();
    home.wait_state("main", "asleep");
    assert_eq!(session.ask("SELECT 2").unwrap(), "2");
}

#[test]
fn none_of_its_processes_is_stopped_when_it_goes_on() {
    let home = home();
    let mut session = pinned(&home);
    runs(&home);
    doze(&home);
    still_has_its_table(&mut session);
    assert_eq!(home.state("main"), "awake");
    runs(&home);
}

#[test]
fn a_session_that_could_be_parked_keeps_its_backend_if_told_to_doze() {
    let home = home();
    let mut session = session(&home);
    let pid = session.ask("SELECT pg_backend_pid()").unwrap();
    doze(&home);
    home.nap(&["doze"]).ok();
    is_frozen(&home);
    assert_eq!(session.ask("SELECT pg_backend_pid()").unwrap(), pid);
}

#[test]
fn it_is_refused_while_something_is_under_way() {
    let home = home();
    let mut busy = session(&home);
    busy.send(b"Q\0\0\0\x1aSELECT pg_sleep(1000)\0");
    let refused = home.nap(&["doze"]);
    assert!(refused.fails_with(1).contains("1 session"), "{refused}");
    home.nap(&["sessions", "--end", "1"]).ok();
    let past_the_gateway = Raw::unix(&home.private_socket_directory("main"), 5432);
    let mut past_the_gateway = past_the_gateway.start(&[("user", &home.role()), ("database", "postgres")]);
    past_the_gateway.ready().unwrap();
    let refused = home.nap(&["doze"]);
    assert!(refused.fails_with(1).contains("1 client past the gateway"), "{refused}");
    runs(&home);
    past_the_gateway.leave();
    eventually("it dozes", || home.nap(&["doze"]).succeeded().then_some(()));
    is_frozen(&home);
}

#[test]
fn only_a_server_that_is_awake_can_doze() {
    let home = home();
    home.sleep("main");
    let refused = home.nap(&["doze"]);
    assert!(refused.fails_with(1).contains("is asleep: only one that is awake can doze"), "{refused}");
    assert_eq!(home.state("main"), "asleep");
}

#[test]
fn told_to_sleep_while_it_dozes_it_sleeps_or_says_what_pins_it() {
    let home = home();
    let mut session = pinned(&home);
    doze(&home);
    let refused = home.nap(&["sleep"]);
    assert!(refused.fails_with(1).contains("1 pinned session"), "{refused}");
    is_frozen(&home);
    session.ask("DROP TABLE pin").unwrap();
    doze(&home);
    home.nap(&["sleep"]).ok();
    assert_eq!((home.state("main").as_str(), home.server_pid("main")), ("asleep", None));
    assert_eq!(session.ask("SELECT 2").unwrap(), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_makes_room_for_another_server_unless_it_is_pinned() {
    let home = builder().setting("max_awake", "1").setting("wake_timeout", "\"2s\"").build();
    home.up();
    home.nap(&["branch", "other"]).ok();
    let mut session = pinned(&home);
    doze(&home);
    let refused = home.psql("postgres@other", "SELECT 1");
    assert!(refused.fails_with(2).contains("max_awake"), "{refused}");
    is_frozen(&home);
    still_has_its_table(&mut session);
    session.ask("DROP TABLE pin").unwrap();
    doze(&home);
    home.psql("postgres@other", "SELECT 1").ok();
    assert_eq!(session.ask("SELECT 2").unwrap(), "2");
}

#[test]
fn a_transaction_with_its_lock_survives() {
    let home = home();
    home.psql("postgres@main", "CREATE TABLE shared (number int)").ok();
    let mut holder = session(&home);
    for command in ["BEGIN", "INSERT INTO shared VALUES (1)", "LOCK TABLE shared"] {
        holder.ask(command).unwrap();
    }
    doze(&home);
    let mut other = session(&home);
    other.ask("SET lock_timeout = '100ms'").unwrap();
    assert_eq!(other.ask("SELECT count(*) FROM shared").unwrap_err().code, "55P03");
    doze(&home);
    holder.ask("COMMIT").unwrap();
    assert_eq!(other.ask("SELECT count(*) FROM shared").unwrap(), "1");
}
