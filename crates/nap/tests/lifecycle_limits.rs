//! Everything that a client can ask for has a bound, and a client beyond it is told which setting that is.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::net::TcpStream;
use std::time::{Duration, Instant};

use nap_testkit::{DEADLINE, Raw, RawError, TestHome, connect, eventually};

fn home(settings: &[(&str, &str)]) -> TestHome {
    let mut home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_after", "\"10min\"");
    for (name, value) in settings {
        home = home.setting(name, value);
    }
    let home = home.build();
    home.up();
    home
}

/// What a client is told that says who it is, and nothing more.
fn refusal(home: &TestHome, database: &str) -> Option<RawError> {
    let mut client = Raw::<TcpStream>::tcp(home.port()).start(&[("user", "postgres"), ("database", database)]);
    match client.message().unwrap() {
        (b'E', body) => Some(RawError::read(&body)),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_in_all_and_of_one_branch() {
    let home = home(&[("max_connections", "4"), ("max_connections_per_branch", "2")]);
    home.nap(&["branch", "feat"]).ok();
    let mut held = vec![home.connect("postgres@main").await, home.connect("postgres@main").await];
    let refused = connect(&home.config("postgres@main")).await.map(drop).unwrap_err();
    let said = refused.as_db_error().unwrap();
    assert_eq!(said.code().code(), "53300");
    assert!(format!("{said} {:?}", said.hint()).contains("max_connections_per_branch"), "{said:?}");
    held.extend([home.connect("postgres@feat").await, home.connect("postgres@feat").await]);
    let refused = refusal(&home, "postgres@feat").expect("beyond max_connections");
    assert_eq!(refused.code, "53300");
    assert!(format!("{} {}", refused.message, refused.hint).contains("max_connections"), "{refused:?}");
    // A cancel request needs a place for a moment, and has one.
    let asking = held[0].cancel_token();
    let slow = held.remove(0);
    let ended = tokio::spawn(async move { slow.simple_query("select pg_sleep(100)").await.map(drop) });
    eventually("it runs", || {
        (home
            .psql_with(
                &private(&home),
                "select count(*) from pg_stat_activity where query like '%pg_sleep(100)' and state = 'active'",
            )
            .stdout
            .trim()
            == "1")
            .then_some(())
    });
    asking.cancel_query(tokio_postgres::NoTls).await.unwrap();
    assert_eq!(ended.await.unwrap().unwrap_err().code().unwrap().code(), "57014");
    drop(held);
    eventually("there is room again", || refusal(&home, "postgres@main").is_none().then_some(()));
}

/// The server of main, past the gateway and its bounds.
fn private(home: &TestHome) -> String {
    let id = home.branch("main").unwrap()["id"].as_str().unwrap().to_owned();
    let directory = home.path().join("run/.servers").join(id);
    format!("host={} port=5432 user=postgres dbname=postgres", directory.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_wait_for_a_server() {
    let home = home(&[("max_awake", "1"), ("max_waiting_clients", "2")]);
    home.nap(&["branch", "feat"]).ok();
    let holds = home.connect("postgres@main").await;
    holds.batch_execute("begin").await.unwrap();
    let config = home.config("postgres@feat");
    let wait = || {
        let config = config.clone();
        tokio::spawn(async move { connect(&config).await })
    };
    let waiting = [wait(), wait()];
    eventually("two wait", || (home.branch("feat").unwrap()["status"]["waiting"] == 2).then_some(()));
    let refused = connect(&config).await.map(drop).unwrap_err();
    let said = refused.as_db_error().unwrap();
    assert_eq!(said.code().code(), "53300", "{said:?}");
    assert!(format!("{said} {:?}", said.hint()).contains("max_waiting_clients"), "{said:?}");
    drop(holds);
    for client in waiting {
        client.await.unwrap().unwrap();
    }
}

#[test]
fn the_time_to_log_in_and_the_first_packet() {
    let home = home(&[("authentication_timeout", "\"1s\""), ("max_startup_packet_bytes", "500")]);
    let wakes = home.put_to_sleep("main");
    let started = Instant::now();
    let mut silent = Raw::<TcpStream>::tcp(home.port());
    let mut half = Raw::<TcpStream>::tcp(home.port());
    half.send(&[0, 0, 0]);
    let mut asked = Raw::<TcpStream>::tcp(home.port()).start(&[("user", "postgres"), ("database", "postgres")]);
    assert_eq!(asked.message().unwrap().0, b'R');
    let late = asked.ready().unwrap_err();
    assert_eq!(late.code, "57014", "{late:?}");
    assert!(late.hint.contains("authentication_timeout"), "{late:?}");
    assert!(silent.is_closed_within(DEADLINE) && half.is_closed_within(DEADLINE));
    assert!(started.elapsed() >= Duration::from_millis(900));
    let long = "x".repeat(600);
    let mut client = Raw::<TcpStream>::tcp(home.port()).start(&[("user", "postgres"), ("application_name", &long)]);
    assert!(client.message().is_err(), "closed without an answer, as PostgreSQL does");
    home.still_sleeps("main", wakes);
    home.nap(&["config", "set", "max_startup_packet_bytes=10000"]).ok();
    assert_eq!(refusal(&home, "postgres"), None);
    let mut client = Raw::<TcpStream>::tcp(home.port()).start(&[("user", "postgres"), ("application_name", &long)]);
    assert_eq!(client.message().unwrap().0, b'R', "the new bound holds at once");
}
