//! Clients, and servers, that do not read: what is on its way to them stays where it comes from.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use nap_testkit::eventually;

use crate::giants::session;
use crate::siege::{Siege, packet, startup, tcp_from};
use crate::veiled::veiled_from;

const CLIENTS: usize = 24;

/// So many backends wait for this.
fn wait_for(siege: &Siege, event: &str, query: &str) {
    let sql = format!(
        "select count(*) from pg_stat_activity where wait_event = '{event}' and query like '%{query}%' \
                       and pid <> pg_backend_pid()"
    );
    eventually("every server waits", || (siege.home.psql("feat", &sql).ok() == CLIENTS.to_string()).then_some(()));
}

fn query(sql: &str) -> Vec<u8> {
    [b"Q", &(sql.len() as u32 + 5).to_be_bytes()[..], sql.as_bytes(), b"\0"].concat()
}

#[test]
fn who_never_reads_what_copy_sends() {
    let siege = Siege::begin(&[]);
    let copy = "copy (select repeat('x', 100000) from generate_series(1, 10000)) to stdout";
    let mut held: Vec<_> = (0..CLIENTS).map(|_| session(&siege)).collect();
    for stream in &mut held {
        stream.write_all(&query(copy)).unwrap();
    }
    wait_for(&siege, "ClientWrite", "generate_series");
    eprintln!("{} kB for {CLIENTS}", siege.peak_kb());
    // Each holds what one read of 64 kB has brought, and its session.
    siege.end(8 * CLIENTS as u64);
    drop(held);
}

/// TLS has a buffer of its own, and keeps what is sealed.
#[test]
fn who_never_reads_what_copy_sends_over_tls() {
    let siege = Siege::begin(&[]);
    let copy = "copy (select repeat('x', 100000) from generate_series(1, 10000)) to stdout";
    // From there nobody needs a password.
    let trusted = Ipv4Addr::new(127, 0, 0, 99);
    let rules = siege.home.path().join("pg_hba.conf");
    let written = std::fs::read_to_string(&rules).unwrap();
    std::fs::write(&rules, format!("hostssl all all {trusted}/32 trust\n{written}")).unwrap();
    siege.home.nap(&["config", "reload"]).ok();
    let mut held: Vec<_> = (0..CLIENTS).map(|_| veiled_from(&siege, trusted)).collect();
    for (connection, stream) in &mut held {
        // All at once, and nothing is read from here on.
        connection.writer().write_all(&[startup("postgres", "postgres@feat"), query(copy)].concat()).unwrap();
        connection.write_tls(stream).unwrap();
    }
    wait_for(&siege, "ClientWrite", "generate_series");
    eprintln!("{} kB for {CLIENTS}", siege.peak_kb());
    siege.end(18 * CLIENTS as u64);
    drop(held);
}

/// A server that is busy reads nothing: a client's next queries wait in its own socket.
#[test]
fn who_never_stops_sending_to_a_server_that_does_not_read() {
    let siege = Siege::begin(&[]);
    let mut held: Vec<_> = (0..CLIENTS).map(|_| session(&siege)).collect();
    for stream in &mut held {
        stream.write_all(&query("select pg_sleep(600)")).unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        let more = query("select 1").repeat(100_000);
        let sent = stream.write_all(&more);
        assert!(sent.is_err(), "{} bytes were taken", more.len());
    }
    wait_for(&siege, "PgSleep", "pg_sleep");
    eprintln!("{} kB for {CLIENTS}", siege.peak_kb());
    siege.end(8 * CLIENTS as u64);
    drop(held);
}

/// Roles, databases and branches that there are none of: each other one costs no more than the first.
#[test]
fn names_of_nobody() {
    const NAMES: u32 = 4_000;
    let siege = Siege::begin(&[]);
    let log = siege.log_bytes();
    for number in 0..NAMES {
        let name = format!("{number:0>60}");
        let said = match number % 4 {
            0 => startup(&name, "postgres@main"),
            1 => startup("postgres", &format!("{name}@feat")),
            2 => startup("postgres", &format!("postgres@{name}")),
            _ => packet(0, format!("user\0{name}\0database\0{name}\0options\0-c nap.branch={name}\0\0").as_bytes()),
        };
        let [.., high, low] = number.to_be_bytes();
        let mut stream = tcp_from(Ipv4Addr::new(127, 3, high, low), siege.port()).unwrap();
        stream.write_all(&said).unwrap();
        let mut tag = [0];
        stream.read_exact(&mut tag).unwrap();
        assert!(matches!(&tag, b"R" | b"E"));
    }
    let log = siege.log_bytes() - log;
    assert!(log < 30_000, "{log} bytes of log");
    siege.end(0);
}

/// Whoever has a key may cancel as often as he likes: others are served, and the session goes on.
#[test]
fn a_flood_of_cancel_requests_with_the_right_key() {
    let siege = Siege::begin(&[]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = runtime.block_on(siege.home.connect("postgres@feat"));
    let key = client.cancel_token();
    let log = siege.log_bytes();
    let flood: Vec<_> = (0..8)
        .map(|_| {
            let key = key.clone();
            runtime.spawn(async move {
                for _ in 0..1_000 {
                    let _ = key.cancel_query(tokio_postgres::NoTls).await;
                }
            })
        })
        .collect();
    let started = Instant::now();
    let mut cancelled = 0;
    while flood.iter().any(|task| !task.is_finished()) {
        let answer = runtime.block_on(client.simple_query("select pg_sleep(0.01)"));
        cancelled += u32::from(answer.is_err_and(|error| error.code().is_some_and(|code| code.code() == "57014")));
    }
    let log = siege.log_bytes() - log;
    eprintln!("{cancelled} cancelled in {:?}; {log} bytes of log", started.elapsed());
    assert!(log < 20_000, "{log} bytes of log");
    assert!(cancelled > 0);
    eventually("the session goes on", || runtime.block_on(client.simple_query("select 1")).ok().map(drop));
    siege.end(1_000);
}
