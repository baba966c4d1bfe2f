//! Startup packets that no driver would send: each gets an answer in PostgreSQL's words, or the door.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use nap_testkit::DEADLINE;

use crate::siege::{Siege, packet};

/// In which a connection that is to stay open is seen not to be closed.
const A_MOMENT: Duration = Duration::from_millis(500);

/// All that comes back up to these words and a moment after them, and whether the connection was closed.
fn answer(port: u16, packet: &[u8], words: &str) -> (Vec<u8>, bool) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(packet).unwrap();
    let mut said = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let came = !words.is_empty() && String::from_utf8_lossy(&said).contains(words);
        stream.set_read_timeout(Some(if came { A_MOMENT } else { DEADLINE })).unwrap();
        match stream.read(&mut chunk) {
            Ok(0) => return (said, true),
            Ok(count) => said.extend_from_slice(&chunk[..count]),
            Err(error) => return (said, error.kind() == std::io::ErrorKind::ConnectionReset),
        }
    }
}

#[track_caller]
fn says(siege: &Siege, packet: &[u8], words: &str) {
    let (said, _) = answer(siege.port(), packet, words);
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.contains(words), "{:?}, not {words:?}", said);
}

#[test]
fn every_lie_has_its_answer() {
    let siege = Siege::begin(&[]);
    let asks_for_password = "SCRAM-SHA-256";
    let al = b"user\0al\0database\0postgres\0\0";
    // A version of the future is talked down to what the server speaks.
    let (said, closed) = answer(siege.port(), &packet(9999, al), asks_for_password);
    assert!(said.starts_with(b"v\0\0\0") && String::from_utf8_lossy(&said).contains(asks_for_password) && !closed);
    says(&siege, &packet(9999, b"user\0al\0_pq_.lie\0\x31\0\0"), "_pq_.lie");
    // Duplicates: the last one counts, unless they name two branches.
    says(&siege, &packet(0, b"user\0a\0user\0b\0user\0al\0\0"), asks_for_password);
    says(&siege, &packet(0, b"user\0al@main\0user\0al@feat\0\0"), "names branch");
    says(&siege, &packet(0, b"user\0al\0database\0x@main\0options\0-c nap.branch=feat\0\0"), "names branch");
    // Layout.
    says(&siege, &packet(0, b"user\0al\0\0trailing\0"), "invalid startup packet layout");
    says(&siege, &packet(0, b"user\0al"), "invalid startup packet layout");
    says(&siege, &packet(0, b"\0"), "no PostgreSQL user name specified");
    says(&siege, &packet(0, b"user\0\0\0"), "no PostgreSQL user name specified");
    says(&siege, &packet(0, b"user\0\xff\xfe\0\0"), "invalid byte sequence for encoding");
    says(&siege, &packet(0, &[b"user\0al\0".as_slice(), &b"x\0y\0".repeat(2_000), b"\0"].concat()), "parameters");
    // More parameters than a packet holds, and a packet as long as its length word can say.
    let (said, closed) = answer(siege.port(), &packet(0, &b"x\0y\0".repeat(10_000)), "");
    assert!(said.is_empty() && closed, "{}", said.escape_ascii());
    for length in [0_u32, 7, 10_005, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        let (said, closed) = answer(siege.port(), &length.to_be_bytes(), "");
        assert!(said.is_empty() && closed, "{length}: {}", said.escape_ascii());
    }
    // The longest that is allowed: PostgreSQL's own 10,000 bytes, all in one name.
    let longest = [b"user\0".as_slice(), &[b'x'; 9_989], b"\0\0"].concat();
    says(&siege, &packet(0, &longest), asks_for_password);
    // Escape characters do not reach the log.
    says(&siege, &packet(0, b"user\0al\0database\0x@\x1b[2J\0\0"), "does not exist");
    let log = std::fs::read(siege.home.path().join("log/nap.log")).unwrap();
    assert!(!log.contains(&0x1b));
    siege.end(0);
}
