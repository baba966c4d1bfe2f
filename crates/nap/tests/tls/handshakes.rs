//! What is said before the first word over TLS: asked for, direct, refused, slow, or mixed with what is not encrypted.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nap_testkit::{Output, Raw, TestHome, eventually};

use crate::support::tls_url;

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const GSSENC_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];
/// The first bytes of a ClientHello of 512 bytes: whoever reads it waits for more.
const HELLO_BEGUN: [u8; 6] = [0x16, 3, 1, 2, 0, 1];

fn up() -> TestHome {
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_after", "\"10min\"").build();
    home.up();
    home
}

/// The other end of `openssl s_client`, which says nothing and leaves.
fn openssl(home: &TestHome, arguments: &[&str]) -> Output {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &format!("127.0.0.1:{}", home.port())]).args(arguments);
    Output::of(command.stdin(Stdio::null()))
}

fn tcp(home: &TestHome) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", home.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

fn asked(stream: &mut TcpStream, request: [u8; 8]) -> u8 {
    stream.write_all(&request).unwrap();
    let mut answer = [0];
    stream.read_exact(&mut answer).unwrap();
    answer[0]
}

#[test]
fn encryption_is_there_when_asked_for_on_tcp() {
    let home = up();
    assert_eq!(asked(&mut tcp(&home), SSL_REQUEST), b'S');
    let mut both = tcp(&home);
    assert_eq!((asked(&mut both, GSSENC_REQUEST), asked(&mut both, SSL_REQUEST)), (b'N', b'S'));
    let mut unix =
        std::os::unix::net::UnixStream::connect(home.socket_directory().join(format!(".s.PGSQL.{}", home.port())))
            .unwrap();
    unix.write_all(&SSL_REQUEST).unwrap();
    let mut answer = [0];
    unix.read_exact(&mut answer).unwrap();
    assert_eq!(answer[0], b'N', "a Unix socket needs none");
    home.nap(&["config", "set", "ssl=off"]).ok();
    assert_eq!(asked(&mut tcp(&home), SSL_REQUEST), b'N');
    let refused = home.psql_with(&tls_url(&home, "main", &[("sslmode", "require")]), "select 1");
    assert!(refused.fails_with(2).contains("server does not support SSL"), "{refused}");
    home.psql_with(&tls_url(&home, "main", &[("sslmode", "prefer")]), "select 1").ok();
}

#[test]
fn who_names_another_protocol_is_refused() {
    let home = up();
    let said = openssl(&home, &["-starttls", "postgres", "-alpn", "postgresql"]);
    assert!(said.ok().contains("ALPN protocol: postgresql"), "{said}");
    assert!(openssl(&home, &["-starttls", "postgres"]).ok().contains("No ALPN negotiated"));
    let refused = openssl(&home, &["-starttls", "postgres", "-alpn", "h2"]);
    assert!(refused.fails_with(1).contains("alert no application protocol"), "{refused}");
    let direct = openssl(&home, &["-alpn", "postgresql"]);
    assert!(direct.ok().contains("ALPN protocol: postgresql"), "{direct}");
    let refused = openssl(&home, &["-alpn", "h2"]);
    assert!(refused.fails_with(1).contains("alert no application protocol"), "{refused}");
    openssl(&home, &[]);
    let words = "received direct SSL connection request without ALPN protocol negotiation extension";
    eventually("the refusal in the log", || home.daemon_log().contains(words).then_some(()));
    home.nap(&["config", "set", "ssl=off"]).ok();
    assert!(!openssl(&home, &["-alpn", "postgresql"]).succeeded(), "there is no TLS any more");
}

#[test]
fn old_versions_are_not_spoken() {
    let home = up();
    let speaks = |version: &str| {
        openssl(&home, &["-starttls", "postgres", version, "-cipher", "DEFAULT@SECLEVEL=0"]).succeeded()
    };
    assert_eq!(["-tls1_1", "-tls1_2", "-tls1_3"].map(speaks), [false, true, true]);
    home.nap(&["config", "set", "ssl_min_protocol_version=TLSv1.3"]).ok();
    assert_eq!(["-tls1_1", "-tls1_2", "-tls1_3"].map(speaks), [false, false, true]);
    let older = home.nap(&["config", "set", "ssl_min_protocol_version=TLSv1.1"]);
    assert!(older.fails_with(2).contains("expected `TLSv1.2` or `TLSv1.3`"), "{older}");
}

#[test]
fn what_comes_unencrypted_after_the_request_is_never_taken_for_the_clients_word() {
    let home = up();
    for (request, name) in [(SSL_REQUEST, "SSL request"), (GSSENC_REQUEST, "GSSAPI encryption request")] {
        let mut client = Raw::over(tcp(&home));
        client.send(&[&request[..], b"\0\0\0\x11\0\x03\0\0user\0mallory\0\0"].concat());
        let error = client.ready().unwrap_err();
        assert_eq!(error.message, format!("received unencrypted data after {name}"));
        assert_eq!(error.code, "08P01");
        assert!(error.detail.contains("man-in-the-middle"), "{}", error.detail);
    }
}

#[test]
fn a_slow_handshake_ends_at_the_deadline_and_wakes_nothing() {
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("authentication_timeout", "\"2s\"").build();
    home.up();
    let wakes = home.put_to_sleep("main");
    let begun = Instant::now();
    // One after the other: the deadline counts from accept, and what comes after it is not read.
    for is_asked_for in [true, false] {
        let mut stream = tcp(&home);
        if is_asked_for {
            assert_eq!(asked(&mut stream, SSL_REQUEST), b'S');
        }
        stream.write_all(&HELLO_BEGUN).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "it is told nothing");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "closed after {:?}", begun.elapsed());
    home.still_sleeps("main", wakes);
}

#[test]
fn a_cancel_request_comes_over_tls_too() {
    let home = up();
    let role = home.role();
    let parameters = [("user", role.as_str()), ("database", "postgres@main")];
    let mut session = Raw::unix(&home.socket_directory(), home.port()).start(&parameters);
    let key = loop {
        match session.message().unwrap() {
            (b'K', key) => break key,
            (b'E', body) => panic!("{}", String::from_utf8_lossy(&body)),
            _ => {}
        }
    };
    session.ready().unwrap();
    let sleeping = std::thread::spawn(move || session.ask("select pg_sleep(600)"));
    eventually("the statement runs", || {
        let running = home.psql("main", "select count(*) from pg_stat_activity where query = 'select pg_sleep(600)'");
        (running.ok() == "1").then_some(())
    });
    let request = [&(8 + key.len() as u32).to_be_bytes()[..], &[4, 210, 22, 46], &key].concat();
    let mut openssl = Command::new("openssl")
        .args(["s_client", "-quiet", "-starttls", "postgres", "-connect", &format!("127.0.0.1:{}", home.port())])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    openssl.stdin.as_mut().unwrap().write_all(&request).unwrap();
    let error = sleeping.join().unwrap().unwrap_err();
    assert_eq!(error.code, "57014", "{error:?}");
    let output = openssl.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("unexpected eof"), "it was not told the end: {said}");
}

#[test]
fn who_leaves_while_its_server_wakes_is_noticed_over_tls_too() {
    let home = up();
    let held = home.hold_starts("main");
    home.sleep("main");
    let url = tls_url(&home, "main", &[("sslmode", "require")]);
    let mut psql = home.program("psql");
    let mut psql = psql.args(["-XqAt", "-d", &url, "-c", "select 1"]).stderr(Stdio::null()).spawn().unwrap();
    let sessions = |count: u64| {
        eventually("the number of sessions", || {
            (home.nap(&["status", "--json"]).json()["counts"]["sessions"].as_u64() == Some(count)).then_some(())
        });
    };
    sessions(1);
    home.wait_start_is_held("main");
    psql.kill().unwrap();
    psql.wait().unwrap();
    sessions(0);
    assert_eq!(home.state("main"), "waking");
    held.release();
}
