//! What autovacuum would have done is done before a server sleeps.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use nap_testkit::{TestHome, eventually, process};

fn home(budget: &str) -> TestHome {
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap"))
        .setting("sleep_after", "\"10min\"")
        .setting("maintenance_budget", &format!("\"{budget}\""))
        .build();
    home.up();
    home
}

/// Each has a thousand dead rows, and changes that nobody has analyzed.
fn fill(home: &TestHome, tables: &[&str]) {
    for table in tables {
        home.psql(
            "postgres@main",
            &format!("INSERT INTO {table} SELECT generate_series(1, 2000); DELETE FROM {table} WHERE i % 2 = 0"),
        )
        .ok();
    }
}

/// Whether a table was ever vacuumed and analyzed, as its statistics say after a sleep and a wake.
fn maintained(home: &TestHome, table: &str) -> String {
    let sql = format!(
        "SELECT (last_vacuum IS NOT NULL) || ' ' || (last_analyze IS NOT NULL) FROM pg_stat_user_tables WHERE relname = '{table}'"
    );
    home.psql("postgres@main", &sql).ok().to_owned()
}

#[test]
fn tables_that_are_due_are_vacuumed_and_analyzed_before_sleep() {
    let home = home("10s");
    home.psql("postgres@main", "CREATE DATABASE shop").ok();
    home.psql(
        "postgres@main",
        "CREATE TABLE due (i int); CREATE TABLE \"Not due\" (i int);
         CREATE TABLE not_wanted (i int) WITH (autovacuum_enabled = off);
         CREATE TABLE patient (i int) WITH (autovacuum_vacuum_threshold = 100000, autovacuum_analyze_threshold = 100000,
             autovacuum_vacuum_insert_threshold = 100000);
         INSERT INTO \"Not due\" VALUES (1)",
    )
    .ok();
    home.psql("shop@main", "CREATE TABLE due (i int)").ok();
    fill(&home, &["due", "not_wanted", "patient"]);
    home.psql("shop@main", "INSERT INTO due SELECT generate_series(1, 2000); DELETE FROM due WHERE i > 1000").ok();
    home.nap(&["sleep"]).ok();
    assert_eq!(maintained(&home, "due"), "true true");
    assert_eq!(
        home.psql("postgres@main", "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'due'").ok(),
        "0"
    );
    for left_alone in ["Not due", "not_wanted", "patient"] {
        assert_eq!(maintained(&home, left_alone), "false false", "{left_alone}");
    }
    let elsewhere = "SELECT last_vacuum IS NOT NULL FROM pg_stat_user_tables WHERE relname = 'due'";
    assert_eq!(home.psql("shop@main", elsewhere).ok(), "t");
    // What is done is not done again.
    let at = home.psql("postgres@main", "SELECT last_vacuum FROM pg_stat_user_tables WHERE relname = 'due'");
    home.nap(&["sleep"]).ok();
    let again = home.psql("postgres@main", "SELECT last_vacuum FROM pg_stat_user_tables WHERE relname = 'due'");
    assert_eq!(again.ok(), at.ok());
}

#[test]
fn who_wants_none_gets_none() {
    let home = home("0s");
    home.psql("postgres@main", "CREATE TABLE due (i int)").ok();
    fill(&home, &["due"]);
    home.nap(&["sleep"]).ok();
    assert_eq!(maintained(&home, "due"), "false false", "maintenance_budget = 0s");
    home.nap(&["set", "main", "maintenance_budget=10s"]).ok();
    home.psql("postgres@main", "ALTER SYSTEM SET autovacuum = off").ok();
    home.nap(&["restart"]).ok();
    fill(&home, &["due"]);
    home.nap(&["sleep"]).ok();
    assert_eq!(maintained(&home, "due"), "false false", "autovacuum = off");
    home.psql("postgres@main", "ALTER SYSTEM RESET autovacuum").ok();
    home.nap(&["restart"]).ok();
    fill(&home, &["due"]);
    home.nap(&["sleep"]).ok();
    assert_eq!(maintained(&home, "due"), "true true");
}

#[test]
fn old_tables_are_frozen() {
    let home = home("10s");
    home.psql(
        "postgres@main",
        "CREATE TABLE old (i int) WITH (autovacuum_freeze_table_age = 10); INSERT INTO old VALUES (1)",
    )
    .ok();
    let age = || -> u32 {
        home.psql("postgres@main", "SELECT age(relfrozenxid) FROM pg_class WHERE relname = 'old'").ok().parse().unwrap()
    };
    home.psql("postgres@main", "CREATE PROCEDURE burn() LANGUAGE plpgsql AS $$ BEGIN FOR i IN 1..50 LOOP PERFORM txid_current(); COMMIT; END LOOP; END $$").ok();
    home.psql("postgres@main", "CALL burn()").ok();
    assert!(age() > 50);
    home.nap(&["sleep"]).ok();
    assert!(age() < 50, "{}", age());
}

/// So slow that it would take minutes.
fn slow(home: &TestHome) {
    home.psql("postgres@main", "CREATE TABLE large (i int, t text)").ok();
    let rows = "INSERT INTO large SELECT i, repeat('x', 500) FROM generate_series(1, 50000) AS i; DELETE FROM large WHERE i % 2 = 0";
    home.psql("postgres@main", rows).ok();
    home.psql("postgres@main", "ALTER SYSTEM SET vacuum_cost_delay = 100").ok();
    home.psql("postgres@main", "ALTER SYSTEM SET vacuum_cost_limit = 1").ok();
    home.psql("postgres@main", "SELECT pg_reload_conf()").ok();
}

#[test]
fn a_client_that_comes_ends_it() {
    let home = home("10min");
    slow(&home);
    std::thread::scope(|scope| {
        let sleep = scope.spawn(|| home.nap(&["sleep"]));
        let server = home.server_pid("main").unwrap();
        eventually("it is vacuumed", || {
            let titles = process::children(server).into_iter().flat_map(process::command_line);
            titles.into_iter().any(|title| title.contains("VACUUM")).then_some(())
        });
        eventually("a client is served", || {
            let running = home.psql("postgres@main", "SELECT count(*) FROM pg_stat_progress_vacuum");
            (running.ok() == "0").then_some(())
        });
        assert!(!sleep.join().unwrap().succeeded(), "a client has come");
    });
    home.nap(&["set", "main", "maintenance_budget=0s"]).ok();
    home.nap(&["sleep"]).ok();
}

#[test]
fn the_budget_ends_it() {
    let home = home("300ms");
    slow(&home);
    home.nap(&["sleep"]).ok();
    assert_eq!(home.state("main"), "asleep");
    assert!(maintained(&home, "large").starts_with("false"));
}
