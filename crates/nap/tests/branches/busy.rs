//! A parent in use stays so, and its branch has what was committed, whole.

use std::process::Command;

use nap_testkit::{Output, TestHome, eventually, process};

use super::{Load, builder, on_btrfs, on_xfs, runs, subvolumes, whole_transactions};

/// Branches of a parent under load, one after the other.
fn branches_of_a_busy_parent(home: &TestHome, method: &str, count: usize) {
    let mut load = Load::on(home, "postgres@main");
    let mut last = 0;
    for number in 0..count {
        let name = format!("b{number}");
        let before = whole_transactions(home, "main");
        let made = home.nap(&["--json", "branch", &name, "--from", "main"]).json();
        assert_eq!((made["method"].as_str(), made["parent_in_use"].as_bool()), (Some(method), Some(true)), "{made}");
        assert!(made["pause_us"].as_u64().unwrap() > 0, "it stood still: {made}");
        assert!(runs(home, "main"));
        let has = whole_transactions(home, &name);
        assert!(has >= before && has >= last, "{name} has {has}, and {before} were acknowledged before it was made");
        last = has;
        begins_at(home, &name, made["lsn"].as_str().unwrap());
        home.nap(&["rm", &name, "--force"]).ok();
    }
    assert!(load.goes_on(), "nobody noticed");
}

/// The first record that the branch wrote itself stands at this place: there its recovery ended. PostgreSQL's own program
/// says so.
fn begins_at(home: &TestHome, branch: &str, lsn: &str) {
    let data = home.data(branch);
    let mut dump = Command::new(home.install().program("pg_waldump"));
    dump.arg("-p").arg(data.join("pg_wal")).args(["-n", "1", "-s", lsn]);
    let first = Output::of(&mut dump);
    // Or that a record which begins there has no end.
    if first.ok().contains(&format!("OVERWRITE_CONTRECORD lsn {lsn};")) {
        return;
    }
    assert!(first.ok().contains("CHECKPOINT_SHUTDOWN") || first.ok().contains("END_OF_RECOVERY"), "{first:?}");
    // Behind a segment's end the next one's first page begins with a header.
    let is_aligned = lsn.ends_with("000000");
    assert!(is_aligned || !first.stderr.contains("first record is after"), "{first:?}");
}

#[test]
fn a_clone_of_a_busy_parent_is_whole() {
    let Some(disk) = on_xfs() else { return };
    branches_of_a_busy_parent(&disk.home, "reflink", 8);
}

/// One call, and its parent has stood still for no longer than that takes.
#[test]
fn a_snapshot_of_a_busy_parent_is_whole() {
    let Some(disk) = on_btrfs() else { return };
    branches_of_a_busy_parent(&disk.home, "snapshot", 8);
    eventually("nothing is left of them", || (subvolumes(&disk).len() == 1).then_some(()));
}

/// So many files that cloning them takes its time, and so little memory that pages are written all the time: files of different
/// moments would not fit together.
#[test]
fn a_clone_is_of_one_moment() {
    let Some(disk) = on_xfs() else { return };
    let home = &disk.home;
    home.psql("postgres@main", "alter system set shared_buffers = '1MB'").ok();
    home.psql("postgres@main", "alter system set max_connections = 20").ok();
    home.nap(&["restart", "main"]).ok();
    let tables = "do $$ begin for n in 1..3000 loop execute format('create table many.t%s (n int primary key)', n); if n % 100 = 0 then commit; end if; end loop; end $$";
    home.psql("postgres@main", "create schema many").ok();
    home.psql("postgres@main", tables).ok();
    let load = Load::on(home, "postgres@main");
    let mut branch = home.nap_command(&["branch", "seen"]).spawn().unwrap();
    let mut stood_still = false;
    while branch.try_wait().unwrap().is_none() {
        let processes = home.server_processes("main");
        stood_still |= processes.len() > 4 && processes.iter().all(|pid| process::state(*pid) == Some('T'));
    }
    assert!(stood_still, "its files were cloned while it ran");
    drop(load);
    branches_of_a_busy_parent(home, "reflink", 4);
}

#[test]
fn a_copy_of_a_busy_parent_is_whole() {
    let home = builder().build();
    home.up();
    if home.nap(&["--json", "branch", "probe"]).json()["method"] != "copy" {
        // This machine's /tmp can clone: nothing is copied there.
        return;
    }
    let mut load = Load::on(&home, "postgres@main");
    for number in 0..3 {
        let name = format!("b{number}");
        let before = whole_transactions(&home, "main");
        let made = home.nap(&["--json", "branch", &name]).json();
        assert_eq!(made["parent_in_use"], true, "{made}");
        assert!(made["pause_us"].is_null(), "it did not stand still: {made}");
        assert!(whole_transactions(&home, &name) >= before);
        begins_at(&home, &name, made["lsn"].as_str().unwrap());
        home.nap(&["rm", &name, "--force"]).ok();
    }
    assert!(load.goes_on(), "nobody noticed");
    assert_eq!(home.psql("postgres@main", "select count(*) from pg_replication_slots").ok(), "0");
}

#[test]
fn a_branch_of_a_pinned_parent_has_not_what_is_under_way() {
    let Some(disk) = on_xfs() else { return };
    let home = &disk.home;
    home.psql("postgres@main", "create table t (n int); insert into t values (1)").ok();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let session = home.connect("postgres@main").await;
        session.batch_execute("begin; insert into t values (2)").await.unwrap();
        home.nap(&["branch", "dev"]).ok();
        assert_eq!(home.psql("postgres@dev", "select string_agg(n::text, ',') from t").ok(), "1");
        session.batch_execute("commit").await.unwrap();
    });
    assert_eq!(home.psql("postgres@main", "select string_agg(n::text, ',' order by n) from t").ok(), "1,2");
    assert_eq!(home.psql("postgres@dev", "select string_agg(n::text, ',') from t").ok(), "1");
}

/// To let the parent go on for one must not let it go on under the other.
#[test]
fn two_branches_at_once_are_both_whole() {
    let Some(disk) = on_xfs() else { return };
    let home = &disk.home;
    let load = Load::on(home, "postgres@main");
    for _ in 0..4 {
        let before = whole_transactions(home, "main");
        let begin = |name| home.nap_command(&["branch", name]).spawn().unwrap();
        for mut branch in ["one", "two"].map(begin) {
            assert!(branch.wait().unwrap().success());
        }
        for name in ["one", "two"] {
            assert!(whole_transactions(home, name) >= before);
            home.nap(&["rm", name, "--force"]).ok();
        }
        assert!(runs(home, "main"));
    }
    drop(load);
}
