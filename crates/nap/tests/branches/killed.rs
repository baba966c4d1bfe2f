//! The daemon dies in the middle: its parent goes on, and there is a whole branch or none.

use std::time::Duration;

use nap_testkit::{Chaos, eventually};

use super::{Load, OnDisk, on_btrfs, on_xfs, runs, tell, whole_transactions};

#[test]
fn a_killed_daemon_leaves_no_parent_standing_still() {
    tell(on_xfs(), no_parent_stands_still);
}

#[test]
fn a_killed_daemon_leaves_no_parent_standing_still_on_btrfs() {
    tell(on_btrfs(), no_parent_stands_still);
}

fn no_parent_stands_still(disk: &OnDisk) {
    let home = &disk.home;
    let mut chaos = Chaos::seed();
    println!("NAP_TEST_SEED={}", chaos.its_seed());
    drop(Load::on(home, "postgres@main"));
    for number in 0..8 {
        let load = Load::on(home, "postgres@main");
        let name = format!("b{number}");
        let mut branch = home.nap_command(&["branch", &name]).spawn().unwrap();
        std::thread::sleep(chaos.span_up_to(Duration::from_millis(120)));
        home.kill_daemon();
        let _ = branch.wait();
        eventually("the parent goes on", || runs(home, "main").then_some(()));
        drop(load);
        home.up();
        assert_eq!(std::fs::read_dir(home.path().join("staging")).unwrap().count(), 0, "staging is swept");
        whole_transactions(home, "main");
        if home.branch(&name).is_some() {
            whole_transactions(home, &name);
            home.nap(&["rm", &name, "--force"]).ok();
        }
    }
}
