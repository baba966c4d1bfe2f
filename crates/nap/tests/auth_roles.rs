//! What PostgreSQL checks of roles and databases at a login holds through the gateway, awake and asleep.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use nap_testkit::{Output, TestHome};

fn up() -> TestHome {
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_after", "\"10min\"").build();
    home.up();
    home.psql("main", "create role alice login password 'a'; create role bob login password 'b'").ok();
    home.psql("main", "create database shop").ok();
    home
}

fn alice(home: &TestHome, database: &str) -> Output {
    home.login("alice", "a", &format!("{database}@main"))
}

/// Refused with these words while it is awake and while it sleeps; whether a sleeping server had to be asked.
#[track_caller]
fn refused(home: &TestHome, login: impl Fn(&TestHome) -> Output, words: &str, wakes_it: bool) {
    let said = login(home);
    assert!(said.fails_with(2).contains(words), "awake: {said}");
    let wakes = home.put_to_sleep("main");
    let said = login(home);
    assert!(said.fails_with(2).contains(words), "asleep: {said}");
    assert_eq!(home.wakes("main"), wakes + u64::from(wakes_it), "asleep: {words}");
}

#[test]
fn nologin_and_dropped_and_renamed_roles() {
    let home = up();
    assert_eq!(alice(&home, "shop").ok(), "alice");
    home.psql("main", "alter role alice nologin").ok();
    refused(&home, |home| alice(home, "shop"), "role \"alice\" is not permitted to log in", false);
    home.psql("main", "alter role alice login").ok();
    assert_eq!(alice(&home, "shop").ok(), "alice");
    home.psql("main", "alter role alice rename to anna").ok();
    refused(&home, |home| alice(home, "shop"), "password authentication failed for user \"alice\"", false);
    assert_eq!(home.login("anna", "a", "shop@main").ok(), "anna");
    home.psql("main", "drop role anna").ok();
    refused(
        &home,
        |home| home.login("anna", "a", "shop@main"),
        "password authentication failed for user \"anna\"",
        false,
    );
    let peer = |home: &TestHome| home.psql_with(&home.socket_connection("shop@main", "anna"), "select 1");
    refused(&home, peer, "role \"anna\" does not exist", false);
    assert_eq!(home.login("bob", "b", "shop@main").ok(), "bob");
}

#[test]
fn databases_that_are_gone_or_closed_or_not_for_everybody() {
    let home = up();
    home.psql("main", "alter database shop allow_connections false").ok();
    refused(&home, |home| alice(home, "shop"), "database \"shop\" is not currently accepting connections", false);
    home.psql("main", "alter database shop allow_connections true").ok();
    assert_eq!(alice(&home, "shop").ok(), "alice");
    home.psql("main", "revoke connect on database shop from public").ok();
    refused(&home, |home| alice(home, "shop"), "permission denied for database \"shop\"", true);
    home.psql("main", "grant connect on database shop to alice").ok();
    assert_eq!(alice(&home, "shop").ok(), "alice");
    home.psql("main", "drop database shop").ok();
    refused(&home, |home| alice(home, "shop"), "database \"shop\" does not exist", false);
    home.psql("main", "create database shop").ok();
    home.put_to_sleep("main");
    assert_eq!(alice(&home, "shop").ok(), "alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_limits_of_roles_and_databases() {
    let home = up();
    let config = |role: &str, password: &str| {
        let mut config = home.config("shop@main");
        config.user(role).password(password);
        config
    };
    home.psql("main", "alter role alice connection limit 1").ok();
    for asleep in [false, true] {
        if asleep {
            home.put_to_sleep("main");
        }
        let first = nap_testkit::connect(&config("alice", "a")).await.unwrap();
        let second = alice(&home, "shop");
        assert!(second.fails_with(2).contains("too many connections for role \"alice\""), "{second}");
        assert_eq!(home.login("bob", "b", "shop@main").ok(), "bob");
        drop(first);
        nap_testkit::eventually("her first session has gone", || alice(&home, "shop").succeeded().then_some(()));
    }
    home.psql("main", "alter role alice connection limit -1; alter database shop connection limit 1").ok();
    for asleep in [false, true] {
        if asleep {
            home.put_to_sleep("main");
        }
        let first = nap_testkit::connect(&config("bob", "b")).await.unwrap();
        let second = alice(&home, "shop");
        assert!(second.fails_with(2).contains("too many connections for database \"shop\""), "{second}");
        drop(first);
        nap_testkit::eventually("his session has gone", || alice(&home, "shop").succeeded().then_some(()));
    }
    home.psql("main", "alter database shop connection limit 0").ok();
    refused(&home, |home| alice(home, "shop"), "too many connections for database \"shop\"", true);
    home.psql("main", "alter database shop connection limit -1; alter role alice connection limit 0").ok();
    refused(&home, |home| alice(home, "shop"), "too many connections for role \"alice\"", true);
    home.put_to_sleep("main");
    assert_eq!(home.login("bob", "b", "shop@main").ok(), "bob");
}
