//! Pings: a parked session's are answered without waking, with PostgreSQL's own bytes.

use std::io::Read;

use super::*;

/// `Parse`, `Bind`, `Describe`, `Execute`, `Sync` of a text, results in a format.
fn extended(text: &str, format: u16, describe: Option<u8>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut put = |tag: u8, body: &[u8]| {
        out.push(tag);
        out.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        out.extend_from_slice(body);
    };
    put(b'P', &[b"\0", text.as_bytes(), b"\0\0\0"].concat());
    put(b'B', &[b"\0\0\0\0\0\0\0\x01".as_slice(), &format.to_be_bytes()].concat());
    if let Some(target) = describe {
        put(b'D', &[target, 0]);
    }
    put(b'E', b"\0\0\0\0\0");
    put(b'S', b"");
    out
}

fn simple(text: &str) -> Vec<u8> {
    [b"Q", &(text.len() as u32 + 5).to_be_bytes()[..], text.as_bytes(), b"\0"].concat()
}

/// All that comes up to ReadyForQuery, byte for byte.
fn answer<S: Read + std::io::Write>(session: &mut Raw<S>, question: &[u8]) -> Vec<(u8, Vec<u8>)> {
    session.send(question);
    let mut heard = Vec::new();
    loop {
        let message = session.message().unwrap();
        let over = message.0 == b'Z';
        heard.push(message);
        if over {
            return heard;
        }
    }
}

#[test]
fn pings_are_answered_with_the_bytes_of_postgresql_and_wake_nothing() {
    let home = home();
    let mut pings: Vec<Vec<u8>> =
        ["", ";", "SELECT 1", "select 1;", " /* ping */ SELECT 1 -- x", "-- nothing"].map(simple).to_vec();
    for format in [0, 1] {
        for describe in [None, Some(b'S'), Some(b'P')] {
            pings.push(extended("SELECT 1", format, describe));
            pings.push(extended("", format, describe));
        }
    }
    let mut session = session(&home);
    let direct: Vec<_> = pings.iter().map(|ping| answer(&mut session, ping)).collect();
    let wakes = home.put_to_sleep("main");
    for (ping, expected) in pings.iter().zip(&direct) {
        assert_eq!(answer(&mut session, ping), *expected, "{}", String::from_utf8_lossy(ping));
    }
    // In pieces, too, and several at once.
    let (begin, rest) = pings[2].split_at(3);
    session.send(begin);
    assert_eq!(answer(&mut session, rest), direct[2]);
    session.send(&pings[2]);
    assert_eq!(answer(&mut session, &pings[3]), direct[2]);
    assert_eq!(answer(&mut session, b""), direct[3]);
    home.still_sleeps("main", wakes);
    // A query behind a ping wakes, and is answered after it.
    session.send(&[simple("SELECT 1"), simple("SELECT 5")].concat());
    assert_eq!(answer(&mut session, b""), direct[2]);
    let answered = answer(&mut session, b"");
    assert!(answered.iter().any(|(tag, body)| *tag == b'D' && body.ends_with(b"5")), "{answered:?}");
}

#[test]
fn the_unnamed_statement_is_what_the_last_ping_left() {
    let home = home();
    let mut session = session(&home);
    let bind = b"B\0\0\0\x0c\0\0\0\0\0\0\0\0E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04";
    answer(&mut session, &extended("SELECT 7", 0, None));
    home.nap(&["sleep"]).ok();
    answer(&mut session, &extended("SELECT 1", 0, None));
    session.ask("SELECT 2").unwrap();
    let error = answer(&mut session, bind);
    assert!(error.iter().any(|(tag, _)| *tag == b'E'), "a simple query has destroyed it: {error:?}");
    answer(&mut session, &extended("SELECT 7", 0, None));
    home.nap(&["sleep"]).ok();
    let bound = answer(&mut session, bind);
    assert!(bound.iter().any(|(tag, body)| *tag == b'D' && body.ends_with(b"7")), "{bound:?}");
    home.nap(&["sleep"]).ok();
    answer(&mut session, &simple("SELECT 1"));
    let error = answer(&mut session, bind);
    assert!(error.iter().any(|(tag, _)| *tag == b'E'), "a ping destroys it as well: {error:?}");
}

#[test]
fn they_can_be_turned_off() {
    let home = home();
    home.nap(&["set", "main", "answer_pings=off"]).ok();
    let mut session = session(&home);
    home.nap(&["sleep"]).ok();
    assert_eq!(session.ask("SELECT 1").unwrap(), "1");
    assert_eq!(home.state("main"), "awake");
}

#[test]
fn pings_keep_no_server_awake() {
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_after", "\"1s\"").build();
    home.up();
    let mut session = session(&home);
    let wakes = home.wakes("main");
    eventually("it sleeps under pings", || {
        assert_eq!(session.ask("SELECT 1").unwrap(), "1");
        (home.state("main") == "asleep").then_some(())
    });
    assert_eq!(session.ask("SELECT 1").unwrap(), "1");
    home.still_sleeps("main", wakes);
}
