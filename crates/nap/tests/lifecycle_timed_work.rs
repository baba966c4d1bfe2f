//! `wake_at`: work is done at its time in branches that sleep, and they sleep again.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::fs;
use std::time::Duration;

use nap_testkit::{TestHome, eventually_within};

/// A minute must pass.
const WITHIN: Duration = Duration::from_secs(120);

/// One test for all, because a minute must pass for each.
#[test]
fn at_its_time_work_is_done_in_branches_that_sleep() {
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap"))
        .setting("sleep_after", "\"2s\"")
        .setting("maintenance_budget", "\"0s\"")
        .build();
    home.up();
    home.psql("postgres@main", "CREATE TABLE done (branch text, at timestamptz DEFAULT now())").ok();
    home.psql("postgres@main", "CREATE TABLE due (i int)").ok();
    let rows = "INSERT INTO due SELECT generate_series(1, 2000); DELETE FROM due WHERE i % 2 = 0";
    home.psql("postgres@main", rows).ok();
    home.sleep("main");
    for branch in ["failing", "maintained", "told", "missing"] {
        home.nap(&["branch", branch]).ok();
    }
    let sql = "\\set ON_ERROR_ROLLBACK off\nINSERT INTO done VALUES (current_setting('nap.branch'));\nSELECT 'all is well';\n";
    fs::write(home.path().join("nightly.sql"), sql).unwrap();
    let failing = "INSERT INTO done VALUES ('before');\nSELECT 1/0;\nINSERT INTO done VALUES ('after');\n";
    fs::write(home.path().join("failing.sql"), failing).unwrap();
    let told = "told flash=manual wake_sql=nightly.sql";
    for settings in
        ["main wake_sql=nightly.sql", "failing wake_sql=failing.sql", "maintained", told, "missing wake_sql=none.sql"]
    {
        let arguments: Vec<&str> =
            ["set"].into_iter().chain(settings.split(' ')).chain(["wake_at=* * * * *"]).collect();
        home.nap(&arguments).ok();
    }

    let says = |branch: &str, words: &str| {
        let log = home.daemon_log();
        log.lines().any(|line| {
            line.contains("wake_at: ") && line.contains(&format!("branch={branch}")) && line.contains(words)
        })
    };
    for (branch, words) in [
        ("main", "nightly.sql took"),
        ("failing", "division by zero"),
        ("maintained", "vacuumed or analyzed"),
        ("told", "nightly.sql took"),
        ("missing", "cannot read wake_sql"),
    ] {
        eventually_within(WITHIN, &format!("the work of {branch}"), || says(branch, words).then_some(()));
        home.nap(&["set", branch, "wake_at=never"]).ok();
    }
    for branch in ["main", "failing", "maintained", "told", "missing"] {
        home.wait_state(branch, "asleep");
    }
    let done = |branch: &str| home.psql(&format!("postgres@{branch}"), "SELECT min(branch) FROM done").ok().to_owned();
    assert_eq!(done("main"), "main");
    assert_eq!(done("told"), "told");
    assert_eq!(done("failing"), "before");
    assert_eq!(home.psql("postgres@failing", "SELECT count(*) FROM done WHERE branch = 'after'").ok(), "0");
    let vacuumed = "SELECT last_vacuum IS NOT NULL FROM pg_stat_user_tables WHERE relname = 'due'";
    assert_eq!(home.psql("postgres@maintained", vacuumed).ok(), "t");
    let said = fs::read_to_string(home.path().join("branches/main/log/wake_sql.log")).unwrap();
    assert!(said.contains("all is well"), "{said}");
}
