//! `nap pool create` is killed, anywhere: the home is whole before it or after it, and the next try goes on.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use nap_testkit::{Output, eventually, process};

use super::OnExt4;

/// Every program that it runs.
const PROGRAMS: [&str; 8] = ["losetup", "mkfs.btrfs", "mount", "umount", "setpriv", "mkdir", "btrfs", "cp"];
/// It runs fewer.
const CALLS_MAX: u32 = 60;

/// Programs in place of the system's: each is the system's own, and at the call of this number it kills who called it.
fn deadly_programs(home: &OnExt4) -> PathBuf {
    let place = home.beside().join("bin");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o755)).unwrap();
    let calls = home.beside().join("calls");
    for name in PROGRAMS {
        let real = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(|dir| PathBuf::from(dir).join(name));
        let real = real.into_iter().find(|path| path.exists()).unwrap();
        // setpriv becomes the caller of cp: who is killed then is its own caller, and it goes too.
        let script = format!(
            "#!/bin/sh\necho >>{calls}\nnumber=$(wc -l <{calls})\nvictim=$PPID\n\
             [ \"$number\" = \"$DIE_BEFORE\" ] && kill -9 $victim && exit 1\n\
             [ \"$number\" = \"$DIE_AFTER\" ] || exec {real} \"$@\"\n\
             {real} \"$@\"\ncode=$?\nkill -9 $victim\nexit $code\n",
            calls = calls.display(),
            real = real.display()
        );
        let path = place.join(name);
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    place
}

#[test]
fn slow_killed_at_any_of_its_programs_nothing_is_lost() {
    let Some(home) = OnExt4::with_a_row(2_048) else { return };
    let programs = deadly_programs(&home);
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", programs.display());
    let before = home.names();
    let calls = home.beside().join("calls");
    let create = |variable: &str, number: u32| {
        std::fs::write(&calls, "").unwrap();
        std::fs::set_permissions(&calls, std::fs::Permissions::from_mode(0o666)).unwrap();
        let mut create = home.nap_command(&["pool", "create", "--size", "1G"]);
        Output::of(create.env("PATH", &path).env(variable, number.to_string()))
    };
    let mut killed = 0;
    'all: for number in 1..CALLS_MAX {
        for variable in ["DIE_BEFORE", "DIE_AFTER"] {
            let made = create(variable, number);
            if made.succeeded() {
                break 'all;
            }
            killed += u32::from(made.code.is_none());
            assert!(!home.path().join("pool.toml").exists(), "{variable} {number}: {made}");
            if variable == "DIE_AFTER" {
                home.up();
                home.has_its_row();
                home.nap(&["down"]).ok();
            }
        }
    }
    assert!(killed > 12, "it was killed {killed} times only");
    home.up();
    home.has_its_row();
    assert_eq!(home.nap(&["branch", "dev", "--json"]).json()["method"], "snapshot");
    let mut expected: Vec<String> = before
        .into_iter()
        .filter(|name| !["branches", "templates", "staging", "trash", "control.sock"].contains(&name.as_str()))
        .chain(["pool", "pool.img", "pool.toml", "control.sock"].map(str::to_owned))
        .collect();
    expected.sort();
    assert_eq!(home.names(), expected, "nothing half-made is left");
}

#[test]
fn killed_while_it_copies_or_removes_the_originals_nothing_is_lost() {
    let Some(home) = OnExt4::with_a_row(2_048) else { return };
    // More than is copied, or deleted, in a moment.
    let ballast = home.path().join("branches/main/data/ballast");
    std::fs::create_dir(&ballast).unwrap();
    for number in 0..3_000 {
        std::fs::write(ballast.join(number.to_string()), [7; 20_000]).unwrap();
    }
    super::system(&["chown", "-R", "postgres", &ballast.display().to_string()]);
    let killed_when = |there: &str| {
        let mut create = home.nap_command(&["pool", "create", "--size", "1G"]).spawn().unwrap();
        let path = home.path().join(there);
        eventually(there, || path.exists().then_some(()));
        process::kill9(create.id() as i32);
        create.wait().unwrap();
    };
    for there in ["pool.making", "pool.img", "pool/branches", "pool/branches/main/data/ballast/7"] {
        killed_when(there);
        assert!(!home.path().join("pool.toml").exists() && ballast.join("2999").exists(), "{there}");
        home.up();
        home.has_its_row();
        let doctor = home.nap(&["doctor"]);
        assert!(doctor.stdout.contains("was interrupted"), "{doctor}");
        home.nap(&["down"]).ok();
    }
    killed_when("pool.toml");
    assert!(home.path().join("branches").exists(), "it was killed too late for this test");
    home.up();
    home.has_its_row();
    assert!(home.nap(&["doctor"]).stdout.contains("left of the move"));
    home.nap(&["down"]).ok();
    let again = home.nap(&["pool", "create", "--size", "1G"]);
    again.ok();
    assert!(again.stderr.contains("removed what was left"), "{again}");
    assert!(!home.path().join("branches").exists());
    home.up();
    home.has_its_row();
    assert_eq!(std::fs::read_dir(home.data("main").join("ballast")).unwrap().count(), 3_000);
}
