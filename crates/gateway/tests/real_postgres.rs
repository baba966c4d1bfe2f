//! The gateway between real clients and a real PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nap_gateway::SessionState;
use nap_wire::messages::{ErrorFields, authentication_ok, backend_key_data, error_response, ready_for_query};
use nap_wire::startup::{CancelKey, FirstPacket, encode_cancel, encode_startup, parse_first_packet};
use support::{House, Step, query_message, read_all, read_ready, tags, text};

#[test]
fn a_password_opens_the_way_over_tcp() {
    let house = House::new();
    let way = format!("{} user=alice dbname=shop@main", house.tcp());
    let sql = "select current_user, current_database(), current_setting('nap.branch')";
    assert_eq!(house.query(&way, sql), "alice|shop|main");
    assert_eq!(house.cluster.starts.load(Ordering::SeqCst), 1);
    assert!(!house.cluster.log().contains("unexpected EOF"), "{}", house.cluster.log());
}

#[test]
fn root_may_be_any_role_through_a_unix_socket() {
    let house = House::new().open_door("dev", Some("feature-login"));
    let who = "select current_user, current_database(), current_setting('nap.branch')";
    assert_eq!(house.query(&format!("{} user=postgres", house.door("u")), who), "postgres|postgres|main");
    assert_eq!(house.query(&format!("{} user=alice dbname=shop", house.door("dev")), who), "alice|shop|feature-login");
    assert_eq!(house.query(&format!("{} user=alice@feature-login", house.door("u")), who), "alice|alice|feature-login");
    let kept = format!("{} user=alice dbname=shop options='-c nap.branch=main -c my.x=a\\\\ b'", house.door("u"));
    assert_eq!(house.query(&kept, "select current_setting('my.x'), current_setting('nap.branch')"), "a b|main");
    let refused = house.refusal(&format!("{} user=nobody dbname=shop", house.door("u")));
    assert!(refused.contains("28000: role \"nobody\" does not exist"), "{refused}");
}

#[test]
fn a_branch_in_the_user_name_survives_a_change_of_database() {
    let house = House::new();
    let way = format!("{} user=alice@feature-login dbname=shop", house.tcp());
    let where_am_i = "select current_database(), current_user, current_setting('nap.branch')";
    let output = house.psql(&way, &["-c", "\\c postgres", "-c", where_am_i]);
    assert!(text(&output.stdout).ends_with("postgres|alice|feature-login\n"), "{output:?}");
    let mut createdb = house.program("createdb");
    createdb.args(["-h", "127.0.0.1", "-p", &house.port.to_string(), "-U", "alice@feature-login", "fresh"]);
    let output = createdb.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(house.query(&way, "select count(*) from pg_database where datname = 'fresh'"), "1");
}

#[test]
fn other_users_are_the_role_of_their_name_on_a_unix_socket() {
    // Root may be anybody. Without root we are the stranger ourselves, in a house of nobody's.
    let we = rustix::process::geteuid();
    let house = House::owned_by(if we.is_root() { 0 } else { u32::MAX - 1 });
    let refused = house.stranger(&format!("{} user=alice dbname=shop password=secret", house.door("u")));
    let said = text(&refused.stderr);
    assert!(said.contains("Peer authentication failed for user \"alice\""), "{said}");
    assert!(said.contains("Connect over TCP with the role's password"), "{said}");
    assert_eq!(house.wakes(), 0);
    // The system calls the stranger "limited", and the role of that name needs no password: it gets as far as the server.
    let namesake = house.stranger(&format!("{} user=limited dbname=shop", house.door("u")));
    assert!(text(&namesake.stderr).contains("too many connections for role \"limited\""), "{namesake:?}");
}

#[test]
fn what_the_server_refuses_is_passed_on() {
    let house = House::new();
    let refused = house.refusal(&format!("{} user=limited dbname=shop", house.door("u")));
    assert!(refused.starts_with("53300: too many connections for role \"limited\""), "{refused}");
}

#[test]
fn who_does_not_prove_who_it_is_wakes_nothing() {
    let house = House::new();
    let failed = |user: &str, password: &str| {
        let way = format!("{} user={user} dbname=shop password={password}", house.tcp());
        let refused = house.refusal(&way);
        let expected = format!("28P01: password authentication failed for user \"{user}\"");
        assert!(refused.starts_with(&expected), "{refused}");
    };
    failed("alice", "wrong");
    failed("nobody", "secret");
    failed("postgres", "secret");
    failed("expired", "secret");
    let nologin = house.refusal(&format!("{} user=nologin dbname=shop", house.tcp()));
    assert!(nologin.contains("28000: role \"nologin\" is not permitted to log in"), "{nologin}");
    let nowhere = house.refusal(&format!("{} user=alice dbname=nowhere", house.tcp()));
    assert!(nowhere.contains("3D000: database \"nowhere\" does not exist"), "{nowhere}");
    assert_eq!(house.wakes(), 0);
}

#[test]
fn branches_that_are_not_there_or_disagree_are_refused() {
    let house = House::new().open_door("dev", Some("feature-login"));
    let unknown = house.refusal(&format!("{} user=alice dbname=shop@feature-logn", house.tcp()));
    assert!(unknown.contains("3D000: branch \"feature-logn\" does not exist"), "{unknown}");
    assert!(unknown.contains("Did you mean \"feature-login\"?"), "{unknown}");
    let two = house.refusal(&format!("{} user=alice dbname=shop@main", house.door("dev")));
    assert!(two.contains("22023: the socket or port it came through names branch \"feature-login\""), "{two}");
    assert_eq!(house.wakes(), 0);
}

#[test]
fn a_cancel_request_ends_a_query_even_when_no_place_is_left() {
    let house = House::new();
    house.block_on(async {
        let way = format!("{} user=alice dbname=shop password=secret", house.tcp());
        let (client, connection) = tokio_postgres::connect(&way, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        house.limits.send_modify(|limits| limits.max_connections = 1);
        let refused = tokio_postgres::connect(&way, tokio_postgres::NoTls).await.err().unwrap();
        let refused = refused.as_db_error().unwrap();
        assert_eq!(refused.code().code(), "53300");
        assert!(refused.hint().unwrap().contains("max_connections is 1"));
        let cancel = client.cancel_token();
        let slow = client.batch_execute("select pg_sleep(600)");
        let cancelled = async {
            // The query is under way when the session says so.
            while house.gateway.sessions()[0].state != SessionState::Active {
                tokio::task::yield_now().await;
            }
            loop {
                cancel.cancel_query(tokio_postgres::NoTls).await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let ended = tokio::select! {
            ended = slow => ended.unwrap_err(),
            () = cancelled => unreachable!(),
        };
        assert_eq!(ended.code().unwrap().code(), "57014");
    });
}

#[test]
fn who_says_nothing_is_dropped_at_the_deadline() {
    let house = House::new();
    house.limits.send_modify(|limits| limits.authentication_timeout = Duration::from_millis(300));
    for said in [&b""[..], &[0, 0, 0], &encode_startup(0, &[("user", "alice")])[..15]] {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(("127.0.0.1", house.port)).unwrap();
        stream.write_all(said).unwrap();
        assert_eq!(read_all(stream), b"");
        assert!(begun.elapsed() >= Duration::from_millis(300));
    }
    let mut stream = TcpStream::connect(("127.0.0.1", house.port)).unwrap();
    stream.write_all(&encode_startup(0, &[("user", "alice"), ("database", "shop")])).unwrap();
    let late = text(&read_all(stream));
    assert!(late.contains("SCRAM-SHA-256") && late.contains("canceling authentication due to timeout"), "{late}");
    assert_eq!(house.wakes(), 0);
}

#[test]
fn what_is_no_startup_packet_is_dropped_at_once() {
    let house = House::new();
    let too_long = 10_005u32.to_be_bytes();
    for said in [&b"GET / HTTP/1.1\r\n\r\n"[..], &too_long, &[0x16, 3, 1, 2, 0]] {
        let mut stream = TcpStream::connect(("127.0.0.1", house.port)).unwrap();
        stream.write_all(said).unwrap();
        // What it sent and nobody read may come back as a reset.
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert_eq!(answer, b"");
    }
    assert_eq!(house.wakes(), 0);
}

#[test]
fn clients_that_arrive_while_the_server_starts_wait() {
    let house = House::new();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..12)
            .map(|_| scope.spawn(|| house.query(&format!("{} user=alice dbname=shop", house.door("u")), "select 42")))
            .collect();
        for client in clients {
            assert_eq!(client.join().unwrap(), "42");
        }
    });
    assert_eq!(house.cluster.starts.load(Ordering::SeqCst), 1);
    house.eventually("all holds are dropped", |house| Arc::strong_count(&house.cluster.holds) == 1);
}

/// A server that answers every connection with these bytes.
fn fake_server(house: &House, name: &str, answer: Vec<u8>) -> Step {
    let path = house.cluster.path(name);
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1000]);
            let _ = stream.write_all(&answer);
        }
    });
    Step::Socket(path)
}

#[test]
fn a_server_that_comes_or_goes_is_never_seen() {
    let house = House::new();
    let says = |sqlstate: &str, after: bool| {
        let mut answer = Vec::new();
        if after {
            authentication_ok(&mut answer);
        }
        error_response(&mut answer, &ErrorFields::fatal(sqlstate, "the database system is starting up"));
        answer
    };
    let dead = house.cluster.path("dead");
    drop(UnixListener::bind(&dead).unwrap());
    let script = [
        fake_server(&house, "starting", says("57P03", false)),
        fake_server(&house, "stopping", says("57P01", true)),
        fake_server(&house, "silent", Vec::new()),
        Step::Socket(dead),
        Step::Socket(house.cluster.path("missing")),
    ];
    house.cluster.script.lock().unwrap().extend(script);
    assert_eq!(house.query(&format!("{} user=alice dbname=shop", house.door("u")), "select 42"), "42");
    assert!(house.cluster.script.lock().unwrap().is_empty(), "the script is used up");
    assert!(house.wakes() >= 6);
}

#[test]
fn a_server_that_never_comes_is_an_error_with_a_hint() {
    let house = House::new();
    house.limits.send_modify(|limits| limits.wake_timeout = Duration::from_millis(200));
    house.cluster.script.lock().unwrap().extend((0..200).map(|_| Step::Socket(house.cluster.path("missing"))));
    let refused = house.refusal(&format!("{} user=alice dbname=shop", house.door("u")));
    assert!(refused.contains("58000: branch \"main\" did not wake within 0.2s"), "{refused}");
    assert!(refused.contains("Last: the server cannot be reached"), "{refused}");
    assert!(refused.contains("nap logs main"), "{refused}");
}

#[test]
fn a_client_that_leaves_while_it_waits_frees_its_place() {
    let house = House::new();
    house.limits.send_modify(|limits| limits.max_waiting_clients = 1);
    house.cluster.script.lock().unwrap().extend([Step::Never, Step::Never]);
    for terminates in [false, true] {
        let mut waiting = house.raw_startup();
        house.eventually("it waits", |house| house.gateway.sessions().len() == 1);
        let refused = house.cluster.script.lock().unwrap().len();
        if !terminates {
            house.cluster.script.lock().unwrap().push_front(Step::Never);
            let full = house.refusal(&format!("{} user=alice dbname=shop", house.door("u")));
            assert!(full.contains("53300") && full.contains("max_waiting_clients is 1"), "{full}");
            assert_eq!(house.cluster.script.lock().unwrap().len(), refused);
            house.eventually("who was refused has gone", |house| house.gateway.sessions().len() == 1);
        }
        let kept = if terminates {
            waiting.write_all(b"X\0\0\0\x04").unwrap();
            Some(waiting)
        } else {
            drop(waiting);
            None
        };
        house.eventually("it has gone", |house| house.gateway.sessions().is_empty());
        drop(kept);
    }
    assert_eq!(house.cluster.starts.load(Ordering::SeqCst), 0);
}

#[test]
fn a_client_that_closes_half_reads_its_answers() {
    let house = House::new();
    let mut client = house.raw_startup();
    client.write_all(&query_message("select 'answer', pg_sleep(0.2)")).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let answer = read_all(client);
    assert!(text(&answer).contains("answer") && answer.ends_with(b"Z\0\0\0\x05I"), "{}", text(&answer));
    house.eventually("it has gone", |house| house.gateway.sessions().is_empty());
}

#[test]
fn a_killed_client_leaves_no_query_behind() {
    let house = House::new();
    for way in [house.tcp(), house.door("u")] {
        let mut psql = house.program("psql");
        let mark = format!("killed {}", way.len());
        let sql = format!("copy (select '{mark}', generate_series(1, 1000000000000)) to stdout");
        psql.args(["-X", "-d", &format!("{way} user=alice dbname=shop"), "-c", &sql]);
        let mut psql = psql.stdout(std::process::Stdio::null()).spawn().unwrap();
        let ask = format!("{} user=alice dbname=shop", house.door("u"));
        let asked = format!(
            "select count(*) from pg_stat_activity where query like 'copy%{mark}%' and pid <> pg_backend_pid()"
        );
        house.eventually("it copies", |house| house.query(&ask, &asked) == "1");
        psql.kill().unwrap();
        psql.wait().unwrap();
        house.eventually("its backend has ended", |house| house.query(&ask, &asked) == "0");
        house.eventually("its place is free", |house| house.gateway.sessions().is_empty());
    }
}

#[test]
fn bulk_goes_through_whole_in_both_directions() {
    let house = House::new();
    let way = format!("{} user=alice dbname=shop", house.tcp());
    let dumped = house.cluster.path("dump");
    let sql = "copy (select n, md5(n::text) from generate_series(1, 400000) n) to stdout";
    let output = house.psql(&way, &["-c", sql, "-o", dumped.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines = std::fs::read(&dumped).unwrap();
    assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count(), 400_000);
    let load = format!("\\copy t from {}", dumped.display());
    let sums = "select count(*), sum(n), bool_and(s = md5(n::text)) from t";
    let output = house.psql(&way, &["-c", "create table t (n int, s text)", "-c", &load, "-c", sums]);
    assert_eq!(text(&output.stdout).trim_end(), "400000|80000200000|t", "{}", text(&output.stderr));
}

#[test]
fn sessions_say_what_they_do() {
    let house = House::new();
    let mut client = house.raw_startup();
    read_ready(&mut client);
    let now = |house: &House| house.gateway.sessions()[0].clone();
    house.eventually("idle", |house| now(house).state == SessionState::Idle);
    let seen = now(&house);
    assert_eq!((seen.role.as_str(), seen.database.as_str(), seen.branch.as_str()), ("alice", "shop", "main"));
    client.write_all(&query_message("begin")).unwrap();
    house.eventually("in a transaction", |house| now(house).state == SessionState::IdleInTransaction);
    client.write_all(&query_message("select 1/0")).unwrap();
    house.eventually("failed", |house| now(house).state == SessionState::IdleInFailedTransaction);
    client.write_all(&query_message("rollback; select pg_sleep(600)")).unwrap();
    house.eventually("active", |house| now(house).state == SessionState::Active);
}

#[test]
fn the_end_of_a_backend_reaches_the_client_as_it_is() {
    let house = House::new();
    let way = format!("{} user=alice dbname=shop", house.tcp());
    let output = house.psql(&way, &["-c", "select pg_terminate_backend(pg_backend_pid())"]);
    assert!(text(&output.stderr).contains("57P01: terminating connection due to administrator command"));
}

#[test]
fn walsenders_come_through_without_a_database() {
    let house = House::new();
    let system = format!("{} user=alice@main replication=true", house.tcp());
    let output = house.psql(&system, &["-c", "IDENTIFY_SYSTEM"]);
    assert!(text(&output.stdout).contains('|'), "{}", text(&output.stderr));
    let to = house.cluster.path("backup");
    let mut backup = house.program("pg_basebackup");
    backup.args(["-d", &format!("{} user=alice@main", house.tcp()), "-c", "fast", "--no-sync", "-X", "stream", "-D"]);
    let output = backup.arg(&to).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(to.join("backup_label").exists());
}

#[test]
fn a_newer_protocol_is_negotiated_down_to_the_servers() {
    let house = House::new();
    let mut client = house.raw();
    let parameters = [("user", "alice"), ("database", "shop"), ("_pq_.mystery", "1")];
    client.write_all(&encode_startup(2, &parameters)).unwrap();
    let answer = read_ready(&mut client);
    let expected = b"v\0\0\0\x19\0\x03\0\0\0\0\0\x01_pq_.mystery\0R\0\0\0\x08\0\0\0\0";
    assert_eq!(text(&answer[..expected.len()]), text(expected));
    let tags = tags(&answer);
    assert!(tags.starts_with("vRS") && tags.ends_with("SKZ"), "the server negotiates no second time: {tags}");
}

#[test]
fn long_cancel_keys_pass_through_untouched() {
    let house = House::new();
    house.cluster.major.store(18, Ordering::SeqCst);
    let key = CancelKey { pid: 4711, secret: (0..32).collect() };
    let path = house.cluster.path("fake");
    let server = UnixListener::bind(&path).unwrap();
    house.cluster.script.lock().unwrap().push_back(Step::Socket(path));
    let mut client = house.raw();
    client.write_all(&encode_startup(2, &[("user", "alice"), ("database", "shop")])).unwrap();

    let (mut backend, _) = server.accept().unwrap();
    let mut packet = [0; 1000];
    let count = backend.read(&mut packet).unwrap();
    let Ok(Some((FirstPacket::Startup(startup), _))) = parse_first_packet(&packet[..count], 1000) else { panic!() };
    assert_eq!(startup.minor, 2);
    let mut greeting = Vec::new();
    authentication_ok(&mut greeting);
    backend_key_data(&mut greeting, &key);
    ready_for_query(&mut greeting, b'I');
    backend.write_all(&greeting).unwrap();
    assert_eq!(read_ready(&mut client), greeting, "byte for byte, with nothing negotiated");

    let mut canceller = house.raw();
    canceller.write_all(&encode_cancel(&key)).unwrap();
    let (mut cancelled, _) = server.accept().unwrap();
    let expected = encode_cancel(&key);
    let mut request = vec![0; expected.len()];
    cancelled.read_exact(&mut request).unwrap();
    assert_eq!(request, expected);
    let patience = canceller.read_timeout().unwrap();
    canceller.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let early = canceller.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(early, Err(ErrorKind::WouldBlock), "not closed while the server may yet signal its backend");
    canceller.set_read_timeout(patience).unwrap();
    drop(cancelled);
    assert_eq!(read_all(canceller), b"", "closed when the server has taken it");

    let wrong = CancelKey { secret: vec![0; 32], ..key };
    let mut canceller = house.raw();
    canceller.write_all(&encode_cancel(&wrong)).unwrap();
    assert_eq!(read_all(canceller), b"");
    server.set_nonblocking(true).unwrap();
    assert!(server.accept().is_err(), "an unknown key goes nowhere");
}

#[test]
fn draining_sends_the_waiting_away_and_names_the_late() {
    let house = House::new();
    let mut idle = house.raw_startup();
    read_ready(&mut idle);
    house.cluster.script.lock().unwrap().push_back(Step::Never);
    let waiting = house.raw_startup();
    let silent = house.raw();
    house.eventually("both are there", |house| house.gateway.sessions().len() == 2);
    let late = house.block_on(async {
        let deadline = tokio::time::Instant::now() + Duration::from_millis(300);
        house.gateway.drain(deadline).await
    });
    assert_eq!(late.len(), 1);
    assert!(text(&read_all(waiting)).contains("57P01"));
    drop(silent);
    house.cluster.stop();
    assert!(text(&read_all(idle)).contains("57P01"));
    let rest =
        house.block_on(async { house.gateway.drain(tokio::time::Instant::now() + Duration::from_secs(10)).await });
    assert!(rest.is_empty());
}
