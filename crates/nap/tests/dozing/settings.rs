//! When a server dozes of itself.

use super::*;

#[test]
fn one_that_dozes_early_goes_on_to_sleep() {
    let home = builder().setting("sleep_after", "\"3s\"").setting("doze_after", "\"300ms\"").build();
    home.up();
    let mut session = session(&home);
    session.ask("SELECT 2").unwrap();
    dozes(&home);
    assert!(home.nap(&["ls"]).ok().contains("nobody does anything"));
    home.wait_state("main", "asleep");
    assert_eq!(session.ask("SELECT 3").unwrap(), "3");
    drop(session);
    // Without any session it is the same.
    dozes(&home);
    home.wait_state("main", "asleep");
}

#[test]
fn one_that_dozes_early_and_is_pinned_dozes_on() {
    let home = builder().setting("sleep_after", "\"2s\"").setting("doze_after", "\"300ms\"").build();
    home.up();
    let mut session = pinned(&home);
    dozes(&home);
    eventually("sleep was tried", || home.nap(&["ls"]).ok().contains("1 pinned session").then_some(()));
    dozes(&home);
    still_has_its_table(&mut session);
}

#[test]
fn one_that_never_sleeps_may_doze() {
    let home = builder().setting("sleep_after", "\"never\"").build();
    home.up();
    let mut session = session(&home);
    session.ask("SELECT 2").unwrap();
    home.nap(&["set", "main", "doze_after=300ms"]).ok();
    dozes(&home);
    assert_eq!(session.ask("SELECT 2").unwrap(), "2");
    home.nap(&["set", "main", "park=off"]).ok();
    dozes(&home);
    assert_eq!(session.ask("SELECT 2").unwrap(), "2");
}

#[test]
fn a_session_may_ask_for_its_server_to_stay_awake() {
    let home = builder().setting("sleep_after", "\"200ms\"").build();
    home.up();
    let mut session = session(&home);
    session.ask("SET nap.keep_awake = on").unwrap();
    eventually("sleep was tried", || home.daemon_log().contains("sessions keep it awake").then_some(()));
    assert_eq!((home.state("main").as_str(), dozed(&home)), ("awake", 0));
    session.ask("SET nap.keep_awake = off").unwrap();
    home.wait_state("main", "asleep");
}

#[test]
fn where_none_may_doze_pinned_sessions_keep_it_awake() {
    let home = builder().setting("sleep_after", "\"200ms\"").setting("doze_after", "\"never\"").build();
    home.up();
    let mut session = pinned(&home);
    eventually("sleep was tried", || home.daemon_log().contains("sessions keep it awake").then_some(()));
    assert_eq!(home.state("main"), "awake");
    // Other settings hold at once.
    home.nap(&["set", "main", "doze_after=300ms"]).ok();
    dozes(&home);
    home.nap(&["set", "main", "doze_after="]).ok();
    home.wait_state("main", "awake");
    runs(&home);
    still_has_its_table(&mut session);
    assert!(home.nap(&["set", "main", "doze_after=soon"]).fails_with(2).contains("soon"));
}
