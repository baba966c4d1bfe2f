//! A pool that is full, and a disk below that is: what was acknowledged is there when there is room again.

use nap_testkit::eventually;

use super::OnExt4;

/// Its rows are kept as they are, uncompressed.
const TABLE: &str = "create table big (number int, filler text); alter table big alter filler set storage external";
const ROW_BYTES: i32 = 240_000 * 32;
const ROW: &str = "insert into big values ($1, repeat(md5(random()::text), 240000))";

/// Writes until it cannot, and says how many rows were acknowledged, and why there are no more.
async fn write_until_it_fails(home: &OnExt4) -> (i32, String) {
    let writer = home.connect("postgres@main").await;
    writer.batch_execute(TABLE).await.unwrap();
    let mut acknowledged = 0;
    loop {
        match writer.execute(ROW, &[&(acknowledged + 1)]).await {
            Ok(_) => acknowledged += 1,
            Err(error) => {
                let said = error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string);
                return (acknowledged, said);
            }
        }
        assert!(acknowledged < 100_000, "it never filled up");
    }
}

/// Takes what room there is left in the pool.
fn fill(home: &OnExt4) -> std::path::PathBuf {
    use std::io::Write as _;
    let filler = home.path().join("pool/filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while file.write_all(&[7; 64 << 10]).is_ok() {}
    let _ = file.sync_all();
    filler
}

#[track_caller]
fn has_all(home: &OnExt4, acknowledged: i32) {
    let sql = "select count(distinct number), max(number), min(length(filler)) from big";
    let kept = home.psql("postgres@main", sql).ok().to_owned();
    let numbers: Vec<i32> = kept.split('|').map(|number| number.parse().unwrap()).collect();
    assert!(numbers[0] == acknowledged || numbers[0] == acknowledged + 1, "{acknowledged} were acknowledged: {kept}");
    assert_eq!((numbers[0], numbers[2]), (numbers[1], ROW_BYTES), "{kept}");
}

async fn a_full_pool(kind: &str) {
    let Some(home) = OnExt4::with_a_row(3_072) else { return };
    home.pool(kind, "768M");
    home.up();
    let (acknowledged, said) = write_until_it_fails(&home).await;
    assert!(acknowledged > 10, "{said}");
    // A server that panicked may have recovered by now, and given back some of its log.
    let filler = fill(&home);
    eventually("the daemon warns", || home.daemon_log().contains("% full").then_some(()));
    let refused = home.nap(&["branch", "dev"]);
    assert!(refused.fails_with(1).contains("no space is left for a branch"), "{refused}");
    assert!(refused.stderr.contains("nap pool grow"), "{refused}");
    let doctor = home.nap(&["doctor"]);
    assert!(doctor.stdout.contains("FAIL  pool: the pool is"), "{doctor}");
    assert!(home.nap(&["status"]).ok().contains("% full"));
    home.nap(&["pool", "grow", "--if-needed"]).ok();
    std::fs::remove_file(filler).unwrap();
    has_all(&home, acknowledged);
    home.psql("postgres@main", "insert into t values (2)").ok();
    home.nap(&["branch", "dev"]).ok();
    assert_eq!(home.nap(&["pool", "status"]).ok().matches("warning").count(), 0);
}

async fn a_full_disk_below(kind: &str) {
    let Some(home) = OnExt4::with_a_row(3_072) else { return };
    // More than what the file system in the pool may still have to write then: all that had been written to it.
    let ballast = home.beside().join("ballast");
    let file = std::fs::File::create(&ballast).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 2_136 << 20).unwrap();
    drop(file);
    let made = home.pool(kind, "4G");
    assert!(made.stderr.contains("less than the 4096 MB of the pool"), "{made}");
    home.up();
    let (acknowledged, said) = write_until_it_fails(&home).await;
    assert!(acknowledged > 10, "{said}");
    home.disk.fill();
    let status = home.nap(&["pool", "status"]);
    assert!(status.stdout.contains("the disk below the pool is full") || !status.succeeded(), "{status}");
    let doctor = home.nap(&["doctor"]);
    assert!(doctor.stdout.contains("FAIL  pool: "), "{doctor}");
    home.nap(&["branch", "dev"]).fails_with(1);
    std::fs::remove_file(&ballast).unwrap();
    home.disk.free();
    home.nap(&["down"]).ok();
    home.nap(&["pool", "mount"]).ok();
    home.nap(&["up"]).ok();
    // XFS takes its time after that.
    let answers = || home.psql("postgres@main", "select 1").succeeded().then_some(());
    nap_testkit::eventually_within(std::time::Duration::from_secs(180), "it has recovered", answers);
    has_all(&home, acknowledged);
}

#[tokio::test]
async fn slow_a_full_pool_with_btrfs_is_told_of_and_nothing_is_lost() {
    a_full_pool("btrfs").await;
}

#[tokio::test]
async fn slow_a_full_pool_with_xfs_is_told_of_and_nothing_is_lost() {
    a_full_pool("xfs").await;
}

#[tokio::test]
async fn slow_a_full_disk_below_btrfs_is_told_of_and_nothing_is_lost() {
    a_full_disk_below("btrfs").await;
}

#[tokio::test]
async fn slow_a_full_disk_below_xfs_is_told_of_and_nothing_is_lost() {
    a_full_disk_below("xfs").await;
}
