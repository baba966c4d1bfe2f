//! The wall clock jumps (suspend and resume, NTP, somebody's hand): no deadline fires early or late.

use std::time::{Duration, Instant};

use nap_testkit::{Clock, DEADLINE, Raw, TestHome, eventually};

use super::{begin, builder, rows};

/// `None`: no libfaketime here.
fn with_a_clock(settings: &[(&str, &str)]) -> Option<(TestHome, Clock)> {
    let clock = Clock::of_the_wall()?;
    let mut builder = builder().clock(&clock);
    for (name, value) in settings {
        builder = builder.setting(name, value);
    }
    Some((begin(builder), clock))
}

/// A day forward, a day back, and then as it was.
fn jumps(clock: &Clock) {
    for offset in ["+1d", "-1d", "+0"] {
        clock.says(offset);
        // Long enough that a loop which asks the clock would see it.
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn assert_about(elapsed: Duration, deadline: Duration) {
    assert!(elapsed >= deadline - Duration::from_millis(50), "too early: after {elapsed:?}");
    assert!(elapsed < deadline + Duration::from_secs(15), "too late: after {elapsed:?}");
}

#[test]
fn an_idle_server_sleeps_no_earlier_and_no_later_when_the_clock_jumps() {
    let span = Duration::from_secs(4);
    let Some((home, clock)) = with_a_clock(&[("sleep_after", "\"4s\"")]) else { return };
    let parameters = [("user", &*home.role()), ("database", "postgres@main")];
    let mut session = Raw::unix(&home.socket_directory(), home.port()).start(&parameters);
    session.ready().unwrap();
    let leaves = Instant::now();
    drop(session);
    jumps(&clock);
    home.wait_state("main", "asleep");
    assert_about(leaves.elapsed(), span);

    // The jump is real: the daemon's own times show it.
    let slept = home.branch("main").unwrap()["status"]["since_unix_ms"].as_i64().unwrap();
    clock.says("+1d");
    assert_eq!(rows(&home), "0");
    let woke = home.branch("main").unwrap()["status"]["since_unix_ms"].as_i64().unwrap();
    assert!(woke - slept > 23 * 3600 * 1000, "the clock did not jump");
    clock.says("-1d");
    home.wait_state("main", "asleep");
}

#[test]
fn a_client_waits_for_a_wake_as_long_as_it_may_when_the_clock_jumps() {
    let Some((home, clock)) = with_a_clock(&[]) else { return };
    let hold = home.hold_starts("main");
    home.sleep("main");
    home.nap(&["config", "set", "wake_timeout=4s"]).ok();
    let url = home.url("main");
    let began = Instant::now();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| (home.psql_with(&url, "select 1"), began.elapsed()));
        eventually("it waits", || (home.branch("main")?["status"]["waiting"] == 1).then_some(()));
        jumps(&clock);
        assert!(!waiting.is_finished() || began.elapsed() > Duration::from_secs(4), "refused early");
        let (said, elapsed) = waiting.join().unwrap();
        assert!(said.fails_with(2).contains("in time") || said.stderr.contains("did not wake within"), "{said}");
        assert_about(elapsed, Duration::from_secs(4));

        home.nap(&["config", "set", "wake_timeout=1min"]).ok();
        let next = scope.spawn(|| home.psql_with(&url, "select 2"));
        eventually("it waits", || (home.branch("main")?["status"]["waiting"] == 1).then_some(()));
        clock.says("+1d");
        hold.release();
        assert_eq!(next.join().unwrap().ok(), "2");
    });
}

#[test]
fn a_client_may_take_its_time_to_log_in_when_the_clock_jumps() {
    let Some((home, clock)) = with_a_clock(&[("authentication_timeout", "\"3s\"")]) else { return };
    let began = Instant::now();
    let mut client = Raw::tcp(home.port()).start(&[("user", &home.role()), ("database", "postgres@main")]);
    client.message().unwrap();
    jumps(&clock);
    assert!(client.is_closed_within(DEADLINE), "never ended");
    assert_about(began.elapsed(), Duration::from_secs(3));
}
