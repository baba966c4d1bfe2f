//! Half-open connections and slow ones: they keep their place only as long as nobody needs it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nap_testkit::Raw;

use crate::siege::{SSL_REQUEST, Siege, home, startup, tcp_from};

/// How far a half-open connection has come.
fn stages() -> Vec<Vec<u8>> {
    let whole = startup("postgres", "postgres@main");
    vec![Vec::new(), vec![0], whole[..20].to_vec(), whole.clone(), [&whole[..], b"p\0\0\0\x20SCR"].concat()]
}

#[test]
fn half_open_connections_shut_nobody_out() {
    let siege = Siege::begin(&[("max_connections", "400")]);
    let stages = stages();
    let mut held = Vec::new();
    for number in 0..1_000 {
        let mut stream = TcpStream::connect(("127.0.0.1", siege.port())).unwrap();
        stream.write_all(&stages[number % stages.len()]).unwrap();
        held.push(stream);
    }
    let socket = siege.home.socket_directory().join(format!(".s.PGSQL.{}", siege.port()));
    let local: Vec<_> = (0..300).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    // What made room was told so, if it had said who it was.
    held[3].set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut said = Vec::new();
    let _ = held[3].read_to_end(&mut said);
    let error = said.windows(6).any(|words| words == b"C53300");
    assert!(error, "{}", said.escape_ascii());
    assert!(siege.home.login("postgres", "wrong", "postgres@feat").fails_with(2).contains("password authentication"));
    drop((held, local));
    siege.end(400);
}

#[test]
fn a_flood_from_one_address_displaces_itself() {
    let siege = Siege::begin(&[("max_connections", "100")]);
    let mut early = tcp_from(Ipv4Addr::new(127, 0, 0, 77), siege.port()).unwrap();
    early.write_all(&startup("postgres", "postgres@main")).unwrap();
    let mut flood: Vec<_> = (0..300).map(|_| TcpStream::connect(("127.0.0.1", siege.port())).unwrap()).collect();
    for displaced in &mut flood[..150] {
        displaced.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert_eq!(displaced.read(&mut [0]).unwrap(), 0, "it makes room for the next");
    }
    let mut tag = [0; 1];
    early.read_exact(&mut tag).unwrap();
    assert_eq!(&tag, b"R", "an older one from another address keeps its place");
    early.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut rest = Vec::new();
    assert_eq!(early.read_to_end(&mut rest).unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "and is still there");
    drop(flood);
    siege.end(100);
}

#[test]
fn the_owner_has_a_place_when_all_are_taken_for_good() {
    let home = home(&[("max_connections", "12"), ("max_connections_per_branch", "12")]);
    let directory = home.socket_directory();
    let begin = || Raw::unix(&directory, home.port()).start(&[("user", "postgres"), ("database", "postgres@feat")]);
    let held: Vec<_> = (0..12)
        .map(|_| {
            let mut session = begin();
            session.ready().unwrap();
            session
        })
        .collect();
    let mut owner = begin();
    owner.ready().unwrap();
    let mut stranger = Raw::<TcpStream>::tcp(home.port()).start(&[("user", "postgres"), ("database", "postgres@feat")]);
    let refused = stranger.ready().unwrap_err();
    assert_eq!((refused.code.as_str(), refused.message.as_str()), ("53300", "sorry, too many clients already"));
    drop((held, owner));
}

#[test]
fn who_says_a_byte_now_and_then_is_out_in_time() {
    let siege = Siege::begin(&[("authentication_timeout", "\"3s\"")]);
    let started = Instant::now();
    let whole =
        [&startup("postgres", "postgres@main")[..], b"p\0\0\0\x36SCRAM-SHA-256\0\0\0\0\x20n,,n=,r=abcdefgh"].concat();
    let tls = [&SSL_REQUEST[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", &[0; 300]].concat();
    // From the first byte on, from the exchange on, in the handshake of TLS.
    let ways = [(&whole, 0), (&whole, whole.len() - 30), (&tls, SSL_REQUEST.len())];
    let mut slow: Vec<_> = (0..99)
        .map(|number| {
            let mut stream = TcpStream::connect(("127.0.0.1", siege.port())).unwrap();
            let (words, from) = ways[number % ways.len()];
            stream.write_all(&words[..from]).unwrap();
            (stream, words, from)
        })
        .collect();
    while started.elapsed() < Duration::from_secs(3) {
        for (stream, words, said) in &mut slow {
            if stream.write_all(&words[*said..*said + 1]).is_ok() {
                *said += 1;
            }
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    for (stream, ..) in &mut slow {
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut said = Vec::new();
        let end = stream.read_to_end(&mut said);
        assert!(end.is_ok() || end.unwrap_err().kind() == std::io::ErrorKind::ConnectionReset, "still open");
    }
    siege.end(99);
}
