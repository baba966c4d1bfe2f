//! `max_awake`: the longest idle sleeps first, wakes queue in the order of asking, and no client waits for ever.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use nap_testkit::{TestHome, connect, eventually};

const BRANCHES: [&str; 4] = ["a", "b", "c", "d"];

fn home(wake_timeout: &str) -> TestHome {
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap"))
        .setting("sleep_after", "\"10min\"")
        .setting("max_awake", "2")
        .setting("wake_timeout", &format!("\"{wake_timeout}\""))
        .build();
    home.up();
    for branch in BRANCHES {
        home.nap(&["branch", branch]).ok();
    }
    home.put_to_sleep("main");
    home
}

fn awake(home: &TestHome) -> Vec<&'static str> {
    BRANCHES.into_iter().filter(|branch| home.state(branch) == "awake").collect()
}

#[test]
fn the_longest_idle_makes_room() {
    let home = home("30s");
    for (branch, expected) in [
        ("a", &["a"][..]),
        ("b", &["a", "b"]),
        ("a", &["a", "b"]),
        ("c", &["a", "c"]),
        ("d", &["c", "d"]),
        ("c", &["c", "d"]),
        ("b", &["b", "c"]),
    ] {
        home.psql(branch, "select 1").ok();
        eventually(&format!("after {branch}, {expected:?} are awake"), || (awake(&home) == expected).then_some(()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_finds_no_place_is_told_why() {
    let home = home("2s");
    let (on_a, on_b) = (home.connect("postgres@a").await, home.connect("postgres@b").await);
    for client in [&on_a, &on_b] {
        // Else they would be parked, to make room.
        client.batch_execute("begin").await.unwrap();
    }
    let said = home.psql("postgres@c", "select 1");
    assert!(said.fails_with(2).contains("max_awake"), "{said}");
    let error = connect(&home.config("postgres@c")).await.map(drop).unwrap_err();
    assert_eq!(error.code().unwrap().code(), "53300", "{error:?}");
    assert!(!on_a.is_closed() && !on_b.is_closed(), "who is in stays in");
    // More places take effect at once.
    home.nap(&["config", "set", "max_awake=4", "wake_timeout=60s"]).ok();
    home.psql("c", "select 1").ok();
    home.psql("d", "select 1").ok();
    assert_eq!(awake(&home), BRANCHES);
}

#[tokio::test(flavor = "multi_thread")]
async fn wakes_queue_in_the_order_of_asking() {
    let home = home("60s");
    let (on_a, on_b) = (home.connect("postgres@a").await, home.connect("postgres@b").await);
    for client in [&on_a, &on_b] {
        // Else they would be parked, to make room.
        client.batch_execute("begin").await.unwrap();
    }
    let mut waiting = Vec::new();
    for branch in ["d", "c"] {
        let config = home.config(&format!("postgres@{branch}"));
        waiting.push(tokio::spawn(async move { connect(&config).await }));
        eventually("it waits", || (home.branch(branch).unwrap()["status"]["waiting"] == 1).then_some(()));
    }
    drop(on_a);
    let c_waits = waiting.pop().unwrap();
    let on_d = waiting.pop().unwrap().await.unwrap().unwrap();
    assert!(!c_waits.is_finished(), "d asked first");
    drop(on_d);
    let on_c = c_waits.await.unwrap().unwrap();
    assert_eq!(on_c.query_one("show nap.branch", &[]).await.unwrap().get::<_, &str>(0), "c");
    assert_eq!(awake(&home), ["b", "c"]);
    drop(on_b);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_nothing_makes_room() {
    let home = home("60s");
    let (on_a, on_b) = (home.connect("postgres@a").await, home.connect("postgres@b").await);
    on_b.batch_execute("select 2").await.unwrap();
    let on_c = home.connect("postgres@c").await;
    assert_eq!(awake(&home), ["b", "c"], "a has been idle for longer");
    assert_eq!(on_a.query_one("show nap.branch", &[]).await.unwrap().get::<_, &str>(0), "a");
    assert_eq!(awake(&home), ["a", "c"]);
    assert!(!on_b.is_closed() && !on_c.is_closed());
}

#[test]
fn who_never_sleeps_is_not_asked_for_its_place_until_it_may() {
    let home = home("2s");
    for branch in ["a", "b"] {
        home.nap(&["set", branch, "sleep_after=never"]).ok();
        home.psql(branch, "select 1").ok();
    }
    home.psql("c", "select 1").fails_with(2);
    let log = || home.daemon_log();
    assert!(!log().contains("another server needs its place"), "it would be asked again and again: {}", log());
    home.nap(&["set", "a", "sleep_after=10min"]).ok();
    home.psql("c", "select 1").ok();
    assert_eq!(awake(&home), ["b", "c"]);
}
