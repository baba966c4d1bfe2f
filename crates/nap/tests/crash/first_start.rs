//! A first start that is killed: the next one makes a whole home.

use std::process::Stdio;
use std::time::Duration;

use nap_testkit::{Chaos, eventually, process};

use super::builder;

/// What a first start takes on a quick machine: initdb for half of it, then the clone, then the first role.
const FIRST_START: Duration = Duration::from_millis(1300);
const ROUNDS: u64 = 8;

#[test]
fn slow_a_first_start_killed_at_any_moment_is_made_whole_by_the_next() {
    let mut chaos = Chaos::seed();
    for round in 0..ROUNDS {
        let home = builder().build();
        let mut up = home.nap_command(&["up"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let daemon = eventually("a daemon", || home.daemon_process());
        // Each round has its own part of the way, and chance within it.
        let part = FIRST_START / ROUNDS as u32;
        std::thread::sleep(part * round as u32 + chaos.span_up_to(part));
        process::kill9(daemon);
        process::wait_gone(daemon);
        up.wait().unwrap();

        home.up();
        assert_eq!(home.psql("main", "create table t as select 1 as n; select n from t").ok(), "1");
        let role = home.role();
        assert_eq!(home.psql(&format!("{role}@main"), "select current_user").ok(), role);
        let left = || std::fs::read_dir(home.path().join("staging")).unwrap().count();
        if left() > 0 {
            // An initdb that outlived its daemon may have made one more directory; the next start sweeps that.
            home.nap(&["down"]).ok();
            home.up();
        }
        assert_eq!(left(), 0, "round {round}: something half-made was left");
    }
}
