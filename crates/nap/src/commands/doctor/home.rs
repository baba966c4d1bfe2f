//! The home: its place, its room, its file system.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nap_store::durable::TEMPORARY_PREFIX;
use nap_store::space::space as room;
use nap_store::{probe_reflink, probe_snapshot};
use nix::unistd::User;
use rustix::fs::{Access, access};

use super::{Finding, Patient};
use crate::command_error::failure_of;
use crate::daemon::privileges;
use crate::lock_holder::lock_holder;
use crate::output::quote::shell;
use crate::output::words;

/// Below this PostgreSQL soon stops for want of room for WAL.
const FREE_LEAST_BYTES: u64 = 256 << 20;
/// Below this a copy of an ordinary cluster may not fit.
const FREE_ENOUGH_BYTES: u64 = 2 << 30;

/// The home, or the nearest directory above it that is there.
fn nearest_directory(patient: &Patient<'_>) -> Option<PathBuf> {
    patient.context.home.root().ancestors().find(|dir| dir.is_dir()).map(Path::to_owned)
}

pub(super) fn place(patient: &Patient<'_>) -> Vec<Finding> {
    let root = patient.context.home.root();
    let Some(nearest) = nearest_directory(patient) else {
        return vec![Finding::fail(format!("{} cannot be reached", root.display()), "choose another: --home")];
    };
    let what = root.display().to_string();
    if let Err(error) = access(&nearest, Access::WRITE_OK | Access::EXEC_OK) {
        let what = format!("{} cannot be written: {error}", nearest.display());
        return vec![Finding::fail(what, "run it as the owner of the home, or choose another home: --home")];
    }
    if let Some(finding) = wrong_owner(patient) {
        return vec![finding];
    }
    if nearest != root {
        return vec![Finding::ok(format!("{what} (not made yet: `nap up` does it)"))];
    }
    vec![Finding::ok(what)]
}

/// Root gives the home to the user that runs the servers, unless it is another's already.
fn wrong_owner(patient: &Patient<'_>) -> Option<Finding> {
    let run_as = &patient.settings.run_as;
    // That there is no such user is another fault.
    User::from_name(run_as).ok().flatten().filter(|user| !user.uid.is_root())?;
    let failure = failure_of(&privileges::owner(patient.context.home.root(), run_as).err()?);
    Some(Finding::fail(failure.message, failure.hint.unwrap_or_default()))
}

/// What others may do to the home, and to the passwords in it.
pub(super) fn modes(patient: &Patient<'_>) -> Vec<Finding> {
    let home = &patient.context.home;
    let open_to = |path: &Path, bits: u32| std::fs::metadata(path).is_ok_and(|found| found.mode() & bits != 0);
    let mut wrong = Vec::new();
    for path in [home.root().to_owned(), home.branches_dir()] {
        if open_to(&path, 0o022) {
            wrong.push((path, "can be changed by others", "go-w"));
        }
    }
    let secrets = std::fs::read_dir(home.secrets_dir()).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in secrets.chain([home.secrets_dir()]) {
        if open_to(&path, 0o077) {
            wrong.push((path, "can be read by others", "go="));
        }
    }
    let finding = |(path, what, mode): (PathBuf, &str, &str)| {
        let cure = format!("chmod {mode} {}", shell(&path.to_string_lossy()));
        Finding::fail(format!("{} {what}", path.display()), cure)
    };
    if wrong.is_empty() && home.root().is_dir() {
        return vec![Finding::ok("nobody else can change it or read its passwords")];
    }
    wrong.into_iter().map(finding).collect()
}

/// A cluster has some 1,000 files.
const INODES_LEAST: u64 = 2_000;

pub(super) fn space(patient: &Patient<'_>) -> Vec<Finding> {
    let Some(nearest) = nearest_directory(patient) else { return Vec::new() };
    let found = match room(&nearest) {
        Ok(found) => found,
        Err(error) => return vec![Finding::warn(format!("cannot be told: {error}"), "look with df")],
    };
    let what = format!("{} free of {}", words::bytes(found.free_bytes), words::bytes(found.total_bytes));
    let cure = "free space there, for instance with `nap rm` of branches no longer needed";
    vec![if found.read_only {
        Finding::fail("the file system is mounted read-only", "remount it read-write, or choose another home: --home")
    } else if inodes_left(&nearest).is_some_and(|left| left < INODES_LEAST) {
        Finding::fail("the file system has hardly an inode left: it can hold no more files", cure)
    } else if found.free_bytes < FREE_LEAST_BYTES {
        Finding::fail(what, cure)
    } else if found.free_bytes < FREE_ENOUGH_BYTES {
        Finding::warn(what, cure)
    } else {
        Finding::ok(what)
    }]
}

/// None: this file system makes them as they are needed.
fn inodes_left(place: &Path) -> Option<u64> {
    rustix::fs::statvfs(place).ok().filter(|stat| stat.f_files > 0).map(|stat| stat.f_favail)
}

/// By the number that the kernel has for it, and what is to be said of it.
const DOUBTFUL_FILE_SYSTEMS: [(i64, &str); 6] = [
    (0x0102_1994, "is tmpfs: everything is gone after the next boot"),
    (0x6969, "is NFS: a server that hangs is a cluster that hangs, and soft mounts lose data"),
    (0xFF53_4D42, "is SMB, which PostgreSQL cannot rely on"),
    (0xFE53_4D42, "is SMB, which PostgreSQL cannot rely on"),
    (0x0102_1997, "is 9p, as on WSL's /mnt/c: fsync and locks cannot be relied on"),
    (0x794C_7630, "is overlayfs, as in a container: it goes with the container"),
];

pub(super) fn file_system(patient: &Patient<'_>) -> Vec<Finding> {
    let Some(nearest) = nearest_directory(patient) else { return Vec::new() };
    let (Ok(stat), Ok(mount)) = (rustix::fs::statfs(&nearest), rustix::fs::statvfs(&nearest)) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    #[allow(clippy::unnecessary_cast, reason = "its type differs from system to system")]
    let kind = stat.f_type as i64 & 0xFFFF_FFFF;
    if let Some((_, what)) = DOUBTFUL_FILE_SYSTEMS.iter().find(|(number, _)| *number == kind) {
        found.push(Finding::warn(format!("{} {what}", nearest.display()), "put the home on a local disk: --home"));
    }
    let own = patient.context.home.postgres_dir();
    if mount.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC) && own.is_dir() {
        let what = format!("it is mounted noexec, so the PostgreSQL in {} cannot run", own.display());
        found.push(Finding::fail(what, "mount -o remount,exec it, or use the system's PostgreSQL"));
    }
    if found.is_empty() {
        found.push(Finding::ok("a local one"));
    }
    found
}

pub(super) fn clones(patient: &Patient<'_>) -> Vec<Finding> {
    let home = &patient.context.home;
    if nap_store::pool::check(home).is_err() {
        // That is another fault.
        return Vec::new();
    }
    let staging = home.staging();
    let place = if staging.is_dir() { Some(staging) } else { nearest_directory(patient) };
    let Some(place) = place.filter(|place| access(place, Access::WRITE_OK | Access::EXEC_OK).is_ok()) else {
        return Vec::new();
    };
    if probe_snapshot(&place) {
        return vec![Finding::ok(
            "by snapshot: a branch shares its blocks with its parent, however fragmented they are",
        )];
    }
    if probe_reflink(&place) {
        return vec![Finding::ok("by reflink: a branch shares its blocks with its parent")];
    }
    let cure = format!(
        "sudo nap --home {} pool create --size 50G (as large as you like); or put the home on btrfs or XFS",
        shell(&home.root().to_string_lossy())
    );
    vec![Finding::warn("by copy: the file system cannot clone, so every branch costs its whole size", cure)]
}

/// What a crash left. The next start sweeps it.
pub(super) fn leftovers(patient: &Patient<'_>) -> Vec<Finding> {
    let home = &patient.context.home;
    // While a daemon works, what is in staging is being made.
    if lock_holder(home).is_some() || !home.root().is_dir() {
        return Vec::new();
    }
    let entries = |dir: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(dir).map(|found| found.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
    };
    let temporary = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(TEMPORARY_PREFIX))
    };
    let mut found = entries(&home.staging());
    found.extend(entries(&home.trash()));
    for dir in [home.root().to_owned(), home.postgres_dir()] {
        found.extend(entries(&dir).into_iter().filter(temporary));
    }
    found.extend(Some(home.control_socket()).filter(|socket| socket.exists()));
    if found.is_empty() {
        return vec![Finding::ok("none")];
    }
    let list: Vec<String> = found.iter().take(10).map(|path| path.display().to_string()).collect();
    let what =
        format!("{} from an earlier daemon: {}", words::count(found.len() as u64, "file", "files"), list.join(", "));
    vec![Finding::warn(what, "none needed: the next `nap up` or `nap pg install` sweeps them")]
}
