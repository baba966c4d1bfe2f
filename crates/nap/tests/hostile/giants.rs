//! Messages and results that fit in no memory: what passes by is not kept.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nap_testkit::eventually;

use crate::siege::{Siege, startup};

const MEGABYTE: usize = 1 << 20;

/// Logged in as the owner, with everything read up to ReadyForQuery.
pub(crate) fn session(siege: &Siege) -> UnixStream {
    let path = siege.home.socket_directory().join(format!(".s.PGSQL.{}", siege.port()));
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(&startup("postgres", "postgres@feat")).unwrap();
    until(&mut stream, b"Z\0\0\0\x05I");
    stream
}

/// Reads until this has come.
fn until(stream: &mut UnixStream, end: &[u8]) -> Vec<u8> {
    let (mut said, mut piece) = (Vec::new(), [0; 8192]);
    while !said.ends_with(end) {
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "closed after {}", said.escape_ascii());
        said.extend_from_slice(&piece[..count]);
    }
    said
}

#[test]
fn a_query_of_two_hundred_megabytes_passes_by() {
    let siege = Siege::begin(&[]);
    let mut stream = session(&siege);
    let comment = vec![b' '; MEGABYTE];
    let (head, tail) = (b"select 17", b"\0");
    stream.write_all(b"Q").unwrap();
    let length = 4 + head.len() + 200 * MEGABYTE + tail.len();
    stream.write_all(&(length as u32).to_be_bytes()).unwrap();
    stream.write_all(head).unwrap();
    for _ in 0..200 {
        stream.write_all(&comment).unwrap();
    }
    stream.write_all(tail).unwrap();
    let said = until(&mut stream, b"Z\0\0\0\x05I");
    assert!(said.windows(2).any(|two| two == b"17"));
    siege.end(0);
}

#[test]
fn a_message_that_claims_too_much_ends_its_session_only() {
    let siege = Siege::begin(&[]);
    for length in [0x3fff_ffff_u32, 0x7fff_ffff, 0x8000_0000, u32::MAX, 3, 0] {
        for tag in [b'Q', b'P', b'B', b'd'] {
            let mut stream = session(&siege);
            stream.write_all(&[tag]).unwrap();
            stream.write_all(&length.to_be_bytes()).unwrap();
            let _ = stream.write_all(&[b'x'; 100_000]);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            // PostgreSQL says what is wrong, or waits for the rest and finds that nothing comes.
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
        }
    }
    siege.end(0);
}

#[test]
fn who_never_reads_a_gigabyte_costs_nothing() {
    let siege = Siege::begin(&[]);
    let mut stalled: Vec<_> = (0..8).map(|_| session(&siege)).collect();
    let sql = b"select repeat('x', 1000000) from generate_series(1, 1000)\0";
    for stream in &mut stalled {
        stream.write_all(b"Q").unwrap();
        stream.write_all(&(sql.len() as u32 + 4).to_be_bytes()).unwrap();
        stream.write_all(sql).unwrap();
    }
    let waiting = "select count(*) from pg_stat_activity where wait_event = 'ClientWrite' and query like '%repeat(%'";
    eventually("every server waits for its client", || {
        let count = siege.home.psql("feat", waiting).ok().to_owned();
        (count == stalled.len().to_string()).then_some(())
    });
    drop(stalled);
    siege.end(0);
}
