//! Passwords and cancel keys that are guessed.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use nap_testkit::eventually;
use rand::prelude::*;
use rand::rngs::StdRng;

use crate::siege::{Siege, startup, tcp_from};

fn message(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 5];
    stream.read_exact(&mut head).unwrap();
    let mut body = vec![0; u32::from_be_bytes(head[1..].try_into().unwrap()) as usize - 4];
    stream.read_exact(&mut body).unwrap();
    (head[0], body)
}

fn tagged(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

/// One try with a proof that is made up, which costs the client nothing.
fn wrong_password(port: u16, user: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(&startup(user, "postgres@main")).unwrap();
    assert_eq!(message(&mut stream).0, b'R');
    let first = b"n,,n=,r=abcdefghijklmnop";
    let initial = [b"SCRAM-SHA-256\0", &(first.len() as u32).to_be_bytes()[..], first].concat();
    stream.write_all(&tagged(b'p', &initial)).unwrap();
    let (_, body) = message(&mut stream);
    let server_first = String::from_utf8(body[4..].to_vec()).unwrap();
    let nonce = server_first.split(',').next().unwrap();
    let proof = format!("c=biws,{nonce},p={}=", "A".repeat(43));
    stream.write_all(&tagged(b'p', proof.as_bytes())).unwrap();
    let (tag, body) = message(&mut stream);
    assert!(tag == b'E' && String::from_utf8_lossy(&body).contains("28P01"), "{}", body.escape_ascii());
}

#[test]
fn thousands_of_wrong_passwords() {
    const TRIES: u32 = 4_000;
    let siege = Siege::begin(&[]);
    let port = siege.port();
    let (cpu, log) = (siege.daemon_cpu(), siege.log_bytes());
    let attackers: Vec<_> = (0..4)
        .map(|number| {
            std::thread::spawn(move || {
                for _ in 0..TRIES / 4 {
                    wrong_password(port, if number % 2 == 0 { "postgres" } else { "nobody" });
                }
            })
        })
        .collect();
    attackers.into_iter().for_each(|attacker| attacker.join().unwrap());
    let (cpu, log) = (siege.daemon_cpu() - cpu, siege.log_bytes() - log);
    eprintln!("{:?} of CPU for each try; {log} bytes of log for all", cpu / TRIES);
    // PBKDF2 with its 4096 rounds would be some milliseconds, in this build dozens.
    assert!(cpu / TRIES < Duration::from_millis(3), "{cpu:?} for {TRIES} tries");
    assert!(log < 20_000, "{log} bytes of log");
    siege.end(0);
}

/// How often the server of feat was connected to, cancel requests included.
fn connections_received(siege: &Siege) -> usize {
    let logs = std::fs::read_dir(siege.home.path().join("branches/feat/log")).unwrap();
    let count = |path| std::fs::read_to_string(path).unwrap().matches("connection received").count();
    logs.map(|log| count(log.unwrap().path())).sum()
}

#[test]
fn slow_a_hundred_thousand_guesses_at_a_cancel_key() {
    const GUESSES: u32 = 100_000;
    let siege = Siege::begin(&[]);
    let home = &siege.home;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = runtime.block_on(home.connect("postgres@feat"));
    let key = client.cancel_token();
    let pid: i32 = runtime.block_on(client.query_one("select pg_backend_pid()", &[])).map(|row| row.get(0)).unwrap();
    let sleeping = runtime.spawn(async move { client.simple_query("select pg_sleep(600)").await.map(drop) });
    home.psql("feat", "alter system set log_connections = on").ok();
    home.psql("feat", "select pg_reload_conf()").ok();
    let before =
        (eventually("it logs", || Some(connections_received(&siege)).filter(|count| *count > 0)), siege.log_bytes());
    let port = siege.port();
    let attackers: Vec<_> = (0..4_u8)
        .map(|number| {
            std::thread::spawn(move || {
                let mut random = StdRng::seed_from_u64(u64::from(number));
                for _ in 0..GUESSES / 4 {
                    let source = Ipv4Addr::new(127, 1, number, random.random());
                    let mut stream = tcp_from(source, port).unwrap();
                    let mut request = vec![0, 0, 0, 16, 0x04, 0xd2, 0x16, 0x2e];
                    request.extend_from_slice(&pid.to_be_bytes());
                    request.extend_from_slice(&random.random::<[u8; 4]>());
                    stream.write_all(&request).unwrap();
                    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "never answered");
                }
            })
        })
        .collect();
    attackers.into_iter().for_each(|attacker| attacker.join().unwrap());
    assert!(!sleeping.is_finished(), "a guess has cancelled it");
    let after = (connections_received(&siege), siege.log_bytes());
    eprintln!("{} connections, {} bytes of log for {GUESSES} guesses", after.0 - before.0, after.1 - before.1);
    assert!(after.0 - before.0 < GUESSES as usize / 10, "guesses have cost connections to the server");
    assert!(after.1 - before.1 < 20_000, "the log has grown by {} bytes", after.1 - before.1);
    runtime.block_on(key.cancel_query(tokio_postgres::NoTls)).unwrap();
    let started = Instant::now();
    eventually("the real key works", || sleeping.is_finished().then_some(()));
    assert_eq!(runtime.block_on(sleeping).unwrap().unwrap_err().code().unwrap().code(), "57014");
    assert!(started.elapsed() < Duration::from_secs(5));
    siege.end(0);
}
