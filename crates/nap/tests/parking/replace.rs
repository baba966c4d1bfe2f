//! `nap up --replace`: the daemon goes on as another program, and its clients notice nothing.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nap_testkit::process;

use super::listen::Listener;
use super::*;

fn replace(home: &TestHome) {
    let pid = home.daemon_pid();
    let replaced = home.nap(&["up", "--replace"]);
    assert!(replaced.ok().contains("already up"), "{replaced}");
    assert_eq!(home.daemon_pid(), pid, "the same process");
}

fn count_of_successions(home: &TestHome) -> usize {
    home.daemon_log().matches("goes on in place of the program before").count()
}

/// Each with its client's address.
fn numbers_of_sessions(home: &TestHome) -> Vec<(u64, String)> {
    let sessions = home.nap(&["sessions", "--json"]).json();
    let one = |session: &serde_json::Value| (session["id"].as_u64().unwrap(), session["client"].to_string());
    sessions.as_array().unwrap().iter().map(one).collect()
}

#[test]
fn sessions_go_on_with_all_they_have() {
    let home = home();
    // Who has gone has had a number, too.
    session(&home).ask("SELECT 1").unwrap();
    let mut pinned = session(&home);
    pinned.ask("CREATE TEMP TABLE t AS SELECT 1 AS i; SET my.setting = 'kept'").unwrap();
    let mut in_transaction = session(&home);
    in_transaction.ask("BEGIN; CREATE TABLE half_made ()").unwrap();
    let mut failed = session(&home);
    assert!(failed.ask("BEGIN; SELECT 1/0").is_err());
    let mut parked = session(&home);
    parked.ask("SET statement_timeout = '12s'; SET my.other = 'as well'").unwrap();
    parked.ask("PREPARE p AS SELECT 'prepared'").unwrap();
    parked.ask("SET ROLE pg_monitor").unwrap();
    park(&home, "main");
    let mut awake = session(&home);
    let backend = awake.ask("SELECT pg_backend_pid()").unwrap();
    let server = home.server_pid("main");
    let numbers = numbers_of_sessions(&home);
    for _ in 0..3 {
        replace(&home);
    }
    assert_eq!(count_of_successions(&home), 3);
    assert_eq!(numbers_of_sessions(&home), numbers, "`nap sessions --end` means the same ones");
    assert_eq!(home.server_pid("main"), server);
    let states: Vec<_> = sessions(&home, "main").into_iter().map(|(state, _)| state).collect();
    assert_eq!(states.iter().filter(|state| *state == "parked").count(), 1, "{states:?}");
    assert_eq!(states.iter().filter(|state| *state == "idle in transaction").count(), 1, "{states:?}");
    assert_eq!(states.len(), 5, "{states:?}");
    assert_eq!(awake.ask("SELECT pg_backend_pid()").unwrap(), backend);
    assert_eq!(pinned.ask("SELECT i || current_setting('my.setting') FROM t").unwrap(), "1kept");
    in_transaction.ask("COMMIT").unwrap();
    assert_eq!(awake.ask("SELECT to_regclass('half_made')").unwrap(), "half_made");
    assert!(failed.ask("SELECT 1").is_err());
    failed.ask("ROLLBACK").unwrap();
    assert_eq!(parked.ask("SHOW statement_timeout").unwrap(), "12s");
    assert_eq!(parked.ask("SELECT current_setting('my.other') || current_user").unwrap(), "as wellpg_monitor");
    assert_eq!(parked.ask("EXECUTE p").unwrap(), "prepared");
    // They can be parked as ever.
    awake.ask("SELECT 1").unwrap();
    drop(pinned);
    eventually("the pinned one has left", || (sessions(&home, "main").len() == 4).then_some(()));
    all_parked(&home, "main");
    home.sleep("main");
    assert_eq!(awake.ask("SELECT 'woken'").unwrap(), "woken");
}

#[test]
fn what_runs_runs_on_and_can_be_cancelled() {
    let home = home();
    let mut busy = session(&home);
    let sql = b"SELECT pg_sleep(1), 'done'\0";
    busy.send(&[b"Q", &(sql.len() as u32 + 4).to_be_bytes()[..], sql].concat());
    eventually("it is active", || sessions(&home, "main").iter().any(|(state, _)| state == "active").then_some(()));
    replace(&home);
    let mut done = String::new();
    loop {
        match busy.message().unwrap() {
            (b'Z', _) => break,
            (b'D', body) => done = String::from_utf8_lossy(&body).into_owned(),
            _ => {}
        }
    }
    assert!(done.ends_with("done"), "{done}");

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut config = home.config("postgres@main");
        config.ssl_mode(tokio_postgres::config::SslMode::Disable);
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        let token = client.cancel_token();
        client.simple_query("SELECT 1").await.unwrap();
        replace(&home);
        let sleeps = client.simple_query("SELECT pg_sleep(60)");
        let cancel = async {
            eventually("it sleeps", || {
                let active = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60)'";
                (home.psql("postgres@main", active).ok() == "1").then_some(())
            });
            token.cancel_query(tokio_postgres::NoTls).await.unwrap();
        };
        let (slept, ()) = tokio::join!(sleeps, cancel);
        assert_eq!(slept.unwrap_err().code().unwrap().code(), "57014");
        drop(client);
        connection.await.unwrap().unwrap();
    });
}

#[test]
fn listeners_hear_everything_once_and_in_order() {
    let home = home();
    let mut listeners: Vec<Listener> = (0..5).map(|_| Listener::new(&home, "postgres@main", &["news"])).collect();
    all_parked(&home, "main");
    let mut own = Listener::new(&home, "postgres@main", &["news"]);
    let (stop, said) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut speaker = session(&home);
            while !stop.load(Ordering::Relaxed) {
                let number = said.load(Ordering::Relaxed);
                speaker.ask(&format!("NOTIFY news, '{number}'")).unwrap();
                said.store(number + 1, Ordering::Relaxed);
            }
        });
        for round in 1..=5 {
            let before = said.load(Ordering::Relaxed);
            eventually("more is said", || (said.load(Ordering::Relaxed) > before + 20).then_some(()));
            replace(&home);
            assert_eq!(count_of_successions(&home), round);
        }
        stop.store(true, Ordering::Relaxed);
    });
    let count = said.load(Ordering::Relaxed);
    assert!(count > 100);
    for listener in listeners.iter_mut().chain([&mut own]) {
        let heard: Vec<String> = listener.hears(count).iter().map(|(_, payload)| payload.clone()).collect();
        let expected: Vec<String> = (0..count).map(|number| number.to_string()).collect();
        assert_eq!(heard, expected);
    }
    // And while the server sleeps.
    drop(own);
    home.nap(&["sleep"]).ok();
    replace(&home);
    home.psql("postgres@main", "NOTIFY news, 'good morning'").ok();
    for listener in &mut listeners {
        assert_eq!(listener.hears(count + 1)[count].1, "good morning");
    }
}

#[test]
fn nobody_who_comes_meanwhile_is_refused() {
    let home = home();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let comers: Vec<_> = (0..2)
            .map(|way| {
                let (home, stop) = (&home, &stop);
                scope.spawn(move || {
                    let mut count = 0;
                    while !stop.load(Ordering::Relaxed) {
                        match way {
                            0 => drop(session(home).ask("SELECT 1").unwrap()),
                            _ => drop(TcpStream::connect(("127.0.0.1", home.port())).unwrap()),
                        }
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        for _ in 0..10 {
            replace(&home);
        }
        stop.store(true, Ordering::Relaxed);
        for comer in comers {
            assert!(comer.join().unwrap() > 2);
        }
    });
}

#[test]
fn over_tls_it_is_told_to_connect_again() {
    let home = home();
    let url = home.url("postgres@main");
    let mut psql = home.program("psql");
    psql.args(["-XqAt", "-v", "VERBOSITY=verbose", &url]).env("PGSSLMODE", "require");
    let mut psql = psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut input, mut output) = (psql.stdin.take().unwrap(), BufReader::new(psql.stdout.take().unwrap()));
    let mut line = String::new();
    input.write_all(b"BEGIN; SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid();\n").unwrap();
    output.read_line(&mut line).unwrap();
    std::thread::scope(|scope| {
        let replacing = scope.spawn(|| replace(&home));
        eventually("it leaves", || home.daemon_log().contains("leaves everything").then_some(()));
        // Its transaction may end.
        input.write_all(b"SELECT 'still there'; COMMIT;\n").unwrap();
        line.clear();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "still there\n");
        replacing.join().unwrap();
    });
    input.write_all(b"SELECT 1;\n").unwrap();
    drop(input);
    let ended = psql.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("57P01") && ended.status.code() == Some(2), "{said}");
}

#[test]
fn what_the_next_program_would_refuse_is_said_while_there_is_still_this_one() {
    let home = home();
    let mut idle = session(&home);
    idle.ask("CREATE TEMP TABLE t ()").unwrap();
    let rules = home.path().join("pg_hba.conf");
    let good = std::fs::read_to_string(&rules).unwrap();
    std::fs::write(&rules, "nonsense\n").unwrap();
    home.nap(&["up", "--replace"]).fails_with(1);
    std::fs::write(&rules, good).unwrap();
    home.nap(&["config", "set", "run_as=somebody"]).ok();
    assert!(home.nap(&["up", "--replace"]).fails_with(1).contains("run_as was changed"));
    home.nap(&["config", "set", "run_as="]).ok();
    replace(&home);
    idle.ask("SELECT count(*) FROM t").unwrap();
}

#[test]
fn a_program_that_cannot_be_run_changes_nothing() {
    let home = home();
    let mut idle = session(&home);
    idle.ask("CREATE TEMP TABLE t ()").unwrap();
    let mut parked = Listener::new(&home, "postgres@main", &["news"]);
    park(&home, "main");
    let mut leaves = session(&home);
    let backend: i32 = leaves.ask("SELECT pg_backend_pid()").unwrap().parse().unwrap();
    // One that is not there is seen to be before anything is left; the other only when it is too late.
    let (none, no_program) = (home.beside().join("none"), home.beside().join("no-program"));
    std::fs::write(&no_program, "neither a program nor a script").unwrap();
    std::fs::set_permissions(&no_program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let socket = home.path().join("control.sock");
    for program in [none, no_program] {
        let request = nap_control::Request::Replace { program, format: nap_gateway::ESTATE_FORMAT };
        let reply = nap_control::call(&socket, &request, Duration::from_secs(30)).unwrap();
        assert!(reply.unwrap_err().message.contains("cannot run"));
    }
    assert!(home.daemon_log().contains("goes on as before"));
    // Nobody else has its socket: its backend hears that its client has gone.
    drop(leaves);
    process::wait_gone(backend);
    let strange = nap_control::Request::Replace { program: home.beside().to_owned(), format: 0 };
    let reply = nap_control::call(&socket, &strange, Duration::from_secs(30)).unwrap();
    assert!(reply.unwrap_err().message.contains("too far apart"));
    idle.ask("SELECT count(*) FROM t").unwrap();
    home.psql("postgres@main", "NOTIFY news, 'as before'").ok();
    assert_eq!(parked.hears(1)[0].1, "as before");
    // Nothing of before holds the server awake.
    drop(idle);
    eventually("it is parked", || park(&home, "main").iter().all(|(state, _)| state == "parked").then_some(()));
    home.sleep("main");
    assert!(process::is_alive(home.daemon_pid()));
    assert_eq!(count_of_successions(&home), 0);
}
