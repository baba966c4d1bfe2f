//! A server that does not get on: a checkpoint that takes for ever stands for a slow disk.

use std::time::{Duration, Instant};

use nap_testkit::process;

use super::{begin, builder, home, rows};

#[test]
fn who_comes_during_a_long_checkpoint_is_served_at_once_and_the_server_sleeps_after_it() {
    let home = home();
    home.psql("main", "insert into kept values (1)").ok();
    let (server, url) = (home.server_pid("main").unwrap(), home.url("main"));
    let frozen = home.freeze_checkpointer("main");
    for _ in 0..3 {
        home.wait_state("main", "settling");
        let came = Instant::now();
        assert_eq!(home.psql_with(&url, "select count(*) from kept").ok(), "1");
        assert!(came.elapsed() < Duration::from_secs(5), "it waited for the checkpoint: {:?}", came.elapsed());
    }
    home.wait_state("main", "settling");
    drop(frozen);
    home.wait_state("main", "asleep");
    process::wait_gone(server);
    assert_eq!(rows(&home), "1");
}

#[test]
fn a_shutdown_that_takes_too_long_becomes_an_immediate_one_and_loses_nothing() {
    let home = begin(builder().setting("shutdown_timeout", "\"1s\"").setting("sleep_after", "\"never\""));
    home.psql("main", "insert into kept values (1)").ok();
    let server = home.server_pid("main").unwrap();
    let frozen = home.freeze_checkpointer("main");
    // It reads the roles in vain, shuts down in vain, and is then ended.
    home.nap(&["down"]).ok();
    assert!(process::below(&home.path()).is_empty(), "something outlived the daemon");
    process::wait_gone(server);
    drop(frozen);
    home.up();
    assert_eq!(rows(&home), "1");
}
