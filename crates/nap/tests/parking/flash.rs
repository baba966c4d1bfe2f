//! `flash = manual`: users say when a server sleeps, not the clock.

use super::*;

/// A home that would sleep at once if it were the clock's to say, with its branch `main` awake.
fn manual() -> TestHome {
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap"))
        .setting("sleep_after", "\"100ms\"")
        .setting("flash", "\"manual\"")
        .build();
    home.up();
    home
}

/// As long as another branch with the same settings, but by the clock, needs to sleep.
fn stays_awake(home: &TestHome) {
    let server = home.server_pid("main");
    let clock = session_of(home, "clock", &[]);
    sleeps(home, "clock");
    assert_eq!(home.server_pid("main"), server);
    assert!(server.is_some());
    drop(clock);
}

fn with_a_clock(home: &TestHome) {
    home.nap(&["sleep", "main"]).ok();
    home.nap(&["branch", "clock"]).ok();
    home.nap(&["set", "clock", "flash=auto"]).ok();
    home.nap(&["wake", "main"]).ok();
}

#[test]
fn it_sleeps_when_it_is_told_to_and_not_before() {
    let home = manual();
    with_a_clock(&home);
    let mut session = session(&home);
    stays_awake(&home);
    let listed = home.nap(&["ls"]);
    assert!(listed.ok().contains("flash = manual"), "{listed}");
    session.ask("SET nap.keep_awake = off").unwrap();
    sleeps(&home, "main");
    assert_eq!(sessions(&home, "main"), [("parked".to_owned(), None)]);
    // What was said is done: the next time it must be told again.
    assert_eq!(session.ask("SELECT 2").unwrap(), "2");
    stays_awake(&home);
    home.nap(&["sleep"]).ok();
    assert_eq!(session.ask("SELECT 3").unwrap(), "3");
    home.nap(&["set", "main", "flash=auto"]).ok();
    sleeps(&home, "main");
}

/// One session wants the server awake, another one has told it to sleep.
fn at_odds(home: &TestHome) -> (Raw<UnixStream>, Raw<UnixStream>) {
    with_a_clock(home);
    let (mut awake, mut asleep) = (session(home), session(home));
    awake.ask("SET nap.keep_awake = on").unwrap();
    asleep.ask("SELECT set_config('nap.keep_awake', 'off', false)").unwrap();
    eventually("sleep was tried", || home.daemon_log().contains("sessions keep it awake").then_some(()));
    (awake, asleep)
}

#[test]
fn it_waits_for_who_wants_it_awake() {
    let home = manual();
    let (mut awake, _asleep) = at_odds(&home);
    stays_awake(&home);
    awake.ask("RESET nap.keep_awake").unwrap();
    sleeps(&home, "main");
}

#[test]
fn who_goes_takes_its_wish_along() {
    let home = manual();
    let (awake, mut asleep) = at_odds(&home);
    stays_awake(&home);
    drop(awake);
    sleeps(&home, "main");
    assert_eq!(asleep.ask("SELECT 2").unwrap(), "2");
}

#[test]
fn what_is_said_in_a_transaction_holds_when_that_is_over() {
    let home = manual();
    with_a_clock(&home);
    let mut session = session(&home);
    session.ask("BEGIN").unwrap();
    session.ask("SET nap.keep_awake = off").unwrap();
    stays_awake(&home);
    assert_eq!(home.state("main"), "awake", "and does not doze");
    session.ask("COMMIT").unwrap();
    sleeps(&home, "main");
}
