//! README's table of differences: each line of it, shown. It is exhaustive, so a line that is not true any more is to go.

use super::*;

/// The first cells of the table in README.
fn lines() -> Vec<String> {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let (_, table) = readme.split_once("| what | after a park |\n|---|---|\n").unwrap();
    let rows = table.lines().take_while(|line| line.starts_with("| "));
    rows.map(|line| line.trim_start_matches("| ").split(" | ").next().unwrap().to_owned()).collect()
}

type Show = fn(&TestHome);

/// What each line is shown by, in the order of the table.
const SHOWN: &[(&str, Show)] = &[
    ("`pg_backend_pid()`", another_backend),
    ("`currval()`", sequences),
    ("`setseed()`", seeds),
    ("plans of prepared statements", plans),
    ("`ALTER ROLE … SET`", settings_of_new_sessions),
    ("settings of type real", reals),
    ("custom settings whose names are built at run time", hidden_names),
    ("`pg_settings.source`", sources),
    ("a prepared statement whose tables have gone", tables_gone),
    ("a prepared statement whose table somebody has locked", tables_locked),
    ("a role that became NOLOGIN", no_login),
    ("a role or setting that the session may not have any more", not_allowed_any_more),
    ("event triggers on login", logins),
    ("`log_statement`", questions_in_logs),
    ("statistics of the session", statistics),
    ("notifications of a background worker", workers),
];

#[test]
fn slow_every_difference_is_shown() {
    let lines = lines();
    assert_eq!(lines.len(), SHOWN.len(), "{lines:#?}");
    for (line, (begins, show)) in lines.iter().zip(SHOWN) {
        assert!(line.starts_with(begins), "{line} is not {begins}");
        let home = home();
        show(&home);
    }
}

fn back(home: &TestHome, session: &mut Raw<UnixStream>, sql: &str) -> Result<String, nap_testkit::RawError> {
    all_parked(home, "main");
    session.ask(sql)
}

fn another_backend(home: &TestHome) {
    let mut session = session(home);
    let row = "SELECT pid || ' ' || backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()";
    let before = session.ask(row).unwrap();
    all_parked(home, "main");
    let count = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND application_name <> 'nap'";
    assert_eq!(home.psql("main", count).ok(), "0", "a parked session has no row");
    assert_ne!(session.ask(row).unwrap(), before);
}

fn sequences(home: &TestHome) {
    let mut session = session(home);
    session.ask("CREATE SEQUENCE s").unwrap();
    session.ask("SELECT nextval('s')").unwrap();
    assert_eq!(session.ask("SELECT currval('s')").unwrap(), "1");
    assert_eq!(back(home, &mut session, "SELECT currval('s')").unwrap_err().code, "55000");
    assert_eq!(session.ask("SELECT lastval()").unwrap_err().code, "55000");
}

fn seeds(home: &TestHome) {
    let mut session = session(home);
    let seeded = |session: &mut Raw<UnixStream>| {
        session.ask("SELECT setseed(0.5)").unwrap();
        session.ask("SELECT random()").unwrap()
    };
    seeded(&mut session);
    let second = session.ask("SELECT random()").unwrap();
    seeded(&mut session);
    assert_ne!(back(home, &mut session, "SELECT random()").unwrap(), second);
}

fn plans(home: &TestHome) {
    let mut session = session(home);
    session.ask("PREPARE p(int) AS SELECT $1").unwrap();
    for _ in 0..8 {
        session.ask("EXECUTE p(1)").unwrap();
    }
    let counts = "SELECT generic_plans + custom_plans FROM pg_prepared_statements";
    assert_eq!(session.ask(counts).unwrap(), "8");
    assert_eq!(back(home, &mut session, counts).unwrap(), "0");
}

fn settings_of_new_sessions(home: &TestHome) {
    let mut session = session(home);
    assert_eq!(session.ask("SHOW work_mem").unwrap(), "4MB");
    home.psql("main", "ALTER DATABASE postgres SET work_mem = '5MB'").ok();
    assert_eq!(session.ask("SHOW work_mem").unwrap(), "4MB");
    assert_eq!(back(home, &mut session, "SHOW work_mem").unwrap(), "5MB");
}

fn reals(home: &TestHome) {
    let mut session = session(home);
    session.ask("SET cursor_tuple_fraction = 0.123456789").unwrap();
    session.ask("SET random_page_cost = 1.23456789").unwrap();
    assert_eq!(back(home, &mut session, "SELECT current_setting('random_page_cost')").unwrap(), "1.23457");
}

fn hidden_names(home: &TestHome) {
    let mut session = session(home);
    session.ask("SELECT set_config('built' || chr(46) || 'name', 'x', false)").unwrap();
    session.ask("SELECT set_config('my.plain', 'y', false)").unwrap();
    let built = "SELECT current_setting('built' || chr(46) || 'name', true) IS NULL";
    assert_eq!(session.ask(built).unwrap(), "f");
    assert_eq!(back(home, &mut session, built).unwrap(), "t");
    assert_eq!(session.ask("SHOW my.plain").unwrap(), "y");
}

fn sources(home: &TestHome) {
    let mut session = session(home);
    let source = "SELECT source FROM pg_settings WHERE name = 'statement_timeout'";
    assert_eq!(session.ask(source).unwrap(), "default");
    assert_eq!(back(home, &mut session, source).unwrap(), "session");
}

fn tables_gone(home: &TestHome) {
    let mut session = session(home);
    session.ask("CREATE TABLE goes (i int)").unwrap();
    session.ask("PREPARE a AS SELECT * FROM goes").unwrap();
    all_parked(home, "main");
    home.psql("postgres@main", "DROP TABLE goes").ok();
    assert_eq!(session.ask("EXECUTE a").unwrap_err().code, "26000");
}

fn tables_locked(home: &TestHome) {
    home.psql("postgres@main", "ALTER ROLE ALL SET lock_timeout = '10ms'").ok();
    let (mut waits, mut canceled) = (session(home), session(home));
    for session in [&mut waits, &mut canceled] {
        session.ask("CREATE TABLE IF NOT EXISTS locked (i int)").unwrap();
        session.ask("PREPARE a AS SELECT count(*) FROM locked").unwrap();
    }
    assert_eq!(waits.ask("SHOW lock_timeout").unwrap(), "10ms");
    all_parked(home, "main");
    let mut locks = session(home);
    locks.ask("BEGIN; LOCK TABLE locked").unwrap();
    for session in [&mut waits, &mut canceled] {
        session.send(b"Q\0\0\0\x0dSELECT 2\0");
    }
    let waiting =
        "SELECT string_agg(pid::text, ',' ORDER BY backend_start) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    let pids = eventually("both wait", || {
        // In a transaction the view would not change.
        let pids = home.psql("postgres@main", waiting).ok().to_owned();
        pids.contains(',').then_some(pids)
    });
    let pid = pids.split(',').next().unwrap();
    home.psql("postgres@main", &format!("SELECT pg_cancel_backend({pid})")).ok();
    eventually("one is canceled", || (sessions(home, "main").len() == 2).then_some(()));
    locks.ask("COMMIT").unwrap();
    let answers = [waits.ready(), canceled.ready()];
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
    let codes: Vec<String> = answers.into_iter().filter_map(Result::err).map(|error| error.code).collect();
    assert_eq!(codes, ["57P01"]);
}

fn session_as(home: &TestHome, role: &str) -> Raw<UnixStream> {
    let parameters = [("user", role), ("database", "postgres")];
    let mut session = Raw::unix(&home.socket_directory(), home.port()).start(&parameters);
    session.ready().unwrap();
    session
}

fn no_login(home: &TestHome) {
    home.psql("main", "CREATE ROLE visitor LOGIN").ok();
    let mut session = session_as(home, "visitor");
    all_parked(home, "main");
    home.psql("main", "ALTER ROLE visitor NOLOGIN").ok();
    session.send(b"Q\0\0\0\x0dSELECT 2\0");
    assert_eq!(session.ready().unwrap_err().code, "28000");
}

fn not_allowed_any_more(home: &TestHome) {
    home.psql("main", "CREATE ROLE visitor LOGIN; CREATE ROLE other; GRANT other TO visitor").ok();
    let mut session = session_as(home, "visitor");
    session.ask("SET ROLE other").unwrap();
    all_parked(home, "main");
    home.psql("main", "REVOKE other FROM visitor").ok();
    session.send(b"Q\0\0\0\x0dSELECT 2\0");
    assert_eq!(session.ready().unwrap_err().code, "57P01");
}

fn logins(home: &TestHome) {
    home.psql("main", "ALTER SYSTEM SET log_connections = 'on'").ok();
    home.nap(&["restart"]).ok();
    let mut session = session(home);
    let log = || home.nap(&["logs", "-n", "1000"]).ok().matches("connection authorized: user=").count();
    back(home, &mut session, "SELECT 2").unwrap();
    let (before, _) = (log(), all_parked(home, "main"));
    let parked = log();
    session.ask("SELECT 2").unwrap();
    assert!(log() > parked && parked >= before);
}

fn questions_in_logs(home: &TestHome) {
    home.psql("main", "ALTER SYSTEM SET log_statement = 'all'").ok();
    home.nap(&["restart"]).ok();
    let mut session = session(home);
    back(home, &mut session, "SELECT 2").unwrap();
    assert!(home.nap(&["logs", "-n", "1000"]).ok().contains("_nap_"));
}

fn statistics(home: &TestHome) {
    let mut session = session(home);
    let age = "SELECT clock_timestamp() - backend_start < '1s' FROM pg_stat_activity WHERE pid = pg_backend_pid()";
    session.ask("SELECT pg_sleep(1.1)").unwrap();
    assert_eq!(session.ask(age).unwrap(), "f");
    assert_eq!(back(home, &mut session, age).unwrap(), "t");
}

/// The server has been woken, but nobody has been let in: the hub listens from the first one on.
fn workers(home: &TestHome) {
    let mut listener = session(home);
    listener.ask("LISTEN a").unwrap();
    home.nap(&["sleep"]).ok();
    home.nap(&["wake"]).ok();
    // Past the gateway, as a worker.
    let socket = std::fs::read_to_string(home.data("main").join("postmaster.pid")).unwrap();
    let directory = socket.lines().nth(4).unwrap().to_owned();
    let connection = format!("host={directory} port=5432 dbname=postgres user=postgres");
    home.psql_with(&connection, "NOTIFY a, 'not heard'").ok();
    home.psql("postgres@main", "NOTIFY a, 'heard'").ok();
    loop {
        if let (b'A', body) = listener.message().unwrap() {
            assert!(body.ends_with(b"a\0heard\0"), "{:?}", String::from_utf8_lossy(&body));
            return;
        }
    }
}
