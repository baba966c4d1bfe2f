//! Messages in an order that no driver would choose, or all at once.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;

use nap_testkit::{Bare, DEADLINE, Raw, eventually};

use crate::siege::{Siege, home, startup};

fn tagged(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

fn initial(mechanism: &str, data: &[u8]) -> Vec<u8> {
    let body = [mechanism.as_bytes(), b"\0", &(data.len() as u32).to_be_bytes(), data].concat();
    tagged(b'p', &body)
}

/// Says all this at once after the startup packet, and reads to the end: the SQLSTATEs that came. `None`: what came was cut
/// off, as PostgreSQL does when it has not read all.
fn told(port: u16, database: &str, messages: &[u8]) -> Option<Vec<String>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(&[&startup("postgres", database)[..], messages].concat()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut said = Vec::new();
    if let Err(error) = stream.read_to_end(&mut said) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        return None;
    }
    assert!(!said.windows(9).any(|words| words == b"R\0\0\0\x08\0\0\0\0"), "let in by {}", messages.escape_ascii());
    let fields = said.split(|byte| *byte == 0).filter(|field| field.len() == 6 && field[0] == b'C');
    Some(fields.map(|field| String::from_utf8_lossy(&field[1..]).into_owned()).collect())
}

#[test]
fn an_exchange_out_of_order_ends_as_with_postgresql() {
    let siege = Siege::begin(&[]);
    let bare = Bare::start(siege.home.install(), &["listen_addresses=127.0.0.1"]);
    bare.psql("alter role postgres password 'secret'").ok();
    std::fs::write(bare.data("pg_hba.conf"), "local all all trust\nhost all all all scram-sha-256\n").unwrap();
    bare.psql("select pg_reload_conf()").ok();
    let first = b"n,,n=,r=abcdefghijklmnop";
    let last = format!("c=biws,r=abcdefghijklmnop,p={}=", "A".repeat(43));
    let begins = initial("SCRAM-SHA-256", first);
    let query = tagged(b'Q', b"select 1\0");
    eventually("it asks for passwords", || {
        (told(bare.port(), "postgres", &query) == Some(vec!["08P01".to_owned()])).then_some(())
    });
    let mut compared = 0;
    for messages in [
        // The end before the beginning, the beginning twice, no beginning, the end at once.
        tagged(b'p', last.as_bytes()),
        begins.repeat(2),
        initial("SCRAM-SHA-256", last.as_bytes()),
        [&begins[..], &tagged(b'p', last.as_bytes())].concat(),
        tagged(b'p', b""),
        tagged(b'p', b"password\0"),
        [&begins[..], &tagged(b'p', b"")].concat(),
        // What was not offered, or not said right.
        initial("SCRAM-SHA-256-PLUS", first),
        initial("SCRAM-SHA-1", first),
        initial("", first),
        initial("SCRAM-SHA-256", b"p=tls-server-end-point,,n=,r=abc"),
        initial("SCRAM-SHA-256", b"y,,n=,r="),
        initial("SCRAM-SHA-256", b"n,a=somebody,n=,r=abc"),
        initial("SCRAM-SHA-256", b"n,,m=x,n=,r=abc"),
        initial("SCRAM-SHA-256", b"n,,n=,r=a b\x01"),
        initial("SCRAM-SHA-256", b"n,,n=\0,r=abc"),
        initial("SCRAM-SHA-256", b""),
        initial("SCRAM-SHA-256", b"x"),
        [&begins[..], &tagged(b'p', b"c=biws")].concat(),
        [&begins[..], &tagged(b'p', b"c=eSws,r=abcdefghijklmnop,p=AAAA")].concat(),
        // Other messages than those of an exchange, before it and in its midst.
        query.clone(),
        [&begins[..], &query].concat(),
        startup("postgres", "postgres"),
        // The client has enough and leaves.
        begins.clone(),
    ] {
        let ours = told(siege.port(), "postgres@main", &messages)
            .unwrap_or_else(|| panic!("cut off after {}", messages.escape_ascii()));
        if let Some(theirs) = told(bare.port(), "postgres", &messages) {
            assert_eq!(ours, theirs, "to {}", messages.escape_ascii());
            compared += 1;
        }
    }
    assert!(compared > 15, "{compared}");
    siege.end(0);
}

/// On a Unix socket the owner needs no password, so all may come in one write.
#[test]
fn all_at_once_is_served_awake_and_while_it_wakes() {
    let home = home(&[]);
    home.psql("postgres@feat", "create table kept (number int)").ok();
    let socket = home.socket_directory().join(format!(".s.PGSQL.{}", home.port()));
    let say = |number: usize, half_closed: bool| {
        let sql = format!("insert into kept values ({number}) returning 'done'\0");
        let words = [startup("postgres", "postgres@feat"), tagged(b'Q', sql.as_bytes()), tagged(b'X', b"")].concat();
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(&words).unwrap();
        if half_closed {
            stream.shutdown(Shutdown::Write).unwrap();
        }
        stream
    };
    for asleep in [false, true] {
        if asleep {
            home.put_to_sleep("feat");
        }
        let came: Vec<_> = (0..40).map(|number| say(number, number % 2 == 0)).collect();
        for mut stream in came {
            let mut said = Vec::new();
            stream.read_to_end(&mut said).unwrap();
            assert!(said.windows(4).any(|words| words == b"done"), "{}", said.escape_ascii());
        }
    }
    assert_eq!(home.psql("postgres@feat", "select count(*) from kept").ok(), "80");
}

/// What has left, or said goodbye, while its server wakes keeps no place and no server awake.
#[test]
fn who_has_left_while_it_waits_is_forgotten() {
    let home = home(&[("max_waiting_clients", "30")]);
    let socket = home.socket_directory().join(format!(".s.PGSQL.{}", home.port()));
    for round in 0..3 {
        home.put_to_sleep("feat");
        for number in 0..60 {
            let mut stream = UnixStream::connect(&socket).unwrap();
            stream.write_all(&startup("postgres", "postgres@feat")).unwrap();
            match number % 3 {
                0 => drop(stream),
                1 => stream.write_all(&tagged(b'X', b"")).unwrap(),
                _ => stream.shutdown(Shutdown::Write).unwrap(),
            }
        }
        let mut client = Raw::unix(&home.socket_directory(), home.port())
            .start(&[("user", "postgres"), ("database", "postgres@feat")]);
        client.ready().unwrap_or_else(|error| panic!("round {round}: {error:?}"));
        drop(client);
        eventually("they are forgotten", || {
            let branch = home.branch("feat").unwrap();
            let of = |what: &str| branch["status"][what].as_u64();
            (of("sessions") == Some(0) && of("waiting") == Some(0)).then_some(())
        });
    }
}
