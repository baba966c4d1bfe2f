//! What `nap pool` does not do: for others than root, for a forged image, in somebody else's place.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use nap_testkit::{Disk, Output, TestHome, as_server_user, eventually};

use super::{OnExt4, system};

#[test]
fn it_takes_root_and_says_how() {
    let Some(home) = OnExt4::with_a_row(512) else { return };
    for arguments in [&["create", "--size", "1G"][..], &["mount"], &["unmount"], &["grow"]] {
        let mut user = as_server_user(home.nap_command(&[]).get_program());
        let refused = Output::of(user.arg("--home").arg(home.path()).arg("pool").args(arguments));
        let hint = format!("sudo nap --home {} pool {}", home.path().display(), arguments[0]);
        assert!(refused.fails_with(1).contains("takes root") && refused.stderr.contains(&hint), "{refused}");
    }
    for arguments in [&["status"][..], &["mount"], &["unmount"], &["grow"]] {
        let none = Output::of(home.nap_command(&["pool"]).args(arguments));
        assert!(none.fails_with(1).contains("has no pool"), "{none}");
    }
    let small = home.nap(&["pool", "create", "--size", "100M"]);
    assert!(small.fails_with(2).contains("at least 512M"), "{small}");
}

#[test]
fn a_file_system_that_can_clone_needs_none() {
    let Some(disk) = Disk::xfs(400) else { return };
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).below(&disk.path()).build();
    let refused = home.nap(&["pool", "create", "--size", "1G"]);
    assert!(refused.fails_with(1).contains("can clone already"), "{refused}");
    assert!(!home.path().join("pool.img").exists());
}

#[test]
fn a_disk_without_room_for_the_copy_and_a_pool_too_small_for_it() {
    let Some(home) = OnExt4::with_a_row(900) else { return };
    let ballast = home.path().join("branches/main/data/ballast");
    std::fs::write(&ballast, vec![7; 420 << 20]).unwrap();
    let before = home.names();
    let small = home.nap(&["pool", "create", "--size", "512M"]);
    assert!(small.fails_with(2).contains("too much for a pool of this size"), "{small}");
    let full = home.nap(&["pool", "create", "--size", "4G"]);
    assert!(full.fails_with(1).contains("too little room for a copy"), "{full}");
    assert_eq!(home.names(), before);
}

#[test]
fn a_program_that_fails_leaves_nothing_behind() {
    let Some(home) = OnExt4::with_a_row(1_024) else { return };
    let before = home.names();
    let place = home.beside().join("bin");
    std::fs::create_dir(&place).unwrap();
    for name in ["mkfs.btrfs", "mount", "setpriv"] {
        let path = place.join(name);
        std::fs::write(&path, "#!/bin/sh\necho no such luck >&2\nexit 1\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut create = home.nap_command(&["pool", "create", "--size", "1G"]);
        let failed = Output::of(create.env("PATH", format!("{}:/usr/sbin:/usr/bin:/bin", place.display())));
        let said = failed.fails_with(1);
        assert!(said.contains(&format!("`{name} ")) && said.contains("no such luck"), "{failed}");
        assert_eq!(home.names(), before, "{name}");
        std::fs::remove_file(path).unwrap();
    }
    home.pool("btrfs", "1G");
}

#[test]
fn a_copy_that_is_not_the_original_is_given_up() {
    let Some(home) = OnExt4::with_a_row(1_024) else { return };
    let before = home.names();
    let place = home.beside().join("bin");
    std::fs::create_dir(&place).unwrap();
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = place.join("cp");
    let spoil = "printf x | dd of=\"$5/main/data/PG_VERSION\" conv=notrunc 2>/dev/null";
    std::fs::write(&path, format!("#!/bin/sh\n/bin/cp \"$@\" || exit 1\n[ -d \"$5/main\" ] || exit 0\n{spoil}\n"))
        .unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut create = home.nap_command(&["pool", "create", "--size", "1G"]);
    let failed = Output::of(create.env("PATH", format!("{}:/usr/sbin:/usr/bin:/bin", place.display())));
    assert!(failed.fails_with(1).contains("main/data/PG_VERSION differs from it"), "{failed}");
    assert_eq!(home.names(), before);
    home.up();
    home.has_its_row();
}

/// The home belongs to a user: whatever lies there may be theirs.
#[test]
fn root_mounts_no_image_that_others_could_have_written_and_covers_nothing_else() {
    let Some(home) = OnExt4::with_a_row(2_048) else { return };
    home.pool("btrfs", "1G");
    home.nap(&["pool", "unmount"]).ok();
    let (image, kept) = (home.path().join("pool.img"), home.beside().join("kept.img"));
    std::fs::rename(&image, &kept).unwrap();
    let forged = home.beside().join("forged.img");
    std::fs::copy(&kept, &forged).unwrap();
    nap_testkit::give_to_server_user(&forged);
    let refused = |what: &str, word: &str| {
        let refused = home.nap(&["pool", "mount"]);
        assert!(refused.fails_with(1).contains(word), "{what}: {refused}");
        assert!(!home.is_mounted());
    };
    std::fs::rename(&forged, &image).unwrap();
    refused("an image of the user's", "could have been changed by others");
    std::fs::remove_file(&image).unwrap();
    symlink(&kept, &image).unwrap();
    refused("a link", "cannot open");
    std::fs::remove_file(&image).unwrap();
    std::fs::rename(&kept, &image).unwrap();
    std::fs::hard_link(&image, &kept).unwrap();
    refused("another name of it", "could have been changed by others");
    std::fs::remove_file(&kept).unwrap();
    std::fs::set_permissions(&image, std::fs::Permissions::from_mode(0o660)).unwrap();
    refused("an image that a group may write", "could have been changed by others");
    std::fs::set_permissions(&image, std::fs::Permissions::from_mode(0o600)).unwrap();

    let (place, elsewhere) = (home.path().join("pool"), home.beside().join("elsewhere"));
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::remove_dir(&place).unwrap();
    symlink(&elsewhere, &place).unwrap();
    refused("a link to another place", "cannot open");
    std::fs::remove_file(&place).unwrap();
    std::fs::create_dir(&place).unwrap();
    refused("a directory that others can enter", "is not the directory");
    std::fs::remove_dir(&place).unwrap();
    home.nap(&["pool", "mount"]).ok();
    home.up();
    home.has_its_row();
}

#[test]
fn another_file_system_in_its_place_and_a_lost_record_are_told() {
    let Some(home) = OnExt4::with_a_row(2_048) else { return };
    home.pool("xfs", "1G");
    home.nap(&["pool", "unmount"]).ok();
    let place = home.path().join("pool").display().to_string();
    system(&["mount", "-t", "tmpfs", "none", &place]);
    let refused = home.nap(&["up"]);
    assert!(refused.fails_with(1).contains("is not the pool of this home"), "{refused}");
    home.nap(&["pool", "mount"]).fails_with(1);
    let unmounted = home.nap(&["pool", "unmount"]);
    assert!(unmounted.fails_with(1).contains("is not the pool of this home"), "{unmounted}");
    system(&["umount", &place]);

    let (record, kept) = (home.path().join("pool.toml"), home.beside().join("pool.toml"));
    std::fs::rename(&record, &kept).unwrap();
    let refused = home.nap(&["up"]);
    assert!(refused.fails_with(1).contains("no record of a pool"), "{refused}");
    let refused = home.nap(&["pool", "create", "--size", "1G"]);
    assert!(refused.fails_with(1).contains("no record of a pool"), "an image is not written over: {refused}");
    std::fs::rename(&kept, &record).unwrap();
    home.nap(&["pool", "mount"]).ok();
    home.up();
    home.has_its_row();
}

#[test]
fn servers_that_a_killed_daemon_left_are_not_moved() {
    let Some(home) = OnExt4::with_a_row(1_024) else { return };
    home.up();
    home.has_its_row();
    home.kill_daemon();
    let refused = home.nap(&["pool", "create", "--size", "1G"]);
    assert!(refused.fails_with(1).contains("a server of branch \"main\" still runs"), "{refused}");
    home.up();
    home.has_its_row();
}

/// Its log says where it is to be made again.
#[test]
fn a_branch_that_made_a_tablespace_and_crashed_recovers_first() {
    let Some(home) = OnExt4::with_a_row(1_024) else { return };
    home.up();
    let place = home.path().join("branches/main/tablespaces/fast");
    std::fs::create_dir(&place).unwrap();
    nap_testkit::give_to_server_user(&place);
    home.psql("postgres@main", &format!("create tablespace fast location '{}'", place.display())).ok();
    home.kill_daemon();
    home.kill_postmaster("main");
    let left = home.path().join("branches");
    eventually("its server is gone", || nap_testkit::process::below(&left).is_empty().then_some(()));
    let before = home.names();
    let refused = home.nap(&["pool", "create", "--size", "1G"]);
    assert!(refused.fails_with(1).contains("branch \"main\" crashed after it had made a tablespace"), "{refused}");
    assert!(refused.stderr.contains("hint: `nap up`, `nap wake main` and `nap down`"), "{refused}");
    assert_eq!(home.names(), before);
    for words in [&["up"][..], &["wake", "main"], &["down"]] {
        home.nap(words).ok();
    }
    home.pool("btrfs", "1G");
    home.up();
    home.has_its_row();
    home.psql("postgres@main", "create table there tablespace fast as select 1").ok();
}

#[test]
fn a_link_to_what_moves_is_named() {
    let Some(home) = OnExt4::with_a_row(1_024) else { return };
    let (elsewhere, link) = (home.path().join("branches/main/elsewhere"), home.path().join("branches/main/data/link"));
    std::fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, &link).unwrap();
    let refused = home.nap(&["pool", "create", "--size", "1G"]);
    assert!(refused.fails_with(1).contains(&format!("{} is a link to", link.display())), "{refused}");
    std::fs::remove_file(&link).unwrap();
    let branches = home.path().join("branches");
    std::fs::rename(&branches, home.beside().join("branches")).unwrap();
    symlink(home.beside().join("branches"), &branches).unwrap();
    let refused = home.nap(&["pool", "create", "--size", "1G"]);
    assert!(refused.fails_with(1).contains("branches is a link to"), "{refused}");
}

#[test]
fn a_lock_that_is_a_link_is_not_followed() {
    let Some(home) = OnExt4::with_a_row(1_024) else { return };
    let precious = home.beside().join("precious");
    std::fs::write(&precious, "kept").unwrap();
    std::fs::remove_file(home.path().join("lock")).unwrap();
    symlink(&precious, home.path().join("lock")).unwrap();
    home.nap(&["pool", "create", "--size", "1G"]).fails_with(1);
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "kept");
    std::fs::remove_file(home.path().join("lock")).unwrap();
}
