//! The daemon dies at every step of every command that changes the tree.

use std::cell::{Cell, RefCell};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nap_testkit::walk::{nobody_stands_still, nothing_is_left_over, open_but_gone};
use nap_testkit::{Disk, TestHome, Walk, eventually, eventually_within, process};

use super::builder;
use super::shown::at;

/// A home on a disk of its own, with a table `kept` in main and nothing that runs in the background.
pub(super) fn home(disk: &Disk, history: &str) -> TestHome {
    let home = builder().faults().below(&disk.path()).setting("history", history).build();
    home.up();
    home.psql("postgres@main", "create table kept (number int)").ok();
    home
}

pub(super) fn count(home: &TestHome, branch: &str) -> u64 {
    home.psql(&format!("postgres@{branch}"), "select count(*) from kept").ok().parse().unwrap()
}

/// Sessions that write to main, and keep it from falling asleep, until they are cut off.
struct Busy {
    acknowledged: Arc<AtomicU64>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Busy {
    fn begin(home: &TestHome) -> Self {
        let (config, acknowledged) = (home.config("postgres@main"), Arc::<AtomicU64>::default());
        let ends = Arc::<AtomicBool>::default();
        let (counted, stop) = (acknowledged.clone(), ends.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let pinned = nap_testkit::connect(&config).await.unwrap();
                pinned.batch_execute("begin; select pg_current_xact_id()").await.unwrap();
                let writer = nap_testkit::connect(&config).await.unwrap();
                while !stop.load(Ordering::Relaxed) && writer.batch_execute("insert into kept values (1)").await.is_ok()
                {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            });
        });
        let busy = Self { acknowledged, ends, thread: Some(thread) };
        eventually("it writes", || (busy.acknowledged.load(Ordering::Relaxed) > 2).then_some(()));
        busy
    }

    /// How many rows were acknowledged.
    fn end(mut self) -> u64 {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        self.acknowledged.load(Ordering::Relaxed)
    }
}

pub(super) fn remove(home: &TestHome, branch: &str) {
    if home.branch(branch).is_some() {
        home.nap(&["rm", branch, "--force"]).ok();
    }
}

/// What has been acknowledged while main was branched is in main; in the branch is what had been until then, or more.
fn of_a_busy_parent(disk: &Disk, comes_to: &[&str]) {
    let home = home(disk, "\"0s\"");
    let (writing, acknowledged, least) = (RefCell::new(None), Cell::new(0), Cell::new(0));
    let places = Walk {
        home: &home,
        prepare: &mut |home| {
            let busy = Busy::begin(home);
            least.set(acknowledged.get() + busy.acknowledged.load(Ordering::Relaxed));
            writing.replace(Some(busy));
        },
        command: &["branch", "new"],
        look: &mut |home| {
            if let Some(busy) = writing.take() {
                acknowledged.set(acknowledged.get() + busy.end());
            }
            let in_main = count(home, "main");
            assert!(in_main >= acknowledged.get(), "{} were acknowledged, {in_main} are there", acknowledged.get());
            home.branch("new").is_some_and(|_| {
                let in_new = count(home, "new");
                assert!((least.get()..=in_main).contains(&in_new), "{} ≤ {in_new} ≤ {in_main}", least.get());
                true
            })
        },
        undo: &mut |home| remove(home, "new"),
    }
    .through();
    for place in comes_to {
        assert!(places.iter().any(|come_to| come_to == place), "{place} is none of {places:?}");
    }
}

/// What all these look for is seen where there are no inodes to be counted, even in a subvolume that is deleted as a whole.
#[test]
fn who_has_files_open_that_are_gone_is_seen() {
    let Some(disk) = Disk::btrfs(1_024) else { return };
    let home = home(&disk, "\"0s\"");
    assert_eq!(open_but_gone(&home), [""; 0]);
    let subvolume = |word: &str, path: &std::path::Path| {
        let done = Command::new("btrfs").args(["--quiet", "subvolume", word]).arg(path).status().unwrap();
        assert!(done.success());
    };
    let (thrown_away, deleted) = (home.path().join("trash/main.0"), home.path().join("branches/main/data/deleted"));
    subvolume("create", &thrown_away);
    for path in [thrown_away.join("file"), deleted] {
        let file = std::fs::File::create(&path).unwrap();
        let mut holder = Command::new("sleep").arg("600").current_dir("/").stdin(file).spawn().unwrap();
        if path.starts_with(&thrown_away) {
            subvolume("delete", &thrown_away);
        } else {
            std::fs::remove_file(&path).unwrap();
        }
        let seen = open_but_gone(&home);
        holder.kill().unwrap();
        holder.wait().unwrap();
        let [seen] = &seen[..] else { panic!("{path:?}: {seen:?}") };
        assert!(seen.starts_with(&format!("{}: ", holder.id())), "{seen}");
        assert_eq!(open_but_gone(&home), [""; 0]);
    }
}

#[test]
fn slow_a_busy_parent_is_branched() {
    let Some(disk) = Disk::xfs(1_024) else { return };
    of_a_busy_parent(
        &disk,
        &["the guardian has heard", "a postmaster stands still", "a parent stands still", "synced"],
    );
}

#[test]
fn slow_a_busy_parent_is_branched_on_btrfs() {
    let Some(disk) = Disk::btrfs(1_024) else { return };
    of_a_busy_parent(&disk, &["a parent stands still", "snapshot taken"]);
}

#[test]
fn slow_a_busy_parent_is_copied() {
    let Some(disk) = Disk::ext4(1_024) else { return };
    of_a_busy_parent(&disk, &["a parent is in backup mode", "a parent left backup mode"]);
}

#[test]
fn slow_a_past_is_branched() {
    let Some(disk) = Disk::xfs(1_024) else { return };
    let (home, at) = with_past(&disk);
    let places = Walk {
        home: &home,
        prepare: &mut |_| {},
        command: &["branch", "then", "--at", &at],
        look: &mut |home| {
            assert_eq!(count(home, "main"), 2);
            home.branch("then").is_some_and(|_| count(home, "then") == 1)
        },
        undo: &mut |home| remove(home, "then"),
    }
    .through();
    assert!(places.iter().any(|place| place == "a server aside is ready"), "{places:?}");
}

/// A server in the middle of a recovery dies, or what brings it its log: it is told, nothing is left, and the next time it goes well.
#[test]
fn a_recovery_that_is_killed_is_told_and_leaves_nothing() {
    let Some(disk) = Disk::xfs(1_024) else { return };
    // Before the system's own cp stands one that dies when it is told to.
    let (programs, order) = (disk.path().join("bin"), disk.path().join("die"));
    std::fs::create_dir(&programs).unwrap();
    let script = format!("#!/bin/sh\n[ -e {} ] && kill -9 $$\nexec /bin/cp \"$@\"\n", order.display());
    std::fs::write(programs.join("cp"), script).unwrap();
    for path in [&programs, &programs.join("cp")] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let (home, at) = with_past_in(builder().faults().environment("PATH", &path).below(&disk.path()).build());
    let staging = home.path().join("staging");
    for place in ["cp", "a server aside begins", "a server aside is ready"] {
        let said = if place == "cp" {
            std::fs::write(&order, "").unwrap();
            let said = home.nap(&["branch", "then", "--at", &at]);
            std::fs::remove_file(&order).unwrap();
            said
        } else {
            home.faults().hold_at(place);
            let branch = nap_testkit::Beside::begin(home.nap_command(&["branch", "then", "--at", &at]));
            let held = home.faults().wait_held(place);
            // It works there as soon as it has read its configuration.
            let server = eventually("a server recovers", || process::below(&staging).into_iter().next());
            let postmaster = std::iter::successors(Some(server), |pid| process::parent(*pid))
                .take_while(|pid| Some(*pid) != home.daemon_process())
                .last()
                .unwrap();
            process::kill9(postmaster);
            drop(held);
            branch.end()
        };
        assert!(said.fails_with(1).contains("recovery failed"), "{place}: {said}");
        nothing_is_left_over(&home);
        assert_eq!(count(&home, "main"), 2);
        home.nap(&["branch", "then", "--at", &at]).ok();
        assert_eq!(count(&home, "then"), 1);
        remove(&home, "then");
    }
}

#[test]
fn slow_a_branch_is_restored() {
    let Some(disk) = Disk::xfs(1_024) else { return };
    let (home, at) = with_past(&disk);
    Walk {
        home: &home,
        prepare: &mut |_| {},
        command: &["restore", "main", "--at", &at, "--keep-as", "until"],
        look: &mut is_restored,
        undo: &mut undo_restore,
    }
    .through();
}

pub(super) fn is_restored(home: &TestHome) -> bool {
    let is_done = home.branch("until").is_some();
    assert_eq!(count(home, "main"), if is_done { 1 } else { 2 });
    assert!(!is_done || count(home, "until") == 2);
    is_done
}

/// What was kept is main again.
pub(super) fn undo_restore(home: &TestHome) {
    home.sleep("until");
    home.nap(&["set", "until", "name=again"]).ok();
    home.nap(&["config", "set", "default_branch=again"]).ok();
    home.nap(&["rm", "main", "--force"]).ok();
    home.nap(&["set", "again", "name=main"]).ok();
}

/// Opened by a client, and left; what a daemon that died has left goes, too.
#[test]
fn slow_a_moment_is_shown() {
    let Some(disk) = Disk::xfs(1_024) else { return };
    let (home, moment) = with_past(&disk);
    let faults = home.faults();
    let ask = || at(&home, &moment, "select count(*) from kept");
    let is_gone = || {
        let branches = || home.nap(&["ls", "--json"]).json().as_array().unwrap().len();
        eventually_within(Duration::from_secs(60), "it is gone", || (branches() == 1).then_some(()));
        nothing_is_left_over(&home);
    };
    faults.record();
    assert_eq!(ask().ok(), "1");
    is_gone();
    let places = faults.recorded();
    println!("it comes to {places:?}");
    for place in ["a server aside is ready", "a branch is to be deleted"] {
        assert!(places.iter().any(|(come_to, _)| come_to == place), "{place} is none of {places:?}");
    }
    for (place, _) in places {
        println!("… dies at {place}");
        faults.die_at(&place, 1);
        println!("{}", ask());
        faults.wait_dead(&home, &place);
        nobody_stands_still(&home);
        home.up();
        is_gone();
        assert_eq!(ask().ok(), "1", "asked again after it died at {place}");
        is_gone();
    }
    assert_eq!(count(&home, "main"), 2);
}

/// A row, a moment, another row; all is asleep.
pub(super) fn with_past(disk: &Disk) -> (TestHome, String) {
    with_past_in(builder().faults().below(&disk.path()).setting("history", "\"7d\"").build())
}

fn with_past_in(home: TestHome) -> (TestHome, String) {
    home.up();
    home.psql("postgres@main", "create table kept (number int)").ok();
    home.psql("postgres@main", "insert into kept values (1)").ok();
    let at = home.psql("postgres@main", "select pg_current_wal_lsn()").ok().to_owned();
    home.psql("postgres@main", "insert into kept values (2)").ok();
    home.sleep("main");
    let taken = || home.nap(&["history", "--json"]).json()["snapshots"].as_array().unwrap().len();
    eventually("its snapshot is taken", || (taken() >= 2).then_some(()));
    (home, at)
}

#[test]
fn slow_a_branch_is_reset() {
    reset(false);
}

#[test]
fn slow_a_branch_is_reset_and_kept() {
    reset(true);
}

fn reset(keep: bool) {
    let Some(disk) = Disk::xfs(1_024) else { return };
    let home = home(&disk, "\"0s\"");
    home.sleep("main");
    home.nap(&["branch", "child"]).ok();
    home.nap(&["snapshot", "kept-one", "--from", "child"]).ok();
    Walk {
        home: &home,
        prepare: &mut |home| {
            home.psql("postgres@child", "insert into kept values (1)").ok();
            home.nap(&["branch", "grandchild", "--from", "child"]).ok();
        },
        command: if keep { &["reset", "child", "--keep-as", "before"] } else { &["reset", "child"] },
        look: &mut |home| {
            let is_done = count(home, "child") == 0;
            assert_eq!((count(home, "main"), count(home, "grandchild")), (0, 1));
            assert!(home.nap(&["history", "child"]).ok().contains("kept-one"));
            assert_eq!(home.branch("before").is_some(), keep && is_done);
            let parent = if keep && is_done { "before" } else { "child" };
            assert_eq!(home.branch("grandchild").unwrap()["parent"], parent, "it goes with what it was branched from");
            if keep && is_done {
                assert_eq!(count(home, "before"), 1);
            }
            is_done
        },
        undo: &mut |home| ["grandchild", "before"].iter().for_each(|branch| remove(home, branch)),
    }
    .through();
}

#[test]
fn slow_a_branch_is_renamed() {
    let Some(disk) = Disk::xfs(1_024) else { return };
    let home = home(&disk, "\"0s\"");
    home.sleep("main");
    home.nap(&["branch", "old"]).ok();
    home.nap(&["branch", "child", "--from", "old"]).ok();
    home.nap(&["set", "old", "sleep_after=7min"]).ok();
    Walk {
        home: &home,
        prepare: &mut |_| {},
        command: &["set", "old", "name=new"],
        look: &mut |home| {
            let (now, never) = if home.branch("new").is_some() { ("new", "old") } else { ("old", "new") };
            assert!(home.branch(never).is_none());
            assert_eq!(home.branch("child").unwrap()["parent"], now);
            assert_eq!(home.branch(now).unwrap()["sleep_after"], "7min");
            assert_eq!((count(home, now), count(home, "child")), (0, 0));
            home.sleep(now);
            now == "new"
        },
        undo: &mut |home| {
            home.nap(&["set", "new", "name=old"]).ok();
        },
    }
    .through();
}

#[test]
fn slow_a_branch_is_removed() {
    let Some(disk) = Disk::xfs(1_024) else { return };
    let home = home(&disk, "\"0s\"");
    home.sleep("main");
    for (how, children) in [("--with-children", 0), ("--keep-children", 2)] {
        Walk {
            home: &home,
            prepare: &mut |home| {
                for (name, parent) in [("middle", "main"), ("a", "middle"), ("b", "middle")] {
                    if home.branch(name).is_none() {
                        home.nap(&["branch", name, "--from", parent]).ok();
                    }
                }
            },
            command: &["rm", "middle", how, "--force"],
            look: &mut |home| {
                assert_eq!(count(home, "main"), 0);
                let mut left = 0;
                for child in ["a", "b"].iter().filter(|child| home.branch(child).is_some()) {
                    left += 1;
                    let parent = home.branch(child).unwrap()["parent"].as_str().unwrap().to_owned();
                    assert!(home.branch(&parent).is_some(), "{child} has a parent");
                    assert_eq!(count(home, child), 0);
                }
                let is_done = home.branch("middle").is_none();
                assert!(!is_done || left == children, "{left} children are left");
                is_done
            },
            undo: &mut |home| ["a", "b"].iter().for_each(|child| remove(home, child)),
        }
        .through();
    }
}

#[test]
fn slow_a_snapshot_is_taken() {
    let Some(disk) = Disk::xfs(1_024) else { return };
    let home = home(&disk, "\"0s\"");
    Busy::begin(&home).end();
    home.sleep("main");
    let is_taken = |home: &TestHome| home.nap(&["history"]).ok().contains("called");
    Walk {
        home: &home,
        prepare: &mut |_| {},
        command: &["snapshot", "called"],
        look: &mut |home| {
            if is_taken(home) {
                home.nap(&["branch", "of-it", "--at", "called"]).ok();
                assert!(count(home, "of-it") > 2);
                home.nap(&["rm", "of-it", "--force"]).ok();
            }
            is_taken(home)
        },
        undo: &mut |home| drop(home.nap(&["snapshot", "called", "--remove"])),
    }
    .through();
}
