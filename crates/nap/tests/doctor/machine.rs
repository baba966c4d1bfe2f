//! What PostgreSQL needs of the machine.

use std::process::Command;

use nap_testkit::{Output, Sandbox, TestHome};

use super::{Report, doctor, doctor_by, home};

fn doctor_on(setup: &str, home: &TestHome) -> Option<Report> {
    let machine = Sandbox::with(setup)?;
    Some(doctor_by(&mut machine.inside(&home.nap_command(&["doctor", "--json"]))))
}

#[test]
fn shared_memory_as_small_as_containers_have_it() {
    let home = home();
    let Some(small) = doctor_on("mount -t tmpfs -o size=64m none /dev/shm", &home) else { return };
    small.finds("shared memory", "warn", "large parallel queries fail", "--shm-size");
    let full = doctor_on("mount -t tmpfs -o size=8m none /dev/shm", &home).unwrap();
    full.finds("shared memory", "fail", "in /dev/shm", "--shm-size");
    let enough = doctor_on("mount -t tmpfs -o size=1g none /dev/shm", &home).unwrap();
    enough.is_well("shared memory");
}

#[test]
fn too_few_files_and_processes() {
    let home = home();
    let with_limit = |limit: &str, arguments: &[&str]| {
        let plain = home.nap_command(arguments);
        let mut command = Command::new("prlimit");
        command.arg(limit).arg("--").arg(plain.get_program()).args(plain.get_args());
        command
    };
    let limited = |limit: &str| doctor_by(&mut with_limit(limit, &["doctor", "--json"]));
    limited("--nofile=100:100").finds("limits", "fail", "only 100 open files", "LimitNOFILE=");
    limited("--nofile=1024:1024").finds("limits", "warn", "too few for 1000 connections", "LimitNOFILE=");
    limited("--nproc=60:60").finds("limits", "warn", "only 60 processes", "TasksMax=");
    // Those of the daemon count, once it is up.
    Output::of(&mut with_limit("--nofile=1024:1024", &["up"])).ok();
    doctor(&home).finds("limits", "warn", "1024 open files are allowed: too few", "LimitNOFILE=");
}

#[test]
fn no_shared_memory_segment_is_left() {
    let home = home();
    let setup = "echo 1 > /proc/sys/kernel/shmmni; ipcmk -M 4096 >/dev/null";
    let Some(used) = doctor_on(setup, &home) else { return };
    used.finds("System V IPC", "fail", "1 of 1 shared memory segments", "ipcrm");
    doctor_on("echo 2 > /proc/sys/kernel/shmmni; ipcmk -M 4096 >/dev/null", &home).unwrap().is_well("System V IPC");
}

#[test]
fn files_from_the_future() {
    let home = home();
    doctor(&home).is_well("clock");
    Output::of(Command::new("touch").args(["-d", "+2 hours"]).arg(home.path().join("nap.toml"))).ok();
    doctor(&home).finds("clock", "warn", "behind the newest file", "timedatectl");
}
