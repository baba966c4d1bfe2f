//! Whatever a superuser does to his own cluster, logging in and going to sleep still work.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nap_testkit::{Output, TestHome};

fn up() -> TestHome {
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_after", "\"10min\"").build();
    home.up();
    home.psql("main", "create role alice login password 'a'").ok();
    home.psql("main", "create database shop").ok();
    home
}

/// Logging in works awake and asleep, a new password holds, and a sleeping server need not be started to know it.
#[track_caller]
fn still_works(home: &TestHome, after: &str) {
    assert_eq!(home.login("alice", "a", "shop@main").ok(), "alice", "{after}");
    let wakes = home.put_to_sleep("main");
    assert!(!home.login("alice", "wrong", "shop@main").succeeded(), "{after}");
    assert_eq!((home.state("main").as_str(), home.wakes("main")), ("asleep", wakes), "its roles are known: {after}");
    assert_eq!(home.login("alice", "a", "shop@main").ok(), "alice", "{after}");
    assert_eq!(home.wakes("main"), wakes + 1, "{after}");
}

#[test]
fn settings_of_the_superuser_and_of_databases_disturb_nobody() {
    let home = up();
    let settings = [
        "search_path = 'evil'",
        "statement_timeout = 1",
        "lock_timeout = 1",
        "idle_session_timeout = 1",
        "default_transaction_read_only = on",
        "default_transaction_isolation = 'serializable'",
        "default_transaction_deferrable = on",
        "row_security = off",
        "client_encoding = 'LATIN1'",
        "bytea_output = 'escape'",
        "datestyle = 'German'",
        "intervalstyle = 'iso_8601'",
        "extra_float_digits = 0",
        "standard_conforming_strings = off",
        "role = 'alice'",
        "timezone = 'Asia/Kathmandu'",
        "jit = on",
        "log_statement = 'all'",
        "session_preload_libraries = 'no_such_library'",
        "local_preload_libraries = 'no_such_library'",
        "idle_in_transaction_session_timeout = 1",
    ];
    let connection = home.socket_connection("shop@main", &home.role());
    let evil =
        "create schema evil; create function evil.floor(numeric) returns numeric language sql as 'select 0::numeric';
        create table evil.pg_authid (rolname name); create table evil.pg_database (datname name)";
    home.psql_with(&home.socket_connection("postgres@main", &home.role()), evil).ok();
    for setting in settings {
        for whom in ["role postgres", "database postgres", "database template1"] {
            let sql = format!("begin; set transaction read write; alter {whom} set {setting}; commit");
            home.psql_with(&connection, &sql).ok();
        }
    }
    still_works(&home, "hostile settings of role postgres and of its databases");
    let until = "alter role alice valid until '2000-01-01'";
    home.psql_with(&connection, &format!("begin; set transaction read write; {until}; commit")).ok();
    assert!(!home.login("alice", "a", "shop@main").succeeded(), "its VALID UNTIL is read right");
}

#[test]
fn databases_that_the_daemon_would_use_may_go() {
    let home = up();
    home.psql("shop@main", "drop database postgres").ok();
    still_works(&home, "without postgres");
    home.psql("shop@main", "update pg_database set datallowconn = false where datname = 'template1'").ok();
    still_works(&home, "with template1 closed");
    home.psql("shop@main", "update pg_database set datallowconn = true where datname = 'template1'").ok();
    home.psql("shop@main", "create database postgres").ok();
    home.psql("shop@main", "alter database postgres connection limit 0; alter database template1 connection limit 0")
        .ok();
    still_works(&home, "with connection limits of 0");
    home.psql("shop@main", "revoke connect on database postgres, template1 from public").ok();
    still_works(&home, "with CONNECT revoked");
}

#[test]
fn the_bootstrap_superuser_may_be_renamed_or_locked() {
    let home = up();
    home.psql("main", "alter role postgres rename to boss").ok();
    still_works(&home, "renamed");
    home.nap(&["restart", "main"]).ok();
    still_works(&home, "renamed and restarted");
    home.nap(&["down"]).ok();
    home.up();
    still_works(&home, "renamed, and another daemon");
    home.nap(&["branch", "feat"]).ok();
    assert_eq!(home.login("alice", "a", "shop@feat").ok(), "alice", "a clone of it");
    home.psql("main", "alter role boss connection limit 0").ok();
    still_works(&home, "with a connection limit");
    home.psql("main", "alter role boss nologin").ok();
    still_works(&home, "locked");
    home.nap(&["down"]).ok();
    home.up();
    still_works(&home, "locked, and another daemon");
}

#[test]
fn a_login_trigger_keeps_nobody_out_that_it_does_not_mean() {
    let home = up();
    if home.install().major < 17 {
        return;
    }
    let trigger = "create function no() returns event_trigger language plpgsql as
        $$ begin raise exception 'nobody comes in'; end $$;
        create event trigger no on login execute function no(); alter event trigger no enable always";
    home.psql("postgres@main", trigger).ok();
    still_works(&home, "with a login trigger in database postgres");
    let said = home.login("alice", "a", "postgres@main");
    assert!(said.fails_with(2).contains("nobody comes in"), "it means those who log in: {said}");
}

#[test]
fn thousands_of_roles_are_known_to_a_sleeping_server() {
    let home = up();
    // CREATE ROLE is slow by the thousand.
    let roles = "insert into pg_authid (oid, rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin,
        rolreplication, rolbypassrls, rolconnlimit, rolpassword)
        select 900000 + i, 'r' || i, false, true, false, false, true, false, false, -1, 'SCRAM-SHA-256$4096:'
        || encode(sha256(i::text::bytea), 'base64') || '$' || encode(sha256(i::text::bytea), 'base64') || ':'
        || encode(sha256((-i)::text::bytea), 'base64') from generate_series(1, 5000) i";
    home.psql("main", roles).ok();
    home.psql("main", "create role last login password 'z'").ok();
    still_works(&home, "with 5,000 roles");
    home.put_to_sleep("main");
    assert_eq!(home.login("last", "z", "shop@main").ok(), "last");
}

#[test]
fn databases_are_dropped_and_copied_while_logins_go_on() {
    let home = up();
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let psql = home.install().program("psql");
    let connection = format!("host=127.0.0.1 port={} user=alice password=a dbname=shop@main", home.port());
    let logins = std::thread::spawn({
        let (stop, count) = (stop.clone(), count.clone());
        move || {
            while !stop.load(Ordering::Relaxed) {
                Output::of(Command::new(&psql).args(["-XqAtc", "select 1", "-d", &connection])).ok();
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    for _ in 0..3 {
        home.psql("shop@main", "create database copy template postgres").ok();
        home.psql("shop@main", "drop database copy").ok();
        home.psql("shop@main", "drop database postgres").ok();
        home.psql("shop@main", "create database postgres").ok();
    }
    home.psql("shop@main", "create database copy template postgres").ok();
    stop.store(true, Ordering::Relaxed);
    logins.join().unwrap();
    assert!(count.load(Ordering::Relaxed) > 3, "logins went on meanwhile");
}
