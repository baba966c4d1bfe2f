//! The home's place: who owns it, who else can change it, and what it lies on.

use std::os::unix::fs::PermissionsExt as _;

use nap_testkit::{Disk, Output, Sandbox, TestHome, as_server_user, is_root};

use super::{doctor, doctor_by, home};

fn set_mode(path: &std::path::Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_home_that_cannot_be_written_or_is_somebody_elses() {
    let home = home();
    doctor(&home).is_well("home");
    if !is_root() {
        set_mode(&home.path(), 0o500);
        doctor(&home).finds("home", "fail", "cannot be written", "owner of the home");
        return set_mode(&home.path(), 0o700);
    }
    let chown =
        |owner: &str| Output::of(std::process::Command::new("chown").arg(owner).arg(home.path())).ok().to_owned();
    chown("root");
    set_mode(&home.path(), 0o755);
    let mut others = as_server_user(home.nap_command(&[]).get_program());
    others.arg("--home").arg(home.path()).args(["doctor", "--json"]);
    doctor_by(&mut others).finds("home", "fail", "cannot be written", "owner of the home");
    chown("nobody");
    doctor(&home).finds("home", "fail", "belongs to user", "chown -R postgres");
    chown("postgres");
}

#[test]
fn a_home_that_others_can_change() {
    let home = home();
    home.up();
    doctor(&home).is_well("modes");
    set_mode(&home.path(), 0o777);
    doctor(&home).finds("modes", "fail", "can be changed by others", "chmod go-w ");
    set_mode(&home.path(), 0o711);
    let secret = std::fs::read_dir(home.path().join("secrets")).unwrap().next().unwrap().unwrap().path();
    set_mode(&secret, 0o644);
    doctor(&home).finds("modes", "fail", "can be read by others", "chmod go= ");
}

#[test]
fn a_file_system_that_is_full_or_read_only_or_cannot_clone() {
    let Some(disk) = Disk::ext4(300) else { return };
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).below(&disk.path()).build();
    let empty = doctor(&home);
    empty.finds("clones", "warn", "by copy", "XFS");
    empty.is_well("file system");
    disk.fill();
    doctor(&home).finds("space", "fail", "0 bytes free", "nap rm");
    disk.free();
    disk.remount("ro");
    doctor(&home).finds("space", "fail", "read-only", "remount");
    disk.remount("rw");
}

#[test]
fn a_file_system_without_inodes() {
    let home = home();
    let mount = format!("mount -t tmpfs -o size=4g,nr_inodes=50 none {}", home.path().display());
    let Some(machine) = Sandbox::with(&mount) else { return };
    doctor_by(&mut machine.inside(&home.nap_command(&["doctor", "--json"]))).finds("space", "fail", "inode", "nap rm");
}

#[test]
fn a_home_on_memory_and_one_that_may_hold_no_programs() {
    let home = home();
    std::fs::create_dir(home.path().join("postgres")).unwrap();
    let path = home.path().display().to_string();
    let doctor_on = |setup: String| {
        let machine = Sandbox::with(&setup)?;
        Some(doctor_by(&mut machine.inside(&home.nap_command(&["doctor", "--json"]))))
    };
    let Some(on_memory) = doctor_on(format!("mount -t tmpfs none {path}")) else { return };
    on_memory.finds("file system", "warn", "tmpfs: everything is gone", "--home");
    let no_programs = doctor_on(format!("mount --bind {path} {path}; mount -o remount,bind,noexec {path}")).unwrap();
    no_programs.finds("file system", "fail", "noexec", "remount,exec");
}
