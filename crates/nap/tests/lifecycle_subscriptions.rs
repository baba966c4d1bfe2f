//! A subscriber must not sleep while changes pile up at its publisher, and a copy of it must not take them away.
#![allow(clippy::unwrap_used, reason = "a test")]

use nap_testkit::TestHome;

#[test]
fn an_enabled_subscription_keeps_it_awake_and_is_disabled_in_a_copy() {
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
    let enabled = |branch: &str| home.psql(branch, "select subenabled from pg_subscription").ok().to_owned();
    home.nap(&["branch", "copy"]).ok();
    assert_eq!((enabled("postgres@copy"), enabled("postgres@main")), ("f".into(), "t".into()));

    // Asleep all the same, after the daemon went down.
    home.nap(&["down"]).ok();
    home.up();
    home.nap(&["branch", "again"]).ok();
    assert_eq!((enabled("postgres@again"), enabled("postgres@main")), ("f".into(), "t".into()));

    // By setting it sleeps, and catches up when it wakes.
    home.nap(&["set", "main", "replication_guard=off"]).ok();
    home.sleep("main");
    home.nap(&["set", "main", "replication_guard="]).ok();

    home.psql("postgres@main", "alter subscription s disable").ok();
    home.sleep("main");
    home.nap(&["branch", "third"]).ok();
    assert_eq!(enabled("postgres@third"), "f");
}

#[test]
fn an_unused_replication_slot_keeps_it_awake() {
    let home = TestHome::new(env!("CARGO_BIN_EXE_nap"));
    home.up();
    home.psql("postgres@main", "select pg_create_physical_replication_slot('someone')").ok();
    let refused = home.nap(&["sleep"]);
    assert!(refused.fails_with(1).contains("1 replication slot"), "{refused:?}");
    home.nap(&["set", "main", "replication_guard=off"]).ok();
    home.sleep("main");
    // It is still there, and a copy has none.
    home.nap(&["branch", "copy"]).ok();
    let count = "select count(*) from pg_replication_slots";
    assert_eq!(home.psql("postgres@main", count).ok(), "1");
    assert_eq!(home.psql("postgres@copy", count).ok(), "0");
}
