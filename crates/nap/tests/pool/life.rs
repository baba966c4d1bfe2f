//! From ext4 into a pool, and what a home in a pool can do.

use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use nap_testkit::{DEADLINE, eventually, eventually_within, process};

use super::{KINDS, OnExt4, system};

fn snapshots(home: &OnExt4) -> usize {
    home.nap(&["history", "--json"]).json()["snapshots"].as_array().unwrap().len()
}

#[test]
fn branches_move_into_the_pool_and_are_cloned_from_then_on() {
    for kind in KINDS {
        let Some(home) = OnExt4::new(3_072) else { return };
        home.up();
        home.psql("postgres@main", "copy (select 'mkdir ../tablespaces/fast') to program 'sh'").ok();
        let place = home.path().join("branches/main/tablespaces/fast");
        home.psql("postgres@main", &format!("create tablespace fast location '{}'", place.display())).ok();
        home.psql("postgres@main", "create table t tablespace fast as select 1 as n").ok();
        home.nap(&["branch", "dev"]).ok();
        home.psql("postgres@dev", "update t set n = 2").ok();
        let copied = home.nap(&["branch", "copy", "--json"]).json();
        assert_eq!(copied["method"], "copy");
        let refused = home.nap(&["pool", "create", "--size", "2G"]);
        assert!(refused.fails_with(1).contains("in use by another daemon"), "{refused}");
        home.nap(&["down"]).ok();

        let made = home.pool(kind, "2G");
        assert!(made.ok().contains("with 3 branches") && made.ok().contains("root's crontab"), "{made}");
        for name in ["branches", "templates", "staging", "trash", "pool.making"] {
            assert!(!home.path().join(name).exists(), "{name}");
        }
        let owner = std::fs::metadata(home.path()).unwrap().uid();
        let place = home.path().join("pool").display().to_string();
        let others = system(&["find", &place, "!", "-uid", &owner.to_string()]);
        assert_eq!(others, "", "all of it is the owner's");
        assert_eq!(std::fs::metadata(home.path().join("pool.img")).unwrap().mode() & 0o7777, 0o600);

        home.up();
        home.has_its_row();
        let location = "select pg_tablespace_location(oid) from pg_tablespace where spcname = 'fast'";
        let own = home.path().join("pool/branches/main/tablespaces/fast");
        assert_eq!(home.psql("postgres@main", location).ok(), own.display().to_string());
        assert_eq!(home.psql("postgres@dev", "select n from t").ok(), "2");
        home.nap(&["set", "main", "sleep_after=never"]).ok();
        let cloned = home.nap(&["branch", "clone", "--json"]).json();
        let method = if kind == "btrfs" { "snapshot" } else { "reflink" };
        assert_eq!(cloned["method"], method, "of a parent in use");
        assert!(cloned["pause_us"].as_u64().is_some());
        home.sleep("main");
        eventually("history is kept", || (snapshots(&home) == 1).then_some(()));
        let before = home.psql("postgres@main", "select pg_current_wal_lsn()").ok().to_owned();
        home.psql("postgres@main", "update t set n = 3").ok();
        home.nap(&["branch", "past", "--at", &before]).ok();
        assert_eq!(home.psql("postgres@past", "select n from t").ok(), "1");
        let report = home.pool_status();
        assert_eq!((&report["filesystem"], &report["is_mounted"]), (&kind.into(), &true.into()));
        assert_eq!(report["usage"]["size_bytes"], 2_u64 << 30);
        assert!(report["usage"]["image_bytes"].as_u64().unwrap() < 1 << 30, "it is sparse: {report}");
        let doctor = home.nap(&["doctor"]);
        assert!(doctor.stdout.contains("clones: by "), "{doctor}");
        assert!(doctor.stdout.contains(&format!("pool: {kind}")), "{doctor}");
        assert!(home.nap(&["status"]).ok().lines().any(|line| line.starts_with("pool ")));

        home.nap(&["down"]).ok();
        let again = home.nap(&["pool", "create", "--size", "2G"]);
        assert!(again.fails_with(1).contains("has a pool already"), "{again}");
        home.up();
        assert_eq!(home.psql("postgres@main", "select n from t").ok(), "3");
    }
}

#[test]
fn a_pool_that_is_not_mounted_is_no_empty_home() {
    let Some(home) = OnExt4::with_a_row(2_048) else { return };
    home.pool("xfs", "1G");
    home.nap(&["pool", "unmount"]).ok();
    let before = home.names();
    for arguments in [&["up"][..], &["up", "--foreground"], &["ls"], &["branch", "x"], &["psql"], &["config", "check"]]
    {
        let refused = home.nap(arguments);
        assert!(refused.fails_with(1).contains("is not mounted"), "{arguments:?}: {refused}");
        assert!(refused.stderr.contains("pool mount"), "{refused}");
    }
    assert_eq!(home.pool_status()["is_mounted"], false);
    home.nap(&["pool", "grow", "--if-needed"]).ok();
    home.nap(&["pool", "grow"]).fails_with(1);
    let doctor = home.nap(&["doctor"]);
    assert!(doctor.stdout.contains("FAIL  pool: "), "{doctor}");
    assert!(!doctor.stdout.contains("clones"), "{doctor}");
    let mut write = nap_testkit::as_server_user("touch");
    assert!(!write.arg(home.path().join("pool/x")).status().unwrap().success(), "nothing can come to lie there");
    assert_eq!(home.names(), before);
    assert_eq!(std::fs::read_dir(home.path().join("pool")).unwrap().count(), 0);

    assert_eq!(home.nap(&["pool", "mount"]).ok(), "mounted");
    assert_eq!(home.nap(&["pool", "mount"]).ok(), "it is mounted already");
    home.up();
    home.has_its_row();
    let busy = home.nap(&["pool", "unmount"]);
    assert!(busy.fails_with(1).contains("down` first"), "{busy}");
    home.has_its_row();
}

#[test]
fn it_grows_while_servers_write() {
    for kind in KINDS {
        let Some(home) = OnExt4::with_a_row(4_096) else { return };
        home.pool(kind, "1G");
        home.up();
        let mut writer = home.program("psql");
        let loops = "do $$ begin for i in 1..100000 loop insert into t values (i); commit; end loop; end $$";
        let mut writer = writer.args(["-Xq", "-c", loops]).arg(home.url("postgres@main")).spawn().unwrap();
        eventually("it writes", || (home.psql("postgres@main", "select max(n) > 10 from t").ok() == "t").then_some(()));
        assert!(home.nap(&["pool", "grow", "--if-needed"]).ok().starts_with("not needed"));
        home.nap(&["pool", "grow"]).ok();
        let usage = home.pool_status()["usage"].clone();
        assert_eq!(usage["size_bytes"], 3_u64 << 29, "half as much again");
        assert!(usage["free_bytes"].as_u64().unwrap() > 1 << 30, "{usage}");
        home.nap(&["pool", "grow", "--size", "2G"]).ok();
        let shrunk = home.nap(&["pool", "grow", "--size", "1G"]);
        assert!(shrunk.fails_with(2).contains("cannot shrink"), "{shrunk}");
        assert!(process::is_alive(writer.id() as i32), "nobody was disturbed");
        process::kill9(writer.id() as i32);
        writer.wait().unwrap();
        home.nap(&["down"]).ok();
        home.nap(&["pool", "unmount"]).ok();
        home.nap(&["pool", "mount"]).ok();
        assert_eq!(home.pool_status()["usage"]["size_bytes"], 2_u64 << 30);
        home.up();
        assert_eq!(home.psql("postgres@main", "select count(*) > 10 from t").ok(), "t");
    }
}

fn gives_back(kind: &str, within: Duration) {
    let Some(home) = OnExt4::with_a_row(2_048) else { return };
    home.pool(kind, "1G");
    home.up();
    home.nap(&["branch", "big"]).ok();
    let sql = "create table big as select repeat(md5(i::text), 30) from generate_series(1, 200000) i; checkpoint";
    home.psql("postgres@big", sql).ok();
    system(&["sync", "-f", &home.path().join("pool").display().to_string()]);
    let taken = |home: &OnExt4| home.pool_status()["usage"]["image_bytes"].as_u64().unwrap();
    let before = taken(&home);
    home.nap(&["rm", "big", "--force"]).ok();
    eventually_within(within, "its blocks are given back", || {
        system(&["sync", "-f", &home.path().join("pool").display().to_string()]);
        (taken(&home) + (150 << 20) < before).then_some(())
    });
}

#[test]
fn what_is_deleted_is_given_back_to_the_disk_below() {
    gives_back("xfs", DEADLINE);
}

/// The kernel waits two minutes before it discards what btrfs has freed.
#[test]
fn slow_what_is_deleted_is_given_back_by_btrfs_too() {
    gives_back("btrfs", Duration::from_secs(240));
}

#[test]
fn a_home_that_is_not_made_yet_begins_in_a_pool() {
    let Some(home) = OnExt4::new(2_048) else { return };
    home.pool("btrfs", "1G");
    home.up();
    home.psql("postgres@main", "select 1").ok();
    assert!(home.path().join("pool/branches/main").is_dir() && !home.path().join("branches").exists());
    assert_eq!(home.nap(&["branch", "dev", "--json"]).json()["method"], "snapshot");
}

#[test]
fn a_purge_takes_the_pool_along() {
    let Some(home) = OnExt4::with_a_row(2_048) else { return };
    home.pool("btrfs", "1G");
    home.up();
    home.has_its_row();
    let mut user = nap_testkit::as_server_user(home.nap_command(&[]).get_program());
    user.arg("--home").arg(home.path()).args(["uninstall", "--purge", "--yes"]);
    let refused = nap_testkit::Output::of(&mut user);
    assert!(refused.fails_with(1).contains("only root can undo"), "{refused}");
    home.has_its_row();
    home.nap(&["uninstall"]).ok();
    assert!(!home.is_mounted(), "nothing of it is left in the kernel");
    let asked = home.nap(&["uninstall", "--purge"]);
    assert!(asked.fails_with(2).contains("all data in its pool"), "{asked}");
    assert!(home.nap(&["up"]).fails_with(1).contains("is not mounted"));
    home.nap(&["pool", "mount"]).ok();
    home.up();
    home.has_its_row();
    home.nap(&["uninstall", "--purge", "--yes"]).ok();
    assert!(!home.path().exists());
    assert!(!system(&["losetup", "--list"]).contains(&home.path().display().to_string()));
}
