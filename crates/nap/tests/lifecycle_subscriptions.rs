//! A subscriber must not sleep while changes pile up at its publisher, and a copy of it must not take them away.
#![allow(clippy::unwrap_used, reason = "a test")]

use nap_testkit::TestHome;

#[test]
fn an_enabled_subscription_keeps_it_awake_and_is_not_copied() {
    let home = TestHome::new(env!("CARGO_BIN_EXE_nap"));
    home.up();
    // Its publisher is out of reach, so that no worker of it runs for long: it counts all the same.
    home.psql(
        "postgres@main",
        "create subscription s connection 'host=/nowhere dbname=x' publication p with (connect = false, slot_name = 's')",
    )
    .ok();
    home.psql("postgres@main", "alter subscription s enable").ok();
    let refused = home.nap(&["sleep"]);
    assert!(refused.fails_with(1).contains("1 enabled subscription"), "{refused:?}");
    assert!(home.nap(&["branch", "copy"]).fails_with(1).contains("subscription"));

    // Asleep all the same, after the daemon went down: still no copy of it.
    home.nap(&["down"]).ok();
    home.up();
    assert!(home.nap(&["branch", "copy"]).fails_with(1).contains("subscription"));

    home.psql("postgres@main", "alter subscription s disable").ok();
    home.sleep("main");
    home.nap(&["branch", "copy"]).ok();
    assert_eq!(home.psql("postgres@copy", "select subenabled from pg_subscription").ok().trim(), "f");
}
