//! What would be lost is a pin: the session keeps its backend, and the server stays awake.

use super::*;

/// After these commands the session is pinned by `pin`; after `then` it is not.
fn pinned(home: &TestHome, commands: &[&str], pin: &str, then: Option<&str>) {
    let mut session = session(home);
    for command in commands {
        session.ask(command).unwrap_or_else(|error| panic!("{command}: {error:?}"));
    }
    let pid = session.ask("SELECT pg_backend_pid()").unwrap();
    assert_eq!(park(home, "main"), [("idle".to_owned(), Some(pin.to_owned()))], "{commands:?}");
    assert_eq!(park(home, "main"), [("idle".to_owned(), Some(pin.to_owned()))], "asked again: {commands:?}");
    assert_eq!(session.ask("SELECT pg_backend_pid()").unwrap(), pid);
    if let Some(then) = then {
        session.ask(then).unwrap();
        all_parked(home, "main");
    }
    session.send(b"X\0\0\0\x04");
    eventually("it has left", || sessions(home, "main").is_empty().then_some(()));
}

#[test]
fn temporary_objects() {
    let home = home();
    pinned(&home, &["CREATE TEMP TABLE t (i int)"], "temporary-objects", Some("DROP TABLE t"));
    pinned(&home, &["CREATE TEMP VIEW v AS SELECT 1"], "temporary-objects", Some("DISCARD TEMP"));
    pinned(&home, &["CREATE TEMP SEQUENCE s"], "temporary-objects", Some("DISCARD ALL"));
    pinned(
        &home,
        &["CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'"],
        "temporary-objects",
        Some("DROP FUNCTION pg_temp.f()"),
    );
    pinned(&home, &["CREATE TYPE pg_temp.e AS ENUM ('a')"], "temporary-objects", Some("DROP TYPE pg_temp.e"));
    pinned(&home, &["CREATE DOMAIN pg_temp.d AS int"], "temporary-objects", Some("DROP DOMAIN pg_temp.d"));
}

#[test]
fn cursors_locks_and_channels() {
    let home = home();
    pinned(&home, &["DECLARE c CURSOR WITH HOLD FOR SELECT 1"], "held-cursor", Some("CLOSE c"));
    pinned(&home, &["SELECT pg_advisory_lock(1)"], "locks", Some("SELECT pg_advisory_unlock(1)"));
    pinned(&home, &["SELECT pg_advisory_lock_shared(1, 2)"], "locks", Some("SELECT pg_advisory_unlock_all()"));
    // What the hub hears would have to be converted.
    pinned(&home, &["SET client_encoding = 'LATIN1'", "LISTEN a"], "listens", Some("UNLISTEN *"));
    pinned(&home, &["SET nap.keep_awake = on"], "keep-awake", Some("SET nap.keep_awake = off"));
}

#[test]
fn a_prepare_among_others_and_what_is_too_long() {
    let home = home();
    pinned(&home, &["SELECT 1; PREPARE a AS SELECT 2"], "prepare-among-others", Some("DEALLOCATE a"));
    let long = format!("SELECT length('{}')", "x".repeat(1_100_000));
    pinned(&home, &[&long], "too-much", None);
}

#[test]
fn backups_and_replication() {
    let home = home();
    home.psql("main", "ALTER SYSTEM SET wal_level = 'replica'").ok();
    let version: u32 = home.psql("main", "SHOW server_version_num").ok().parse().unwrap();
    let (start, stop) = match version {
        150_000.. => ("SELECT pg_backup_start('x', true)", "SELECT pg_backup_stop()"),
        _ => ("SELECT pg_start_backup('x', true, false)", "SELECT pg_stop_backup(false)"),
    };
    let mut session = session(&home);
    session.ask(start).unwrap();
    assert_eq!(park(&home, "main"), [("idle".to_owned(), Some("backup".to_owned()))]);
    session.ask(stop).unwrap();
    drop(session);
    eventually("it has left", || sessions(&home, "main").is_empty().then_some(()));
    home.psql("main", "SELECT pg_replication_origin_create('o')").ok();
    let reset = Some("SELECT pg_replication_origin_session_reset()");
    pinned(&home, &["SELECT pg_replication_origin_session_setup('o')"], "replication-origin", reset);
    let mut walsender = session_of(&home, "main", &[("replication", "database")]);
    walsender.ask("IDENTIFY_SYSTEM").unwrap();
    assert_eq!(park(&home, "main")[0].1.as_deref(), Some("replication"));
}

#[test]
fn what_is_under_way() {
    let home = home();
    let mut session = session(&home);
    session.ask("BEGIN").unwrap();
    assert_eq!(park(&home, "main"), [("idle in transaction".to_owned(), Some("in-transaction".to_owned()))]);
    session.ask("SELECT 1/0").unwrap_err();
    assert_eq!(park(&home, "main")[0].1.as_deref(), Some("in-transaction"));
    session.ask("ROLLBACK").unwrap();
    // A pipeline that waits for its Sync.
    session.send(b"P\0\0\0\x10\0SELECT 2\0\0\0H\0\0\0\x04");
    assert_eq!(session.message().unwrap().0, b'1');
    assert_eq!(park(&home, "main")[0].0, "active");
    session.send(b"S\0\0\0\x04");
    session.ready().unwrap();
    session.ask("CREATE TABLE copied (i int)").unwrap();
    session.send(b"Q\0\0\0\x1bCOPY copied FROM STDIN\0");
    assert_eq!(session.message().unwrap().0, b'G');
    assert_eq!(park(&home, "main")[0].0, "active");
    session.send(b"d\0\0\0\x061\nc\0\0\0\x04");
    session.ready().unwrap();
    all_parked(&home, "main");
    assert_eq!(session.ask("SELECT count(*) FROM copied").unwrap(), "1");
}
