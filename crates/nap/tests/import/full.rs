//! The disk becomes full at every step of an import and of an export.

use nap_testkit::{Disk, Walk};

use super::steps::{filled, home_on, is_restored, is_there, is_whole, known_there, outside, remove};

/// A home on XFS, and what comes: the rest is filled in a moment.
const MEGABYTES: u64 = 500;

#[test]
fn slow_a_disk_is_full_in_the_middle_of_an_import() {
    let Some(disk) = Disk::xfs(MEGABYTES) else { return };
    let home = home_on(&disk);
    let cluster = filled(&home);
    let url = format!("postgresql://boss@127.0.0.1:{}/", cluster.port());
    let failed = Walk {
        home: &home,
        prepare: &mut |_| {},
        command: &["import", "--cluster", &url, "copy"],
        look: &mut |home| is_whole(home, "boss"),
        undo: &mut remove,
    }
    .through_a_full_disk(&disk);
    assert!(failed > 5, "{failed} times");
    cluster.stop("fast");
    let data = cluster.data();
    let failed = Walk {
        home: &home,
        prepare: &mut |_| {},
        command: &["import", data.to_str().unwrap(), "copy"],
        look: &mut |home| is_whole(home, "boss"),
        undo: &mut remove,
    }
    .through_a_full_disk(&disk);
    assert!(failed > 5, "{failed} times");
}

#[test]
fn slow_a_disk_is_full_in_the_middle_of_an_import_of_a_database() {
    let Some(disk) = Disk::xfs(MEGABYTES) else { return };
    let home = home_on(&disk);
    let cluster = filled(&home);
    let url = format!("postgresql://boss@127.0.0.1:{}/postgres", cluster.port());
    let role = known_there(&home, &cluster);
    let failed = Walk {
        home: &home,
        prepare: &mut |_| {},
        command: &["import", &url, "copy"],
        look: &mut |home| is_restored(home, &role),
        undo: &mut remove,
    }
    .through_a_full_disk(&disk);
    assert!(failed > 5, "{failed} times");
}

/// The disk of the destination, too.
#[test]
fn slow_a_disk_is_full_in_the_middle_of_an_export() {
    let Some(disk) = Disk::xfs(MEGABYTES) else { return };
    let home = home_on(&disk);
    let out = outside(&home);
    home.psql("postgres@main", "create table t as select n from generate_series(1, 1000) n").ok();
    home.sleep("main");
    for name in ["there", "t.sql"] {
        let to = out.join(name);
        let failed = Walk {
            home: &home,
            prepare: &mut |_| {},
            command: &["export", "main", to.to_str().unwrap()],
            look: &mut |home| {
                assert_eq!(home.psql("postgres@main", "select count(*) from t").ok(), "1000");
                home.sleep("main");
                is_there(&out, name)
            },
            undo: &mut |_| {
                let _ = std::fs::remove_dir_all(&to);
                let _ = std::fs::remove_file(&to);
            },
        }
        .through_a_full_disk(&disk);
        // A small dump may be written before there is no room for it.
        assert!(failed > 0 || name == "t.sql", "{name}: {failed} times");
    }
}
