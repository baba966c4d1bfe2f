//! The disk becomes full at every step of a command.

use std::cell::RefCell;

use nap_testkit::{Disk, Walk};

use super::steps::{count, home, is_restored, remove, undo_restore, with_past};

/// As large as XFS must be, and a home in it. The rest is filled in a moment.
const MEGABYTES: u64 = 400;

#[test]
fn slow_a_disk_is_full_in_the_middle_of_a_branch() {
    let Some(disk) = Disk::xfs(MEGABYTES) else { return };
    let home = home(&disk, "\"0s\"");
    home.psql("postgres@main", "insert into kept values (1)").ok();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let session = RefCell::new(None);
    let failed = Walk {
        home: &home,
        prepare: &mut |home| {
            let client = runtime.block_on(home.connect("postgres@main"));
            runtime.block_on(client.batch_execute("begin; select pg_current_xact_id()")).unwrap();
            *session.borrow_mut() = Some(client);
        },
        command: &["branch", "new"],
        look: &mut |home| {
            session.borrow_mut().take();
            assert_eq!(count(home, "main"), 1);
            home.branch("new").is_some_and(|_| count(home, "new") == 1)
        },
        undo: &mut |home| remove(home, "new"),
    }
    .through_a_full_disk(&disk);
    assert!(failed > 3, "{failed} times");
}

#[test]
fn slow_a_disk_is_full_in_the_middle_of_a_recovery() {
    let Some(disk) = Disk::xfs(MEGABYTES) else { return };
    let (home, at) = with_past(&disk);
    let failed = Walk {
        home: &home,
        prepare: &mut |_| {},
        command: &["branch", "then", "--at", &at],
        look: &mut |home| {
            assert_eq!(count(home, "main"), 2);
            home.branch("then").is_some_and(|_| count(home, "then") == 1)
        },
        undo: &mut |home| remove(home, "then"),
    }
    .through_a_full_disk(&disk);
    assert!(failed > 3, "{failed} times");
}

#[test]
fn slow_a_disk_is_full_in_the_middle_of_a_restore() {
    let Some(disk) = Disk::xfs(MEGABYTES) else { return };
    let (home, at) = with_past(&disk);
    let failed = Walk {
        home: &home,
        prepare: &mut |_| {},
        command: &["restore", "main", "--at", &at, "--keep-as", "until"],
        look: &mut is_restored,
        undo: &mut undo_restore,
    }
    .through_a_full_disk(&disk);
    assert!(failed > 3, "{failed} times");
}

#[test]
fn slow_a_disk_is_full_in_the_middle_of_a_snapshot() {
    let Some(disk) = Disk::xfs(MEGABYTES) else { return };
    let home = home(&disk, "\"0s\"");
    home.psql("postgres@main", "insert into kept values (1)").ok();
    home.sleep("main");
    let failed = Walk {
        home: &home,
        prepare: &mut |_| {},
        command: &["snapshot", "called"],
        look: &mut |home| {
            assert_eq!(count(home, "main"), 1);
            home.sleep("main");
            home.nap(&["history"]).ok().contains("called")
        },
        undo: &mut |home| {
            home.nap(&["snapshot", "--remove", "called"]).ok();
        },
    }
    .through_a_full_disk(&disk);
    assert!(failed > 2, "{failed} times");
}

#[test]
fn slow_a_disk_is_full_in_the_middle_of_a_reset() {
    let Some(disk) = Disk::xfs(MEGABYTES) else { return };
    let home = home(&disk, "\"0s\"");
    home.sleep("main");
    home.nap(&["branch", "child"]).ok();
    home.nap(&["snapshot", "kept-one", "--from", "child"]).ok();
    let failed = Walk {
        home: &home,
        prepare: &mut |home| {
            home.psql("postgres@child", "insert into kept values (1)").ok();
            home.nap(&["branch", "grandchild", "--from", "child"]).ok();
        },
        command: &["reset", "child", "--keep-as", "before"],
        look: &mut |home| {
            assert_eq!(count(home, "main"), 0);
            let is_done = home.branch("before").is_some();
            let now = if is_done { "before" } else { "child" };
            assert_eq!((count(home, now), count(home, "grandchild")), (1, 1));
            assert_eq!(home.branch("grandchild").unwrap()["parent"], now);
            assert!(home.nap(&["history", "child"]).ok().contains("kept-one"));
            is_done && count(home, "child") == 0
        },
        undo: &mut |home| ["grandchild", "before"].iter().for_each(|branch| remove(home, branch)),
    }
    .through_a_full_disk(&disk);
    assert!(failed > 2, "{failed} times");
}

#[test]
fn slow_a_disk_is_full_in_the_middle_of_a_new_name() {
    let Some(disk) = Disk::xfs(MEGABYTES) else { return };
    let home = home(&disk, "\"0s\"");
    home.sleep("main");
    home.nap(&["branch", "old"]).ok();
    for child in ["a", "b"] {
        home.nap(&["branch", child, "--from", "old"]).ok();
    }
    let failed = Walk {
        home: &home,
        prepare: &mut |_| {},
        command: &["set", "old", "name=new"],
        look: &mut |home| {
            let (now, never) = if home.branch("new").is_some() { ("new", "old") } else { ("old", "new") };
            assert!(home.branch(never).is_none());
            for child in ["a", "b"] {
                assert_eq!(home.branch(child).unwrap()["parent"], now);
            }
            assert_eq!(count(home, now), 0);
            home.sleep(now);
            now == "new"
        },
        undo: &mut |home| {
            home.nap(&["set", "new", "name=old"]).ok();
        },
    }
    .through_a_full_disk(&disk);
    assert!(failed > 0, "{failed} times");
}
