//! Moments of the past that a client opens by naming them.

use std::time::Duration;

use nap_testkit::{TestHome, connect, eventually, eventually_within};

use super::{OnDisk, nothing_is_staged, on_btrfs, on_xfs, tell};

/// psql with this in `options`.
pub(super) fn at(home: &TestHome, when: &str, sql: &str) -> nap_testkit::Output {
    let when = when.replace('/', "%2F").replace('+', "%2B");
    let url = home.url("postgres@main");
    let mark = if url.contains('?') { '&' } else { '?' };
    home.psql_with(&format!("{url}{mark}options=-c%20nap.at%3D{when}"), sql)
}

fn branches(home: &TestHome) -> Vec<String> {
    let listed = home.nap(&["ls", "--json"]).json();
    let names = listed.as_array().unwrap().iter().map(|branch| branch["name"].as_str().unwrap().to_owned());
    names.collect()
}

#[test]
fn a_moment_is_read_and_goes_after_its_last_session() {
    tell(on_xfs(), moment_is_read);
}

#[test]
fn a_moment_is_read_and_goes_after_its_last_session_on_btrfs() {
    tell(on_btrfs(), moment_is_read);
}

fn moment_is_read(disk: &OnDisk) {
    let home = &disk.home;
    home.psql("postgres@main", "create table t (n int); insert into t values (1)").ok();
    let moment = home.psql("postgres@main", "select pg_current_wal_lsn()").ok().to_owned();
    home.psql("postgres@main", "insert into t values (2)").ok();
    assert_eq!(at(home, &moment, "select sum(n), pg_is_in_recovery() from t").ok(), "1|t");
    assert_eq!(at(home, &moment, "show nap.at").ok(), moment);
    eventually("it is gone", || (branches(home) == ["main"]).then_some(()));
    // Whatever a session says, it stays as it was.
    for sql in ["insert into t values (3)", "set default_transaction_read_only = off; begin read write"] {
        let refused = at(home, &moment, sql);
        assert!(
            refused.fails_with(1).contains("read-only") || refused.fails_with(1).contains("recovery"),
            "{refused:?}"
        );
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut config = home.config("postgres@main");
        config.options(format!("-c nap.at={moment}"));
        let first = connect(&config).await.unwrap();
        let second = connect(&config).await.unwrap();
        let name = |row: tokio_postgres::Row| row.get::<_, String>(0);
        let shown = name(first.query_one("show nap.branch", &[]).await.unwrap());
        assert_eq!(name(second.query_one("show nap.branch", &[]).await.unwrap()), shown, "it is shared");
        assert_eq!(branches(home), ["main", &*shown]);
        // It sleeps and wakes as any other, with its sessions.

        home.sleep(&shown);
        assert_eq!(first.query_one("select sum(n) from t", &[]).await.unwrap().get::<_, i64>(0), 1);
        // What is branched from it can be written to, and is whole without it.
        home.nap(&["branch", "fork", "--from", &shown]).ok();
        drop(first);
        assert_eq!(second.query_one("select sum(n) from t", &[]).await.unwrap().get::<_, i64>(0), 1);
        drop(second);
    });
    eventually("it is gone", || (branches(home) == ["fork", "main"]).then_some(()));
    assert_eq!(home.psql("postgres@fork", "insert into t values (9) returning 1; select sum(n) from t").ok(), "1\n10");
    assert_eq!(home.psql("postgres@main", "select sum(n) from t").ok(), "3");
    nothing_is_staged(home);
}

#[test]
fn who_names_no_moment_or_may_not_come_in_makes_none() {
    let Some(disk) = on_xfs() else { return };
    let home = &disk.home;
    home.psql("postgres@main", "select 1").ok();
    for (when, words) in [
        ("+1h", "is no moment"),
        ("7F/0", "the history of branch"),
        ("nameless", "no snapshot"),
        ("2999-01-01", "is still to come"),
        ("", "is no moment"),
    ] {
        let refused = at(home, when, "select 1");
        assert!(refused.fails_with(2).contains(words), "{when}: {refused:?}");
    }
    let mut stranger = home.config("postgres@main");
    stranger.password("wrong").options("-c nap.at=-0s");
    let refused = tokio::runtime::Runtime::new().unwrap().block_on(connect(&stranger));
    assert_eq!(refused.err().and_then(|error| error.code().cloned()).unwrap().code(), "28P01");
    assert_eq!(branches(home), ["main"]);
    // Nobody gets rights back that were taken away.
    home.psql("postgres@main", "create role eve superuser login password 'eve'").ok();
    home.nap(&["snapshot", "mighty"]).ok();
    home.psql("postgres@main", "alter role eve nosuperuser").ok();
    let mut eve = home.config("postgres@main");
    eve.user("eve").password("eve").options("-c nap.at=mighty");
    let refused = tokio::runtime::Runtime::new().unwrap().block_on(connect(&eve)).err().unwrap();
    assert!(refused.as_db_error().unwrap().message().contains("had rights then"), "{refused:?}");
    eventually("it is gone", || (branches(home) == ["main"]).then_some(()));
    nothing_is_staged(home);
}

/// It goes on under another daemon with its session; what a daemon that died has left goes when nobody comes back to it.
#[test]
fn a_moment_outlives_its_daemon_only_with_a_session() {
    let Some(disk) = on_xfs() else { return };
    let home = &disk.home;
    home.psql("postgres@main", "create table t as select 1 as n; select pg_switch_wal()").ok();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut config = home.config("postgres@main");
        config.options("-c nap.at=-0s");
        let session = connect(&config).await.unwrap();
        let shown: String = session.query_one("show nap.branch", &[]).await.unwrap().get(0);
        home.nap(&["up", "--replace"]).ok();
        assert_eq!(session.query_one("select n from t", &[]).await.unwrap().get::<_, i32>(0), 1);
        home.sleep(&shown);
        home.nap(&["up", "--replace"]).ok();
        assert_eq!(session.query_one("select n from t", &[]).await.unwrap().get::<_, i32>(0), 1, "parked, too");
        // Nobody gets there by its name.
        let url = home.url("postgres@main").replace("@main", &format!("@{shown}"));
        assert!(home.psql_with(&url, "select 1").fails_with(2).contains("does not exist"));
        home.kill_daemon();
        drop(session);
        home.up();
        assert_eq!(branches(home).len(), 2);
    });
    eventually_within(Duration::from_secs(60), "it is gone", || (branches(home) == ["main"]).then_some(()));
}
