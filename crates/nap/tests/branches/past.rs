//! Branches of the past: exactly as the parent was then.

use nap_testkit::{Disk, TestHome, eventually};

use super::{Load, OnDisk, nothing_is_staged, on, on_btrfs, on_xfs, tell, whole_transactions};

fn numbers(home: &TestHome, branch: &str) -> String {
    home.psql(&format!("postgres@{branch}"), "select string_agg(n::text, ',' order by n) from t").ok().to_owned()
}

fn snapshots(home: &TestHome) -> usize {
    home.nap(&["history", "--json"]).json()["snapshots"].as_array().unwrap().len()
}

pub(super) fn last_snapshot(home: &TestHome, branch: &str) -> Option<String> {
    let history = home.nap(&["history", branch, "--json"]).json();
    history["snapshots"].as_array().unwrap().last().map(|last| last["lsn"].to_string())
}

/// Puts it to sleep, and waits for the snapshot that this leaves.
pub(super) fn sleep_and_leave_a_snapshot(home: &TestHome, branch: &str) {
    let before = last_snapshot(home, branch);
    home.sleep(branch);
    eventually("a snapshot is there", || (last_snapshot(home, branch) != before).then_some(()));
}

/// Each insert is one moment: between two of them lie a place in the log and a time.
#[test]
fn each_moment_of_the_past_can_be_had() {
    tell(on_xfs(), each_moment);
}

#[test]
fn each_moment_of_the_past_can_be_had_on_btrfs() {
    tell(on_btrfs(), each_moment);
}

fn each_moment(disk: &OnDisk) {
    let home = &disk.home;
    eventually("its past begins with itself", || (snapshots(home) == 1).then_some(()));
    home.psql("postgres@main", "create table t (n int)").ok();

    let mut moments = Vec::new();
    for n in 1..=6 {
        home.psql("postgres@main", &format!("insert into t values ({n})")).ok();
        let told = home.psql("postgres@main", "select pg_current_wal_lsn(), clock_timestamp() at time zone 'utc'");
        let (lsn, time) = told.ok().split_once('|').unwrap();
        moments.push((n, lsn.to_owned(), format!("{}Z", time.replace(' ', "T"))));
        match n {
            2 => sleep_and_leave_a_snapshot(home, "main"),
            4 => drop(home.psql("postgres@main", "select pg_switch_wal(); checkpoint; checkpoint")),
            _ => {}
        }
    }
    for (n, lsn, time) in &moments {
        let expected = (1..=*n).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        for (name, at) in [("by-lsn", lsn), ("by-time", time)] {
            let made = home.nap(&["--json", "branch", name, "--at", at]).json();
            assert_eq!(numbers(home, name), expected, "at {at}: {made}");
            home.nap(&["rm", name, "--force"]).ok();
        }
    }
    // The parent has gone on, and is as it was.
    assert_eq!(numbers(home, "main"), "1,2,3,4,5,6");
    let (_, lsn, _) = &moments[2];
    home.nap(&["branch", "kept", "--at", lsn]).ok();
    home.psql("postgres@kept", "insert into t values (100)").ok();
    home.sleep("kept");
    home.nap(&["branch", "grandchild", "--from", "kept"]).ok();
    assert_eq!(numbers(home, "grandchild"), "1,2,3,100");

    for at in ["0/1", "7F/0", "2001-01-01"] {
        let refused = home.nap(&["branch", "never", "--at", at]);
        assert!(refused.fails_with(1).contains("the history of branch \"main\" is from 0/"), "{at}: {refused:?}");
    }
    assert!(home.nap(&["branch", "never", "--at", "+1h"]).fails_with(2).contains("is no moment"));
    assert!(home.nap(&["branch", "never", "--at", "soon"]).fails_with(1).contains("has no snapshot \"soon\""));
    nothing_is_staged(home);
}

#[test]
fn the_past_of_a_busy_parent_is_whole() {
    tell(on_xfs(), past_of_a_busy_parent);
}

#[test]
fn the_past_of_a_busy_parent_is_whole_on_btrfs() {
    tell(on_btrfs(), past_of_a_busy_parent);
}

fn past_of_a_busy_parent(disk: &OnDisk) {
    let home = &disk.home;
    drop(Load::on(home, "postgres@main"));
    sleep_and_leave_a_snapshot(home, "main");
    let mut load = Load::on(home, "postgres@main");
    let mut last = 0;
    for number in 0..6 {
        let before = whole_transactions(home, "main");
        let at = home.psql("postgres@main", "select pg_current_wal_flush_lsn()").ok().to_owned();
        let name = format!("b{number}");
        home.nap(&["branch", &name, "--at", &at]).ok();
        let has = whole_transactions(home, &name);
        assert!(has >= before && has >= last, "{name} at {at} has {has}, {before} were acknowledged before");
        last = has;
        home.nap(&["rm", &name, "--force"]).ok();
    }
    assert!(load.goes_on(), "nobody noticed");
}

/// What only its past needs of a branch's log is bounded; what leads nowhere is not kept.
#[test]
fn the_log_does_not_fill_the_disk() {
    let Some(disk) = on_xfs() else { return };
    let home = &disk.home;
    let segments = || home.nap(&["history", "--json"]).json()["segments"].as_u64().unwrap();
    let write = || {
        for _ in 0..6 {
            home.psql("postgres@main", "select pg_switch_wal()").ok();
            home.psql("postgres@main", "create table if not exists t (n int); insert into t values (1); checkpoint")
                .ok();
        }
    };
    write();
    let kept = segments();
    assert!(kept >= 6, "{kept} segments");
    // 16 MB each: far from a GB, which a test of the store stands for.
    assert_eq!(snapshots(home), 1);
    // What is to go soon has no past before its first sleep, and without a snapshot its log leads nowhere.
    home.nap(&["branch", "brief", "--ttl", "1h"]).ok();
    home.psql("postgres@brief", "select pg_switch_wal(); checkpoint; checkpoint").ok();
    assert!(home.nap(&["branch", "never", "--from", "brief", "--at", "-0s"]).fails_with(1).contains("no history yet"));
    sleep_and_leave_a_snapshot(home, "brief");
}

#[test]
fn what_is_older_than_its_span_is_forgotten() {
    tell(on_xfs(), older_than_its_span);
}

#[test]
fn what_is_older_than_its_span_is_forgotten_on_btrfs() {
    tell(on_btrfs(), older_than_its_span);
}

fn older_than_its_span(disk: &OnDisk) {
    let home = &disk.home;
    home.psql("postgres@main", "create table t (n int)").ok();
    let nap = |n: u32| {
        home.psql("postgres@main", &format!("insert into t select {n} from generate_series(1, 1000)")).ok();
        sleep_and_leave_a_snapshot(home, "main");
    };
    for n in 1..=3 {
        nap(n);
        // Of those that stand close together the first and the last stay.
        eventually("it has a snapshot", || (snapshots(home) == 2).then_some(()));
    }
    // What begins the span stays.
    home.nap(&["set", "main", "history=1ms"]).ok();
    nap(4);
    eventually("the older ones have gone", || (snapshots(home) <= 2).then_some(()));
    home.nap(&["branch", "late", "--at", "-0s"]).ok();
    home.nap(&["set", "main", "history=0s"]).ok();
    home.psql("postgres@main", "select 1").ok();
    home.sleep("main");
    home.psql("postgres@main", "insert into t values (5)").ok();
    assert_eq!(home.psql("postgres@main", "show wal_recycle").ok(), "on");
}

#[test]
fn a_branch_is_what_it_was() {
    tell(on_xfs(), what_it_was);
}

#[test]
fn a_branch_is_what_it_was_on_btrfs() {
    tell(on_btrfs(), what_it_was);
}

fn what_it_was(disk: &OnDisk) {
    let home = &disk.home;
    home.psql("postgres@main", "create table t (n int); insert into t values (1)").ok();
    sleep_and_leave_a_snapshot(home, "main");
    home.psql("postgres@main", "insert into t values (2)").ok();
    let at = home.psql("postgres@main", "select pg_current_wal_lsn()").ok().to_owned();
    home.psql("postgres@main", "delete from t").ok();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let session = home.connect("postgres@main").await;
        session.batch_execute("begin").await.unwrap();
        let said = home.nap(&["restore", "main", "--at", &at, "--keep-as", "mistake"]);
        assert!(said.ok().contains("what it has been since is the branch mistake"), "{said:?}");
        assert!(session.batch_execute("select 1").await.is_err(), "it is ended");
    });
    assert_eq!((numbers(home, "main"), numbers(home, "mistake")), ("1,2".into(), String::new()));
    home.psql("postgres@main", "insert into t values (3)").ok();
    // It has a history of its own from now on; what was before is with the other one.
    sleep_and_leave_a_snapshot(home, "main");
    home.nap(&["branch", "again", "--from", "mistake", "--at", &at]).ok();
    assert_eq!(numbers(home, "again"), "1,2");
    home.nap(&["down"]).ok();
    home.up();
    assert_eq!(numbers(home, "main"), "1,2,3");
    let said = home.nap(&["restore", "main", "--at", "-0s"]);
    assert!(said.ok().contains("the branch main-until-2"), "{said:?}");
    home.nap(&["set", "main", "protected=on"]).ok();
    assert!(home.nap(&["restore", "main", "--at", "-0s"]).fails_with(1).contains("is protected"));
}

/// What was before a branch began is its parent's past; what has been since is its own, before its first sleep too.
#[test]
fn a_child_has_the_past_of_its_parent() {
    tell(on_xfs(), past_of_its_parent);
}

#[test]
fn a_child_has_the_past_of_its_parent_on_btrfs() {
    tell(on_btrfs(), past_of_its_parent);
}

fn past_of_its_parent(disk: &OnDisk) {
    let home = &disk.home;
    let now = |branch: &str| home.psql(&format!("postgres@{branch}"), "select pg_current_wal_lsn()").ok().to_owned();
    home.psql("postgres@main", "create table t (n int); insert into t values (1)").ok();
    let (before, time) = (now("main"), jiff::Timestamp::now().to_string());
    // One from a parent that is in use, which has to recover at its first start, and one from a parent that sleeps.
    let mut load = Load::on(home, "postgres@main");
    home.psql("postgres@main", "insert into t values (2)").ok();
    home.nap(&["branch", "busy"]).ok();
    assert!(load.goes_on());
    drop(load);
    home.sleep("main");
    home.nap(&["branch", "asleep"]).ok();
    for branch in ["busy", "asleep"] {
        home.psql(&format!("postgres@{branch}"), "insert into t values (3)").ok();
        let between = now(branch);
        home.psql(&format!("postgres@{branch}"), "insert into t values (4)").ok();
        for (at, expected, parent) in [(&between, "1,2,3", branch), (&before, "1", "main"), (&time, "1", "main")] {
            let made = home.nap(&["branch", "then", "--from", branch, "--at", at]);
            assert!(made.ok().contains(&format!(" of {parent}")), "{branch} at {at}: {made:?}");
            assert_eq!(numbers(home, "then"), expected, "{branch} at {at}");
            home.nap(&["rm", "then", "--force"]).ok();
        }
    }
    // What was let in to a child is not let in to its parent.
    let mut url = home.url("postgres@busy");
    url.push(if url.contains('?') { '&' } else { '?' });
    let refused = home.psql_with(&format!("{url}options=-c%20nap.at%3D{}", before.replace('/', "%2F")), "select 1");
    assert!(refused.fails_with(2).contains("began after that"), "{refused:?}");
    // A child that was restored, or whose parent was made anew, has no past but its own.
    let at = now("busy");
    home.nap(&["restore", "busy", "--at", &at, "--keep-as", "was-busy"]).ok();
    home.psql("postgres@busy", "select 1").ok();
    let refused = home.nap(&["branch", "never", "--from", "busy", "--at", &before]);
    assert!(refused.fails_with(1).contains("history of branch \"busy\""), "{refused:?}");
    home.nap(&["branch", "grandchild", "--from", "asleep"]).ok();
    home.nap(&["reset", "asleep"]).ok();
    let refused = home.nap(&["branch", "never", "--from", "grandchild", "--at", &time]);
    assert!(refused.fails_with(1).contains("branch \"grandchild\""), "{refused:?}");
}

/// A name leads back to what a branch was, busy or not, whatever becomes of the rest of its past.
#[test]
fn a_snapshot_with_a_name_is_kept() {
    tell(on_xfs(), snapshot_with_a_name);
}

#[test]
fn a_snapshot_with_a_name_is_kept_on_btrfs() {
    tell(on_btrfs(), snapshot_with_a_name);
}

fn snapshot_with_a_name(disk: &OnDisk) {
    let home = &disk.home;
    home.psql("postgres@main", "create table t (n int); insert into t values (1)").ok();
    let mut load = Load::on(home, "postgres@main");
    home.nap(&["set", "main", "history=0s"]).ok();
    let said = home.nap(&["snapshot", "in-use", "--verbose"]);
    assert!(said.ok().contains("main stood still for"), "{said:?}");
    assert!(load.goes_on());
    drop(load);
    let has = whole_transactions(home, "main");
    home.sleep("main");
    let said = home.nap(&["snapshot", "asleep"]);
    assert!(said.ok().starts_with("asleep is main at 0/"), "{said:?}");
    home.psql("postgres@main", "delete from t").ok();
    home.sleep("main");
    for name in ["in-use", "asleep"] {
        let branch = format!("from-{name}");
        home.nap(&["branch", &branch, "--at", name]).ok();
        assert_eq!(numbers(home, &branch), "1", "{name}");
        let then = whole_transactions(home, &branch);
        assert!(then <= has, "{name} has {then} of {has}");
        home.psql(&format!("postgres@{branch}"), "insert into t values (9)").ok();
    }
    assert!(home.nap(&["snapshot", "from-asleep"]).fails_with(1).contains("as the branch"));
    let refused = home.nap(&["snapshot", "asleep"]);
    assert!(refused.fails_with(1).contains("has a snapshot \"asleep\" already"), "{refused:?}");
    assert!(home.nap(&["snapshot", "2026-11-20"]).fails_with(2).contains("is not a snapshot's name"));
    home.nap(&["restore", "main", "--at", "in-use", "--keep-as", "mistake"]).ok();
    assert_eq!((numbers(home, "main"), numbers(home, "mistake")), ("1".into(), String::new()));
    let listed = home.nap(&["ls", "--disk", "--json"]).json();
    for branch in listed.as_array().unwrap() {
        let (own, shared) = (&branch["disk"]["own_bytes"], &branch["disk"]["shared_bytes"]);
        assert!(own.as_u64().unwrap() > 0 && shared.as_u64().unwrap() > 16 << 20, "{branch}");
        assert!(branch["last_used"].is_string(), "{branch}");
    }
    // They stay with the name, so that it can be done again.
    home.psql("postgres@main", "delete from t").ok();
    home.nap(&["restore", "main", "--at", "in-use", "--keep-as", "mistake-again"]).ok();
    assert_eq!(numbers(home, "main"), "1");
    home.nap(&["snapshot", "in-use", "--remove"]).ok();
    let refused = home.nap(&["branch", "never", "--at", "in-use"]);
    assert!(refused.fails_with(1).contains("has no snapshot \"in-use\""), "{refused:?}");
    home.nap(&["branch", "again", "--at", "asleep"]).ok();
    home.nap(&["snapshot", "kept", "--from", "again"]).ok();
    home.nap(&["reset", "again"]).ok();
    let refused = home.nap(&["rm", "again"]);
    assert!(refused.fails_with(1).contains("has snapshots with a name: kept"), "{refused:?}");
    home.nap(&["restore", "again", "--at", "kept", "--keep-as", "reset-again"]).ok();
    assert_eq!(numbers(home, "again"), "1");
    nothing_is_staged(home);
}

/// Where files are copied, what begins a backup's recovery where it must comes along into the snapshot and out of it.
#[test]
fn a_copied_snapshot_recovers_from_where_its_copy_began() {
    let Some(disk) = Disk::ext4(1_024).and_then(on) else { return };
    let home = &disk.home;
    let mut load = Load::on(home, "postgres@main");
    let said = home.nap(&["snapshot", "in-use"]);
    assert!(said.ok().contains("copied "), "its cost is said: {said:?}");
    assert!(load.goes_on());
    drop(load);
    home.nap(&["branch", "then", "--at", "in-use"]).ok();
    whole_transactions(home, "then");
    assert!(home.data("then").join("backup_label.old").exists());
}
