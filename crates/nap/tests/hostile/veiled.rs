//! Lies inside TLS: in its handshake, and behind it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;

use nap_testkit::DEADLINE;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::siege::{SSL_REQUEST, Siege, startup, tcp_from};

/// The longest record.
const RECORD_MAX_BYTES: usize = 16_384;
const HANDSHAKE: u8 = 0x16;
const APPLICATION_DATA: u8 = 0x17;
const ALERT: u8 = 0x15;
const CHANGE_CIPHER_SPEC: u8 = 0x14;

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3], &(body.len() as u16).to_be_bytes()[..], body].concat()
}

/// The beginning of a ClientHello that claims to be this long.
fn hello_of(length: u32) -> Vec<u8> {
    let [_, length @ ..] = length.to_be_bytes();
    [&[1][..], &length, &[3, 3], &[0; 32]].concat()
}

/// The daemon has agreed to speak TLS.
fn asked(siege: &Siege) -> TcpStream {
    asked_from(siege, Ipv4Addr::LOCALHOST)
}

fn asked_from(siege: &Siege, source: Ipv4Addr) -> TcpStream {
    let mut stream = tcp_from(source, siege.port()).unwrap();
    stream.write_all(&SSL_REQUEST).unwrap();
    let mut answer = [0];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"S");
    stream
}

/// A handshake that is over: the connection's own bytes, and the socket below.
fn veiled(siege: &Siege) -> (ClientConnection, TcpStream) {
    veiled_from(siege, Ipv4Addr::LOCALHOST)
}

pub(crate) fn veiled_from(siege: &Siege, source: Ipv4Addr) -> (ClientConnection, TcpStream) {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(siege.home.path().join("tls/root.crt")).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut stream = asked_from(siege, source);
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).unwrap();
    }
    (connection, stream)
}

/// What comes to the end of a connection; whatever is said is short.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    if let Err(error) = stream.read_to_end(&mut said) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "still open");
    }
    assert!(said.len() < 4096, "{} bytes", said.len());
    said
}

/// The beginning of a handshake, asked for or not, that is never finished.
fn begun(siege: &Siege, number: usize, hello_bytes: usize) -> TcpStream {
    let mut stream =
        if number.is_multiple_of(2) { asked(siege) } else { TcpStream::connect(("127.0.0.1", siege.port())).unwrap() };
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut hello = hello_of(0xfff0);
    hello.resize(hello_bytes, 0);
    for part in hello.chunks(RECORD_MAX_BYTES) {
        // It may be out already.
        let _ = stream.write_all(&record(HANDSHAKE, part));
    }
    stream
}

#[test]
fn hellos_that_never_end() {
    let siege = Siege::begin(&[]);
    // Longer than any client's hello: nobody waits for the rest.
    for number in 0..50 {
        rest(&mut begun(&siege, number, 60_000));
    }
    let held: Vec<_> = (0..200).map(|number| begun(&siege, number, 9_000)).collect();
    siege.all_is_read();
    eprintln!("{} kB for {}", siege.peak_kb(), held.len());
    // 23 kB each, measured: the bytes that are read, and what rustls keeps to join them.
    siege.end(2 * held.len() as u64);
    drop(held);
}

#[test]
fn records_that_never_end() {
    let siege = Siege::begin(&[]);
    let held: Vec<_> = (0..200)
        .map(|_| {
            let (connection, mut stream) = veiled(&siege);
            let whole = record(APPLICATION_DATA, &[0; RECORD_MAX_BYTES]);
            stream.write_all(&whole[..whole.len() - 1]).unwrap();
            (connection, stream)
        })
        .collect();
    siege.all_is_read();
    eprintln!("{} kB for {}", siege.peak_kb(), held.len());
    // 35 kB each, measured: a record of 16 kB must be there before it can be opened.
    siege.end(4 * held.len() as u64);
    drop(held);
}

#[test]
fn lengths_that_lie_end_their_connection() {
    let siege = Siege::begin(&[]);
    let too_long = [&[HANDSHAKE, 3, 3, 0xff, 0xff][..], &[0; 70_000]].concat();
    let handshakes = [
        too_long.clone(),
        record(HANDSHAKE, &hello_of(0xff_ffff)),
        record(HANDSHAKE, &hello_of(0)),
        record(HANDSHAKE, &[1, 0, 0]).repeat(3),
        record(HANDSHAKE, &[]).repeat(10_000),
        record(ALERT, &[1, 0]).repeat(10_000),
        record(CHANGE_CIPHER_SPEC, &[1]).repeat(10_000),
        record(APPLICATION_DATA, &startup("postgres", "postgres@main")),
    ];
    for bytes in &handshakes {
        let mut stream = asked(&siege);
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        rest(&mut stream);
    }
    // Behind the handshake: records that nobody has sealed, or packets that lie.
    for bytes in [too_long, record(APPLICATION_DATA, &[0; 100]), record(HANDSHAKE, &hello_of(100)), vec![0xff; 100]] {
        let (_, mut stream) = veiled(&siege);
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        rest(&mut stream);
    }
    for length in [0_u32, 3, 10_005, 0x7fff_ffff, u32::MAX] {
        let (mut connection, mut stream) = veiled(&siege);
        connection.writer().write_all(&length.to_be_bytes()).unwrap();
        connection.complete_io(&mut stream).unwrap();
        rest(&mut stream);
    }
    siege.end(0);
}
