//! The wall clock jumps (suspend and resume, NTP, somebody's hand): no deadline fires early or late.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nap_testkit::{Raw, TestHome, eventually};

use super::{begin, builder, rows};

/// A wall clock of the daemon's own.
struct Clock(PathBuf);

/// `None`: no libfaketime here.
fn with_a_clock(settings: &[(&str, &str)]) -> Option<(TestHome, Clock)> {
    let libraries = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
    let library = libraries
        .iter()
        .map(|lib| format!("{lib}/faketime/libfaketimeMT.so.1"))
        .find(|lib| PathBuf::from(lib).exists());
    assert!(library.is_some() || !nap_testkit::is_full_run(), "libfaketime is missing");
    let file = std::env::temp_dir().join(format!("nap-clock-{}-{}", std::process::id(), settings[0].0));
    let clock = Clock(file.clone());
    clock.says("+0");
    let mut builder = builder();
    for (name, value) in settings {
        builder = builder.setting(name, value);
    }
    let builder = builder
        .environment("LD_PRELOAD", &library?)
        .environment("FAKETIME_TIMESTAMP_FILE", &file.display().to_string())
        .environment("FAKETIME_NO_CACHE", "1")
        .environment("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .environment("DONT_FAKE_MONOTONIC", "1")
        .environment("NO_FAKE_STAT", "1");
    Some((begin(builder), clock))
}

impl Clock {
    fn says(&self, offset: &str) {
        let next = self.0.with_extension("next");
        std::fs::write(&next, offset).unwrap();
        std::fs::set_permissions(&next, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        std::fs::rename(next, &self.0).unwrap();
    }

    /// A day forward, a day back, and then as it was.
    fn jumps(&self) {
        for offset in ["+1d", "-1d", "+0"] {
            self.says(offset);
            // Long enough that a loop which asks the clock would see it.
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
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
    assert_eq!(rows(&home), "0");
    let left = Instant::now();
    clock.jumps();
    assert_eq!(home.state("main"), "awake");
    home.wait_state("main", "asleep");
    // The daemon sees the session leave a moment before or after psql is gone.
    assert_about(left.elapsed() + Duration::from_millis(100), span);

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
    let Some((home, clock)) = with_a_clock(&[("wake_timeout", "\"4s\"")]) else { return };
    let hold = home.hold_starts("main");
    home.sleep("main");
    let url = home.url("main");
    let began = Instant::now();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| (home.psql_with(&url, "select 1"), began.elapsed()));
        eventually("it waits", || (home.branch("main")?["status"]["waiting"] == 1).then_some(()));
        clock.jumps();
        assert!(!waiting.is_finished() || began.elapsed() > Duration::from_secs(4), "refused early");
        let (said, elapsed) = waiting.join().unwrap();
        assert!(said.fails_with(2).contains("in time") || said.stderr.contains("did not wake within"), "{said}");
        assert_about(elapsed, Duration::from_secs(4));

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
    clock.jumps();
    assert!(!client.is_closed_within(Duration::from_millis(200)), "ended early");
    assert!(client.is_closed_within(Duration::from_secs(20)), "never ended");
    assert_about(began.elapsed(), Duration::from_secs(3));
}
