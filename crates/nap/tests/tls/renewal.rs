//! Time passes while the daemon runs: it renews its certificate by itself.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use nap_testkit::{Clock, Output, TestHome, eventually};

use crate::support::tls_url;

/// The certificate that somebody who connects now is shown, as openssl prints it.
fn shown(home: &TestHome) -> String {
    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-starttls", "postgres", "-connect", &format!("127.0.0.1:{}", home.port())]);
    let said = Output::of(openssl.stdin(Stdio::null()));
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
    let from = said.stdout.find(begin).unwrap_or_else(|| panic!("{said}"));
    let to = said.stdout.find(end).unwrap();
    format!("{}{end}\n", &said.stdout[from..to])
}

#[test]
fn a_daemon_that_runs_for_a_year_renews_its_certificate_in_time() {
    let Some(clock) = Clock::of_everything() else { return };
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).clock(&clock).build();
    let (daemon, file) = (home.up().daemon_pid(), home.path().join("tls/server.crt"));
    let root = home.path().join("tls/root.crt").display().to_string();
    let url = tls_url(&home, "main", &[("sslmode", "verify-full"), ("sslrootcert", &root)]);
    // A client whose clock is the daemon's.
    let client = || {
        let mut psql = home.program("psql");
        psql.args(["-XAtq", "-d", &url]).envs(clock.environment());
        psql
    };
    let comes_in = || Output::of(client().args(["-c", "select 1"]));
    let first = shown(&home);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), first);
    comes_in().ok();
    let mut stays = client().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut asks, mut hears) = (stays.stdin.take().unwrap(), BufReader::new(stays.stdout.take().unwrap()).lines());
    let mut answer = |number: u32| {
        writeln!(asks, "select {number};").unwrap();
        hears.next().unwrap().unwrap()
    };
    assert_eq!(answer(1), "1");

    // It is to end after 365 days, and is renewed a month before.
    clock.says("+340d");
    let second = eventually("another certificate is shown", || Some(shown(&home)).filter(|shown| *shown != first));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), second);
    comes_in().ok();
    // The first one has ended by now.
    clock.says("+370d");
    comes_in().ok();
    assert_eq!(
        (answer(2), home.daemon_pid()),
        ("2".to_owned(), daemon),
        "by the same daemon, and nobody was sent away"
    );
    drop(asks);
    assert!(stays.wait().unwrap().success());
}
