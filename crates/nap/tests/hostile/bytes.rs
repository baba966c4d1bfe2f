//! Bytes that mean nothing, or almost something.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rand::prelude::*;
use rand::rngs::StdRng;

use crate::siege::{Siege, Wire, reset, startup, tcp_from};

const STRINGS: u32 = 100_000;
const ATTACKERS: u32 = 4;

/// Bytes out of nowhere.
fn noise(random: &mut StdRng) -> Vec<u8> {
    let mut bytes = vec![0; random.random_range(0..300)];
    random.fill(&mut bytes[..]);
    bytes
}

/// A startup packet with something wrong in it, or nothing that matters.
fn mutated(random: &mut StdRng) -> Vec<u8> {
    let mut packet = startup("postgres", "postgres@main");
    if random.random_bool(0.3) {
        packet.extend_from_slice(b"p\0\0\0\x20SCRAM-SHA-256\0\0\0\0\x08n,,n=,r=");
    }
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(0..packet.len());
        match random.random_range(0..3) {
            0 => packet[at] = random.random(),
            1 => packet.truncate(at.max(1)),
            _ => packet.insert(at, random.random()),
        }
    }
    packet
}

/// Says it, and hears the end.
fn say(mut wire: impl Wire, bytes: &[u8]) {
    let _ = wire.write_all(bytes);
    wire.says_no_more();
    let mut answer = Vec::new();
    if let Err(error) = wire.read_to_end(&mut answer) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "no end after {}", bytes.escape_ascii());
    }
    assert!(answer.len() < 2048, "{}", answer.escape_ascii());
}

fn attack(number: u32, port: u16, socket: &std::path::Path) {
    let mut random = StdRng::seed_from_u64(u64::from(number));
    for _ in 0..STRINGS / ATTACKERS {
        let source = Ipv4Addr::new(127, 0, number as u8 + 1, random.random());
        match random.random_range(0..4) {
            // On the Unix socket the owner needs no password: there, what is nearly right would get in.
            0 | 1 => say(UnixStream::connect(socket).unwrap(), &noise(&mut random)),
            2 => say(tcp_from(source, port).unwrap(), &noise(&mut random)),
            _ => say(tcp_from(source, port).unwrap(), &mutated(&mut random)),
        }
    }
}

#[test]
fn slow_a_hundred_thousand_strings_of_bytes() {
    let siege = Siege::begin(&[]);
    let port = siege.port();
    let socket = siege.home.socket_directory().join(format!(".s.PGSQL.{port}"));
    let attackers: Vec<_> = (0..ATTACKERS)
        .map(|number| {
            let socket = socket.clone();
            std::thread::spawn(move || attack(number, port, &socket))
        })
        .collect();
    attackers.into_iter().for_each(|attacker| attacker.join().unwrap());
    siege.end(0);
}

#[test]
fn connections_that_come_and_are_reset() {
    let siege = Siege::begin(&[]);
    let half_said = startup("postgres", "postgres@main");
    for number in 0..5_000_u32 {
        let mut stream = TcpStream::connect(("127.0.0.1", siege.port())).unwrap();
        match number % 3 {
            0 => {}
            1 => stream.write_all(&half_said[..half_said.len() / 2]).unwrap(),
            _ => {
                stream.write_all(&half_said).unwrap();
                if number % 2 == 0 {
                    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                    let _ = stream.read(&mut [0; 5]);
                }
            }
        }
        reset(stream);
    }
    siege.end(0);
}
