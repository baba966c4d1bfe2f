//! History is bounded by the inodes of its file system, too.

use nap_testkit::{Disk, TestHome, eventually};

use super::builder;

fn history(home: &TestHome) -> serde_json::Value {
    home.nap(&["history", "--json"]).json()
}

/// The places of those without a name.
fn kept(home: &TestHome) -> Vec<String> {
    let snapshots = history(home)["snapshots"].as_array().unwrap().clone();
    let unnamed = snapshots.iter().filter(|snapshot| snapshot["name"].is_null());
    unnamed.map(|snapshot| snapshot["lsn"].to_string()).collect()
}

fn write_and_sleep(home: &TestHome) {
    home.psql("postgres@main", "insert into t select generate_series(1, 1000)").ok();
    home.sleep("main");
}

#[test]
fn history_leaves_inodes_for_tables() {
    let Some(disk) = Disk::xfs_with_few_inodes(2_048) else { return };
    let home = builder().below(&disk.path()).build();
    home.up();
    home.psql("postgres@main", "create table t (n int)").ok();
    write_and_sleep(&home);
    eventually("its past has a beginning and an end", || (kept(&home).len() == 2).then_some(()));
    home.nap(&["snapshot", "called"]).ok();
    let first = kept(&home);
    let total = history(&home)["inodes"]["total"].as_u64().unwrap();
    let reserve = total / 20;
    assert!((20_000..60_000).contains(&total), "{total}");
    assert!(home.nap(&["history"]).ok().contains("% the oldest snapshots go"));

    // There is no room for another one beside those that there are: the oldest goes.
    disk.take_inodes_but(reserve + 200);
    write_and_sleep(&home);
    eventually("a new one is there, and not the oldest", || {
        let now = kept(&home);
        (!now.contains(&first[0]) && now.iter().any(|lsn| !first.contains(lsn))).then_some(())
    });
    eventually("so many are free", || (disk.free_inode_count() + 50 >= reserve).then_some(()));
    home.nap(&["branch", "late", "--at", "-0s"]).ok();
    assert_eq!(home.psql("postgres@late", "select count(*) from t").ok(), "2000");
    home.nap(&["rm", "late", "--force"]).ok();
    eventually("it is deleted", || (home.path().join("trash").read_dir().unwrap().count() == 0).then_some(()));

    // Tables come first: what history has goes for those. What would not make room enough for a snapshot is none.
    disk.take_inodes_but(reserve / 4);
    write_and_sleep(&home);
    eventually("it is told", || home.daemon_log().contains("takes").then_some(()));
    let now = kept(&home);
    assert!(now.len() < 2, "{now:?}");
    home.psql("postgres@main", "create table another as select * from t").ok();
    assert_eq!(home.psql("postgres@main", "select count(*) from another").ok(), "3000");
    let named = history(&home)["snapshots"].as_array().unwrap().iter().any(|snapshot| snapshot["name"] == "called");
    assert!(named, "what has a name stays");

    // Nobody begins a copy that comes to nothing.
    disk.take_inodes_but(200);
    for command in [&["branch", "new"][..], &["snapshot", "another"], &["export", "main", "/tmp/never"]] {
        let refused = home.nap(command);
        assert!(refused.fails_with(1).contains("inodes, and"), "{refused}");
        assert!(refused.stderr.contains("hint: "), "{refused}");
    }
    assert_eq!(home.psql("postgres@main", "select count(*) from t").ok(), "3000");

    disk.free_inodes();
    write_and_sleep(&home);
    eventually("and it goes on", || (kept(&home).len() > now.len()).then_some(()));
}

#[test]
fn where_there_is_no_bound_none_is_told() {
    let Some(disk) = Disk::btrfs(1_024) else { return };
    let home = builder().below(&disk.path()).build();
    home.up();
    assert!(history(&home)["inodes"].is_null());
}
