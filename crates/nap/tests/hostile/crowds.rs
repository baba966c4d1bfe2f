//! More connections than there are places.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::ops::Range;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::siege::{Siege, startup, tcp_from};

const CONNECTIONS: u32 = 10_000;
/// `max_connections`, as it is unless set.
const PLACES: u32 = 1_000;

/// The test's own sockets need descriptors as well.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = u64::from(CONNECTIONS) + 1_000;
    let maximum = limit.maximum.map(|maximum| maximum.max(wanted));
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).expect("11,000 open files");
}

/// Half of them say who they are, and no more.
fn come(siege: &Siege, numbers: Range<u32>, held: &mut Vec<TcpStream>) -> u64 {
    let said = startup("postgres", "postgres@main");
    for number in numbers {
        let [_, _, high, low] = number.to_be_bytes();
        let mut stream = tcp_from(Ipv4Addr::new(127, 2, high, low), siege.port()).unwrap();
        if number % 2 == 0 {
            stream.write_all(&said).unwrap();
        }
        held.push(stream);
    }
    // Many still wait to be accepted.
    siege.all_is_read();
    siege.peak_kb()
}

#[test]
fn slow_ten_thousand_connections_from_ten_thousand_addresses() {
    raise_file_limit();
    let siege = Siege::begin(&[]);
    let mut held = Vec::new();
    let places_taken = come(&siege, 0..2 * PLACES, &mut held);
    let all = come(&siege, 2 * PLACES..CONNECTIONS, &mut held);
    eprintln!("{places_taken} kB when all places are taken, {all} kB with {CONNECTIONS}");
    assert!(all < places_taken + 2_048, "{places_taken} kB, then {all} kB");
    siege.home.nap(&["status"]).ok();
    drop(held);
    siege.end(PLACES.into());
}
