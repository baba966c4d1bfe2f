//! `nap uninstall`: nothing runs any more, and with --purge nothing is left; and nothing of anybody else's goes.

use std::os::unix::fs::{chown, symlink};
use std::process::Command;

use nap_testkit::{Output, TestHome, eventually, is_root, process};

use crate::home;

/// A home with two branches, both awake.
fn busy() -> TestHome {
    let home = home();
    home.up();
    home.nap(&["branch", "feature"]).ok();
    for branch in ["main", "feature"] {
        home.nap(&["set", branch, "sleep_after=never"]).ok();
        home.nap(&["wake", branch]).ok();
    }
    home
}

#[test]
fn without_purge_all_is_stopped_and_the_home_is_as_it_was() {
    let home = busy();
    home.psql("postgres@main", "create table kept as select 7 as n").ok();
    let said = home.nap(&["uninstall"]);
    assert!(said.ok().contains(&format!("remains {}", home.path().display())), "{said}");
    assert!(process::below(&home.path()).is_empty());
    home.nap(&["uninstall"]).ok();
    home.up();
    assert_eq!(home.psql("postgres@main", "select n from kept").ok(), "7");
}

#[test]
fn a_purge_is_confirmed_and_leaves_nothing() {
    let home = busy();
    let asked = home.nap(&["uninstall", "--purge"]);
    assert!(asked.fails_with(2).contains("--yes"), "{asked}");
    assert_eq!(home.psql("main", "select 1").ok(), "1", "nothing was stopped");
    let outside = home.beside().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("precious"), "").unwrap();
    symlink(&outside, home.path().join("branches/main/data/link")).unwrap();
    symlink(&outside, home.path().join("link")).unwrap();
    let socket = home.socket_directory().join(format!(".s.PGSQL.{}", home.port()));
    assert!(socket.exists());
    let said = home.nap(&["uninstall", "--purge", "--yes", "--json"]).json();
    assert_eq!(said["removed"][0], home.path().display().to_string());
    assert!(!home.path().exists() && !socket.exists());
    assert!(outside.join("precious").exists(), "links are not followed");
    assert!(process::below(&home.path()).is_empty());
    home.nap(&["uninstall", "--purge", "--yes"]).ok();
}

#[test]
fn servers_that_a_killed_daemon_left_are_shut_down_first() {
    let home = busy();
    let servers: Vec<i32> = ["main", "feature"].iter().filter_map(|branch| home.server_pid(branch)).collect();
    home.kill_daemon();
    assert!(servers.iter().all(|pid| process::is_alive(*pid)));
    home.nap(&["uninstall"]).ok();
    assert!(servers.iter().all(|pid| !process::is_alive(*pid)));
    for branch in ["main", "feature"] {
        assert!(home.server_log(branch).trim_end().ends_with("database system is shut down"));
    }
    home.nap(&["uninstall", "--purge", "--yes"]).ok();
    assert!(!home.path().exists());
}

#[test]
fn slow_a_purge_that_was_killed_is_gone_on_with() {
    for round in 0..10 {
        let home = home();
        std::fs::write(home.path().join("format"), "1\n").unwrap();
        std::fs::create_dir(home.path().join("trash")).unwrap();
        for number in 0..200 {
            let data = home.path().join(format!("branches/b{number}/data/base"));
            std::fs::create_dir_all(&data).unwrap();
            std::fs::write(data.join("1"), "").unwrap();
        }
        let mut child = home.nap_command(&["uninstall", "--purge", "--yes", "--quiet"]).spawn().unwrap();
        // Somewhere in it: from the moment that it renames the branches to that when it has deleted most.
        let left = || std::fs::read_dir(home.path()).map_or(0, Iterator::count);
        let moved = || !home.path().join("branches").exists();
        eventually("it deletes", || (left() == 0 || moved()).then_some(()));
        for _ in 0..round * 50 {
            std::thread::yield_now();
        }
        process::kill9(child.id() as i32);
        child.wait().unwrap();
        home.nap(&["uninstall", "--purge", "--yes"]).ok();
        assert!(!home.path().exists(), "round {round}");
    }
}

#[test]
fn what_is_no_home_or_somebody_elses_is_left_alone() {
    let home = home();
    let precious = home.beside().join("documents");
    std::fs::create_dir(&precious).unwrap();
    std::fs::write(precious.join("letter"), "").unwrap();
    let nap = home.nap_command(&[]).get_program().to_owned();
    let mut command = Command::new(&nap);
    let said = Output::of(command.arg("--home").arg(&precious).args(["uninstall", "--purge", "--yes"]));
    assert!(said.fails_with(1).contains("is not a home of Napgres"), "{said}");
    assert!(precious.join("letter").exists());

    if !is_root() {
        return;
    }
    home.up();
    home.nap(&["down"]).ok();
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&nap);
    nobody.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent").current_dir("/");
    let said = Output::of(nobody.arg("--home").arg(home.path()).args(["uninstall", "--purge", "--yes"]));
    assert!(said.fails_with(1).contains("belongs to user"), "{said}");
    assert!(home.path().join("branches/main").is_dir());
}

#[test]
fn a_home_behind_a_link_goes_with_its_link_and_a_deep_one_with_its_short_directory() {
    let home = home();
    let deep = home.beside().join("d".repeat(100));
    std::fs::rename(home.path(), &deep).unwrap();
    symlink(&deep, home.path()).unwrap();
    let mut real = Command::new(home.nap_command(&[]).get_program());
    Output::of(real.arg("--home").arg(&deep).arg("up")).ok();
    let short = std::fs::read_link(deep.join("run")).unwrap();
    assert!(short.is_dir());
    home.nap(&["uninstall", "--purge", "--yes"]).ok();
    assert!(!deep.exists() && !short.exists() && home.path().symlink_metadata().is_err());
}

#[test]
fn a_link_in_place_of_the_run_directory_is_not_followed() {
    if !is_root() {
        return;
    }
    let home = home();
    std::fs::write(home.path().join("format"), "1\n").unwrap();
    let roots = home.beside().join("napgres-precious");
    std::fs::create_dir(&roots).unwrap();
    chown(&roots, Some(0), Some(0)).unwrap();
    symlink(&roots, home.path().join("run")).unwrap();
    home.nap(&["uninstall", "--purge", "--yes"]).ok();
    assert!(roots.is_dir() && !home.path().exists());
}

#[test]
fn a_link_in_place_of_the_trash_takes_no_data_out_of_the_home() {
    let home = home();
    home.up();
    home.nap(&["down"]).ok();
    let outside = home.beside().join("outside");
    std::fs::create_dir(&outside).unwrap();
    nap_testkit::give_to_server_user(&outside);
    std::fs::remove_dir(home.path().join("trash")).unwrap();
    symlink(&outside, home.path().join("trash")).unwrap();
    home.nap(&["uninstall", "--purge", "--yes"]).ok();
    assert!(!home.path().exists());
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "all data is gone, and the link's end untouched");
}

#[test]
fn what_is_mounted_inside_is_not_touched() {
    let Some(disk) = nap_testkit::Disk::ext4(64) else { return };
    let home = home();
    home.up();
    home.nap(&["down"]).ok();
    let inside = home.path().join("branches/main/data/mounted");
    std::fs::create_dir(&inside).unwrap();
    let bind = |words: &[&str]| Command::new(words[0]).args(&words[1..]).arg(&inside).status().unwrap().success();
    assert!(bind(&["mount", "--bind", &disk.path().display().to_string()]));
    let said = home.nap(&["uninstall", "--purge", "--yes"]);
    assert!(bind(&["umount"]));
    assert!(said.fails_with(1).contains("is mounted at"), "{said}");
    assert!(home.path().join("branches/main/data/PG_VERSION").exists());
    home.nap(&["uninstall", "--purge", "--yes"]).ok();
}
