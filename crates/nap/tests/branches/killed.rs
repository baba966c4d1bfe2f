//! The daemon dies in the middle: its parent goes on, and there is a whole branch or none.

use std::time::Duration;

use nap_testkit::{Chaos, Disk, eventually};

use super::{Load, OnDisk, on, on_btrfs, on_xfs, runs, tell, whole_transactions};

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

/// Whether files are copied or recovered: what does not fit is not begun again and again, and nothing of it stays.
#[test]
fn a_full_disk_is_told_and_nothing_of_it_stays() {
    for (disk, is_past) in [(Disk::ext4(320), false), (Disk::xfs(400), true)] {
        let Some(on_disk) = disk.and_then(on) else { continue };
        let (home, disk) = (&on_disk.home, &on_disk.disk);
        home.psql("postgres@main", "create table t as select 1 as n").ok();
        home.sleep("main");
        home.psql("postgres@main", "insert into t values (2)").ok();
        let moment = home.psql("postgres@main", "select pg_current_wal_insert_lsn()").ok().to_owned();
        // So that there is something to be recovered, and somewhere to stop.
        home.psql("postgres@main", "insert into t values (3)").ok();
        home.sleep("main");
        disk.fill_but(8 << 10);
        let deed: &[&str] = if is_past { &["branch", "new", "--at", &moment] } else { &["branch", "new"] };
        let refused = home.nap(deed);
        let said = refused.fails_with(1).to_lowercase();
        assert!(said.contains("no space"), "{refused:?}");
        eventually("nothing of it stays", || {
            let left = |place: &str| std::fs::read_dir(home.path().join(place)).unwrap().count();
            (left("staging") == 0 && left("trash") == 0).then_some(())
        });
        assert!(home.branch("new").is_none());
        disk.free();
        home.nap(deed).ok();
        for (branch, rows) in [("main", "3"), ("new", if is_past { "2" } else { "3" })] {
            assert_eq!(home.psql(&format!("postgres@{branch}"), "select count(*) from t").ok(), rows, "{branch}");
        }
    }
}
