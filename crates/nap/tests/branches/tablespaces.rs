//! Tablespaces in a branch's own directory go where it goes, and are nobody else's.

use std::path::PathBuf;

use nap_testkit::{Disk, Output, TestHome, Way, as_server_user, eventually, give_to_server_user};

use super::past::{last_snapshot, sleep_and_leave_a_snapshot};
use super::shown::at;
use super::{Load, OnDisk, on, on_btrfs, on_xfs, pgbench, tell, whole_transactions};

/// Where a branch has its own.
fn place(home: &TestHome, branch: &str) -> PathBuf {
    home.data(branch).parent().unwrap().join("tablespaces")
}

/// As the documentation says it.
fn make(home: &TestHome, branch: &str, name: &str) {
    let target = format!("postgres@{branch}");
    home.psql(&target, &format!("copy (select 'mkdir ../tablespaces/{name}') to program 'sh'")).ok();
    let location = place(home, branch).join(name);
    home.psql(&target, &format!("create tablespace {name} location '{}'", location.display())).ok();
}

/// What is in a branch's table, which lies in a tablespace of its own. Which one, PostgreSQL says.
#[track_caller]
fn told(home: &TestHome, branch: &str) -> String {
    let target = format!("postgres@{branch}");
    let location = home.psql(&target, "select pg_tablespace_location(oid) from pg_tablespace where spcname = 'fast'");
    assert_eq!(location.ok(), place(home, branch).join("fast").display().to_string(), "{branch}");
    home.psql(&target, "select string_agg(said, ',' order by said) from t").ok().to_owned()
}

fn say(home: &TestHome, branch: &str, word: &str) {
    home.psql(&format!("postgres@{branch}"), &format!("insert into t values ('{word}'); checkpoint")).ok();
}

/// Every file of a sleeping branch, those in tablespaces too, as PostgreSQL's own program sees them.
#[track_caller]
fn is_sound(home: &TestHome, branch: &str) {
    home.sleep(branch);
    let mut check = as_server_user(home.install().program("pg_checksums"));
    let checked = Output::of(check.arg("--check").arg("-D").arg(home.data(branch)));
    assert!(checked.ok().contains("Bad checksums:  0"), "{branch}: {checked:?}");
}

/// `main` with a tablespace, a table and an index there, and a database of which it is the default one.
fn with_tablespace(home: &TestHome) {
    make(home, "main", "fast");
    home.psql("postgres@main", "create table t (said text primary key using index tablespace fast) tablespace fast")
        .ok();
    home.psql("postgres@main", "create database inside tablespace fast").ok();
    home.psql("inside@main", "create table own as select 'inside' as said").ok();
    say(home, "main", "main");
}

#[test]
fn a_branch_has_its_own_tablespaces() {
    tell(Disk::ext4(1_024).and_then(on), each_its_own);
}

#[test]
fn a_branch_has_its_own_tablespaces_on_xfs() {
    tell(on_xfs(), each_its_own);
}

#[test]
fn a_branch_has_its_own_tablespaces_on_btrfs() {
    tell(on_btrfs(), each_its_own);
}

fn each_its_own(disk: &OnDisk) {
    let home = &disk.home;
    with_tablespace(home);
    home.sleep("main");
    home.nap(&["branch", "asleep"]).ok();
    say(home, "asleep", "asleep");
    assert_eq!((told(home, "main"), told(home, "asleep")), ("main".into(), "asleep,main".into()));

    // Of one in use.
    say(home, "main", "later");
    let mut session = home.nap_command(&["psql", "postgres@main"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
    use std::io::Write as _;
    let busy = b"begin; insert into t values ('never committed'); select pg_sleep(3600);\n";
    session.stdin.as_mut().unwrap().write_all(busy).unwrap();
    eventually("somebody is at work", || {
        let at_work =
            "select count(*) from pg_stat_activity where query like 'select pg_sleep(3600)%' and state = 'active'";
        (home.psql("postgres@main", at_work).ok() == "1").then_some(())
    });
    let made = home.nap(&["--json", "branch", "busy", "--from", "main"]).json();
    assert_eq!(made["parent_in_use"], true, "{made}");
    home.psql(
        "postgres@main",
        "select pg_terminate_backend(pid) from pg_stat_activity where query like 'select pg_sleep%'",
    )
    .ok();
    drop(session.stdin.take());
    let _ = session.wait();
    assert_eq!(told(home, "busy"), "later,main");
    assert_eq!(home.psql("inside@busy", "select said from own").ok(), "inside");

    // Whatever it is called, and whoever goes.
    home.nap(&["branch", "grandchild", "--from", "busy"]).ok();
    eventually("it is renamed", || home.nap(&["set", "busy", "name=calm"]).succeeded().then_some(()));
    say(home, "calm", "calm");
    assert_eq!((told(home, "calm"), told(home, "grandchild")), ("calm,later,main".into(), "later,main".into()));
    home.nap(&["reset", "grandchild", "--keep-as", "before"]).ok();
    say(home, "before", "before");
    assert_eq!(
        (told(home, "grandchild"), told(home, "before")),
        ("calm,later,main".into(), "before,later,main".into())
    );
    home.nap(&["rm", "calm", "--force", "--keep-children"]).ok();
    assert_eq!(told(home, "grandchild"), "calm,later,main");
    assert_eq!(told(home, "main"), "later,main");
    for branch in ["main", "asleep", "grandchild", "before"] {
        is_sound(home, branch);
    }
    home.nap(&["rm", "asleep"]).ok();
    assert!(!place(home, "asleep").exists());
}

#[test]
fn a_load_in_a_tablespace_is_whole_in_each_branch() {
    tell(Disk::ext4(1_024).and_then(on), load_in_a_tablespace);
}

#[test]
fn a_load_in_a_tablespace_is_whole_in_each_branch_on_xfs() {
    tell(on_xfs(), load_in_a_tablespace);
}

#[test]
fn a_load_in_a_tablespace_is_whole_in_each_branch_on_btrfs() {
    tell(on_btrfs(), load_in_a_tablespace);
}

fn load_in_a_tablespace(disk: &OnDisk) {
    let home = &disk.home;
    make(home, "main", "fast");
    home.psql("postgres@main", "alter role current_user set default_tablespace = fast").ok();
    drop(Load::on(home, "postgres@main"));
    let files =
        "select count(*) > 0 from pg_class join pg_tablespace s on s.oid = reltablespace where spcname = 'fast'";
    assert_eq!(home.psql("postgres@main", files).ok(), "t");
    let mut load = Load::on(home, "postgres@main");
    for number in 0..3 {
        let name = format!("b{number}");
        let before = whole_transactions(home, "main");
        let made = home.nap(&["--json", "branch", &name, "--from", "main"]).json();
        assert_eq!(made["parent_in_use"], true, "{made}");
        assert!(whole_transactions(home, &name) >= before);
        assert!(pgbench(home, &format!("postgres@{name}")).args(["-t", "20"]).output().unwrap().status.success());
        is_sound(home, &name);
        home.nap(&["rm", &name, "--force"]).ok();
    }
    assert!(load.goes_on(), "nobody noticed");
}

#[test]
fn the_past_has_them_too() {
    tell(on_xfs(), past_with_tablespaces);
}

#[test]
fn the_past_has_them_too_on_btrfs() {
    tell(on_btrfs(), past_with_tablespaces);
}

/// Nothing is recovered, and nothing of what the parent writes next is seen.
#[test]
fn a_moment_behind_which_nothing_was_written_is_the_snapshot() {
    tell(on_xfs(), moment_of_the_snapshot);
    tell(on_btrfs(), moment_of_the_snapshot);
}

fn moment_of_the_snapshot(disk: &OnDisk) {
    let home = &disk.home;
    with_tablespace(home);
    sleep_and_leave_a_snapshot(home, "main");
    let made = home.nap(&["--json", "branch", "then", "--at", "-0s"]).json();
    let snapshots = home.nap(&["history", "--json"]).json()["snapshots"].clone();
    assert_eq!(made["lsn"], snapshots.as_array().unwrap().last().unwrap()["lsn"], "{made}");
    // Who only looks is on a standby.
    let looked = at(home, "-0s", "select said, pg_is_in_recovery() from t");
    assert_eq!(looked.ok(), "main|t");
    say(home, "main", "later");
    assert_eq!((told(home, "then"), told(home, "main")), ("main".into(), "later,main".into()));
    say(home, "then", "then");
    is_sound(home, "then");
}

fn past_with_tablespaces(disk: &OnDisk) {
    let home = &disk.home;
    let now = || home.psql("postgres@main", "select pg_current_wal_flush_lsn()").ok().to_owned();
    eventually("its past begins", || last_snapshot(home, "main").map(drop));
    home.psql("postgres@main", "create table before as select 'before' as said").ok();
    let before = now();
    with_tablespace(home);
    let made = now();
    // Its making would be replayed with the parent's path.
    let refused = home.nap(&["branch", "never", "--at", &made]);
    assert!(refused.fails_with(1).contains(&format!("{} was made", place(home, "main").join("fast").display())));
    assert!(refused.stderr.contains("nap sleep"), "{refused:?}");
    home.nap(&["branch", "before", "--at", &before]).ok();
    assert_eq!(home.psql("postgres@before", "select said from before").ok(), "before");
    assert_eq!(home.psql("postgres@before", "select count(*) from pg_tablespace").ok(), "2");

    sleep_and_leave_a_snapshot(home, "main");
    say(home, "main", "second");
    let second = now();
    say(home, "main", "third");
    let third = home.psql("postgres@main", "select clock_timestamp() at time zone 'utc'").ok().replace(' ', "T") + "Z";
    for dropped in ["table t", "database inside", "tablespace fast"] {
        home.psql("postgres@main", &format!("drop {dropped}")).ok();
    }
    for (name, at, expected) in [("second", &second, "main,second"), ("third", &third, "main,second,third")] {
        home.nap(&["branch", name, "--at", at]).ok();
        assert_eq!(told(home, name), expected);
        is_sound(home, name);
    }
    // It is dropped in the log that is replayed: from this one.
    home.nap(&["branch", "dropped", "--at", "-0s"]).ok();
    assert_eq!(home.psql("postgres@dropped", "select count(*) from pg_tablespace").ok(), "2");
    for (name, expected) in [("second", "main,second"), ("third", "main,second,third")] {
        assert_eq!(told(home, name), expected);
    }
    home.nap(&["restore", "main", "--at", &second, "--keep-as", "since"]).ok();
    say(home, "main", "again");
    assert_eq!((told(home, "main"), told(home, "second")), ("again,main,second".into(), "main,second".into()));
    assert_eq!(home.psql("postgres@since", "select count(*) from pg_tablespace").ok(), "2");
    home.nap(&["snapshot", "named"]).ok();
    home.nap(&["branch", "of-named", "--at", "named"]).ok();
    assert_eq!(told(home, "of-named"), "again,main,second");
}

/// As they stand in the log of a crash, too.
#[test]
fn killed_servers_find_theirs_again() {
    let Some(disk) = on_xfs() else { return };
    let home = &disk.home;
    with_tablespace(home);
    home.nap(&["branch", "dev"]).ok();
    say(home, "dev", "dev");
    make(home, "dev", "slow");
    home.psql("postgres@dev", "create table slow tablespace slow as select 'slow' as said").ok();
    assert_eq!(told(home, "main"), "main", "it runs");
    home.kill_postmaster("dev");
    home.kill_daemon();
    home.kill_postmaster("main");
    home.up();
    assert_eq!((told(home, "main"), told(home, "dev")), ("main".into(), "dev,main".into()));
    assert_eq!(home.psql("postgres@dev", "select said from slow").ok(), "slow");
    for branch in ["main", "dev"] {
        is_sound(home, branch);
    }
}

#[test]
fn a_tablespace_elsewhere_is_refused_by_name() {
    let Some(disk) = on_xfs() else { return };
    let home = &disk.home;
    with_tablespace(home);
    let far = home.beside().join("far");
    std::fs::create_dir(&far).unwrap();
    give_to_server_user(&far);
    home.psql("postgres@main", &format!("create tablespace far location '{}'", far.display())).ok();
    let refused = || {
        let refused = home.nap(&["branch", "dev"]);
        assert!(refused.fails_with(1).contains(&far.display().to_string()), "{refused:?}");
        assert!(refused.stderr.contains("branches/NAME/tablespaces"), "{refused:?}");
    };
    refused();
    home.sleep("main");
    refused();
    home.psql("postgres@main", "drop tablespace far").ok();
    home.nap(&["branch", "dev"]).ok();
    assert_eq!(told(home, "dev"), "main");
}

/// PostgreSQL's own programs find tablespaces by whole paths.
#[test]
fn programs_of_postgresql_find_them() {
    let Some(disk) = on_xfs() else { return };
    let home = &disk.home;
    with_tablespace(home);
    home.nap(&["branch", "dev"]).ok();
    let own = place(home, "dev").join("fast");
    let mut globals = home.program("pg_dumpall");
    let globals =
        Output::of(globals.args(["--globals-only", "-l", "postgres@dev", "-d"]).arg(home.url("postgres@dev")));
    assert!(globals.ok().contains(&format!("LOCATION '{}'", own.display())), "{globals:?}");
    let base = tempfile::tempdir_in(home.beside()).unwrap();
    let mut backup = home.program_on(Way::User, "postgres@dev", "pg_basebackup");
    backup.arg("-D").arg(base.path().join("base"));
    let mapping = format!("{}={}", own.display(), base.path().join("fast").display());
    Output::of(backup.args(["--checkpoint=fast", "-T", &mapping])).ok();
    assert!(std::fs::read_dir(base.path().join("fast")).unwrap().count() == 1);
}

/// It is a cluster of its own, wherever it is moved, and comes back as a branch.
#[test]
fn an_exported_branch_takes_them_along() {
    let Some(disk) = on_xfs() else { return };
    let home = &disk.home;
    with_tablespace(home);
    let to = home.beside().join("exported");
    home.nap(&["export", "main", to.to_str().unwrap()]).ok();
    let moved = home.beside().join("moved");
    std::fs::rename(&to, &moved).unwrap();
    let links = std::fs::read_dir(moved.join("pg_tblspc")).unwrap().flatten();
    let real: Vec<_> = links.map(|link| link.path().canonicalize().unwrap()).collect();
    assert_eq!(real, [moved.join("tablespaces/fast").canonicalize().unwrap()]);
    home.nap(&["import", moved.to_str().unwrap(), "come"]).ok();
    say(home, "come", "come");
    assert_eq!((told(home, "come"), told(home, "main")), ("come,main".into(), "main".into()));
    home.nap(&["branch", "dev", "--from", "come"]).ok();
    assert_eq!(told(home, "dev"), "come,main");
    is_sound(home, "come");
}
