//! Timeouts of sessions go by the clock on the wall, doze or not.

use std::time::{Duration, Instant};

use nap_testkit::eventually_within;

use super::*;

/// Far less than the longest doze without a pulse.
const SOON: Duration = Duration::from_secs(20);

fn fires(set: &str, begin: &str, code: &str) {
    let home = home();
    let mut session = pinned(&home);
    session.ask(set).unwrap();
    session.ask(begin).unwrap();
    let begun = Instant::now();
    doze(&home);
    assert_eq!(session.ready().unwrap_err().code, code);
    assert!(begun.elapsed() > Duration::from_secs(2) && begun.elapsed() < SOON, "{:?}", begun.elapsed());
    home.wait_state("main", "awake");
    home.sleep("main");
}

#[test]
fn an_idle_transaction_is_ended() {
    fires("SET idle_in_transaction_session_timeout = '3s'", "BEGIN", "25P03");
}

#[test]
fn an_idle_session_is_ended() {
    fires("SET idle_session_timeout = '3s'", "SELECT 2", "57P05");
}

#[test]
fn slow_once_a_minute_it_goes_on_for_a_moment() {
    let home = builder().environment("NAP_LOG", "debug").build();
    home.up();
    let mut session = pinned(&home);
    doze(&home);
    let begun = Instant::now();
    let pulses = || home.daemon_log().matches("thawed for a moment").count();
    // Backends of PostgreSQL 15 and newer set an alarm for their statistics, ten seconds after their last query.
    let early = || (begun.elapsed() > SOON).then(pulses);
    let early = eventually_within(SOON * 2, "the alarms of its backends have gone off", early);
    let pulse = || (pulses() > early).then_some(());
    eventually_within(Duration::from_secs(90), "it goes on for a moment", pulse);
    is_frozen(&home);
    assert_eq!(dozed(&home), 1, "it has not ceased to doze");
    still_has_its_table(&mut session);
}

/// An alarm that nobody waits for any more (PostgreSQL leaves its timer running) thaws it for a moment, and nothing else.
#[test]
fn who_is_not_ended_sleeps_on() {
    let home = home();
    let mut session = pinned(&home);
    doze(&home);
    let backend = home.server_process("main", "idle").unwrap();
    let pending = || {
        let status = std::fs::read_to_string(format!("/proc/{backend}/status")).unwrap();
        let bits = status.lines().find_map(|line| line.strip_prefix("ShdPnd:")).unwrap().trim().to_owned();
        u64::from_str_radix(&bits, 16).unwrap() & (1 << 13) != 0
    };
    process::signal(backend, process::Signal::ALARM);
    assert!(pending());
    eventually("it is heard", || (!pending()).then_some(()));
    eventually("it is frozen again", || process_states(&home).iter().all(|state| *state == 'T').then_some(()));
    is_frozen(&home);
    assert_eq!(dozed(&home), 1, "it has not ceased to doze");
    still_has_its_table(&mut session);
}
