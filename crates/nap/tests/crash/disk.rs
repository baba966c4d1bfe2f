//! A disk that is full, and one that is read-only.

use std::process::Command;

use nap_testkit::{Disk, TestHome, eventually, process};

use super::{begin, builder, rows};

/// One way or the other it says that there is no space.
fn says_full(text: &str) -> bool {
    ["No space left on device", "no space is left", "is full"].iter().any(|words| text.contains(words))
}

fn home_on(disk: &Disk) -> TestHome {
    begin(builder().below(&disk.path()).setting("sleep_after", "\"never\""))
}

#[test]
fn a_server_that_cannot_wake_for_want_of_space_says_so_and_wakes_when_there_is_some() {
    let Some(disk) = Disk::ext4(256) else { return };
    let home = home_on(&disk);
    let daemon = home.daemon_pid();
    home.psql("main", "insert into kept select generate_series(1, 1000)").ok();
    let url = home.url("main");
    home.sleep("main");
    for kilobytes in [0, 4, 16, 64] {
        disk.fill_but(kilobytes);
        let said = home.psql_with(&url, "select count(*) from kept");
        // With a few blocks left PostgreSQL may get by.
        match said.code {
            Some(0) => assert_eq!(said.ok(), "1000"),
            _ => assert!(says_full(said.fails_with(2)), "{said}"),
        }
        assert!(said.code != Some(0) || kilobytes > 0, "it cannot have worked without a block: {said}");
        assert_eq!(home.daemon_pid(), daemon, "the daemon goes on");
        disk.free();
        assert_eq!(rows(&home), "1000");
        home.sleep("main");
    }
}

#[tokio::test]
async fn when_the_disk_fills_up_under_a_writer_no_acknowledged_row_is_lost() {
    let Some(disk) = Disk::ext4(256) else { return };
    let home = home_on(&disk);
    let daemon = home.daemon_pid();
    let url = home.url("main");
    home.psql("main", "create table big (number int, filler text)").ok();
    let writer = home.connect("main").await;
    disk.fill_but(4096);
    let mut acknowledged = 0;
    let failed = loop {
        let next = acknowledged + 1;
        let sql =
            format!("insert into big select {next}, string_agg(md5(random()::text), '') from generate_series(1, 8000)");
        match writer.batch_execute(&sql).await {
            Ok(()) => acknowledged = next,
            Err(error) => break error,
        }
        assert!(acknowledged < 10_000, "the disk never filled up");
    };
    // An ERROR of the writer's own, or the end of the whole server (PostgreSQL panics when WAL cannot be written).
    let said = failed.as_db_error().map_or_else(|| home.server_log("main"), ToString::to_string);
    assert!(said.contains("No space left") || said.contains("crash of another"), "{failed:?}: {said}");
    drop(writer);

    disk.fill();
    let full = home.psql_with(
        &url,
        "insert into big select 0, string_agg(md5(random()::text), '') from generate_series(1, 900000)",
    );
    assert!(!full.succeeded(), "{full}");
    // To sleep it must write; whether it can depends on what is left. Either is fine, a hang or a lie is not.
    let sleep = home.nap(&["sleep", "main"]);
    assert!(sleep.succeeded() || !sleep.stderr.is_empty(), "{sleep}");
    assert_eq!(home.daemon_pid(), daemon, "the daemon goes on");

    disk.free();
    let kept = home.psql_with(&url, "select count(distinct number) from big where number > 0");
    let kept: u32 = kept.ok().parse().unwrap();
    assert!(kept == acknowledged || kept == acknowledged + 1, "{acknowledged} were acknowledged, {kept} are there");
    home.psql("main", "insert into kept values (1)").ok();
    home.sleep("main");
    assert_eq!(rows(&home), "1");
    assert!(home.nap(&["logs", "main"]).ok().contains("No space left on device"));
}

#[tokio::test]
async fn when_postgresql_panics_for_want_of_space_for_its_wal_no_acknowledged_row_is_lost() {
    let Some(disk) = Disk::ext4(256) else { return };
    let home = home_on(&disk);
    let (daemon, url) = (home.daemon_pid(), home.url("main"));
    let writer = home.connect("main").await;
    writer.batch_execute("insert into kept values (1); checkpoint").await.unwrap();
    disk.fill();
    let mut acknowledged = 1;
    // Rows that find room in a page there is, and WAL that soon needs another segment.
    let sql = "insert into kept values (1); select pg_logical_emit_message(true, 'nap', repeat('x', 1000000))";
    while writer.batch_execute(sql).await.is_ok() {
        acknowledged += 1;
        assert!(acknowledged < 10_000, "the disk never filled up");
    }
    assert!(acknowledged > 1, "not even one was written");
    // Its log may have had no room for the word PANIC.
    let meanwhile = home.psql_with(&url, "select count(*) from kept");
    assert!(meanwhile.succeeded() || !meanwhile.stderr.contains("starting up"), "{meanwhile}");
    assert_eq!(home.daemon_pid(), daemon, "the daemon goes on");

    disk.free();
    assert_eq!(home.psql_with(&url, "select count(*) from kept").ok(), acknowledged.to_string());
    assert!(home.server_log("main").contains("not properly shut down"), "it did not even crash");
    home.psql("main", "insert into kept values (1)").ok();
    home.sleep("main");
    assert_eq!(rows(&home), (acknowledged + 1).to_string());
}

#[test]
fn on_a_full_disk_even_the_daemon_starts_or_says_why_not() {
    let Some(disk) = Disk::ext4(256) else { return };
    let home = home_on(&disk);
    home.nap(&["down"]).ok();
    disk.fill();
    let up = home.nap(&["up"]);
    assert!(up.succeeded() || says_full(up.fails_with(1)), "{up}");
    disk.free();
    home.up();
    assert_eq!(rows(&home), "0");
}

#[test]
fn a_first_start_that_runs_out_of_space_says_so_and_leaves_nothing_half_made() {
    let Some(disk) = Disk::ext4(256) else { return };
    for megabytes in [1, 20, 60] {
        let home = builder().below(&disk.path()).build();
        disk.fill_but(megabytes << 10);
        let up = home.nap(&["up"]);
        assert!(says_full(up.fails_with(1)), "{megabytes} MB: {up}");
        disk.free();
        home.up();
        assert_eq!(home.psql("main", "select 1").ok(), "1");
    }
}

#[test]
fn a_home_on_a_read_only_file_system_is_an_error_that_says_so() {
    let Some(disk) = Disk::ext4(256) else { return };
    let home = home_on(&disk);
    home.nap(&["down"]).ok();
    eventually("nothing is open for writing", || process::below(&disk.path()).is_empty().then_some(()));
    disk.remount("ro");
    let up = home.nap(&["up"]);
    assert!(up.fails_with(1).to_lowercase().contains("read-only"), "{up}");
    let new = disk.path().join("new");
    let first = nap_testkit::Output::of(Command::new(env!("CARGO_BIN_EXE_nap")).arg("--home").arg(new).arg("up"));
    assert!(first.fails_with(1).to_lowercase().contains("read-only"), "{first}");
    disk.remount("rw");
    home.up();
    assert_eq!(rows(&home), "0");
}
