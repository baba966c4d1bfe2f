//! The home: its place, its room, its file system.

use std::path::{Path, PathBuf};

use nap_store::durable::TEMPORARY_PREFIX;
use nap_store::probe_reflink;
use nap_store::space::space as room;
use rustix::fs::{Access, access};

use super::{Finding, Patient};
use crate::lock_holder::lock_holder;
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
    const NAME: &str = "home";
    let root = patient.context.home.root();
    let Some(nearest) = nearest_directory(patient) else {
        return vec![Finding::fail(NAME, format!("{} cannot be reached", root.display()), "choose another: --home")];
    };
    let what = root.display().to_string();
    if let Err(error) = access(&nearest, Access::WRITE_OK | Access::EXEC_OK) {
        let what = format!("{} cannot be written: {error}", nearest.display());
        return vec![Finding::fail(NAME, what, "run it as the owner of the home, or choose another home: --home")];
    }
    if nearest != root {
        return vec![Finding::ok(NAME, format!("{what} (not made yet: `nap up` does it)"))];
    }
    vec![Finding::ok(NAME, what)]
}

pub(super) fn space(patient: &Patient<'_>) -> Vec<Finding> {
    const NAME: &str = "space";
    let Some(nearest) = nearest_directory(patient) else { return Vec::new() };
    let found = match room(&nearest) {
        Ok(found) => found,
        Err(error) => return vec![Finding::warn(NAME, format!("cannot be told: {error}"), "look with df")],
    };
    let what = format!("{} free of {}", words::bytes(found.free_bytes), words::bytes(found.total_bytes));
    let cure = "free space there, for instance with `nap rm` of branches no longer needed";
    vec![if found.read_only {
        Finding::fail(
            NAME,
            "the file system is mounted read-only",
            "remount it read-write, or choose another home: --home",
        )
    } else if found.free_bytes < FREE_LEAST_BYTES {
        Finding::fail(NAME, what, cure)
    } else if found.free_bytes < FREE_ENOUGH_BYTES {
        Finding::warn(NAME, what, cure)
    } else {
        Finding::ok(NAME, what)
    }]
}

pub(super) fn clones(patient: &Patient<'_>) -> Vec<Finding> {
    const NAME: &str = "clones";
    let staging = patient.context.home.staging();
    let place = if staging.is_dir() { Some(staging) } else { nearest_directory(patient) };
    let Some(place) = place.filter(|place| access(place, Access::WRITE_OK | Access::EXEC_OK).is_ok()) else {
        return Vec::new();
    };
    if probe_reflink(&place) {
        return vec![Finding::ok(NAME, "by reflink: a branch shares its blocks with its parent")];
    }
    let cure = "put the home on btrfs, or on XFS with reflink=1 (its default)";
    vec![Finding::warn(NAME, "by copy: the file system cannot clone, so every branch costs its whole size", cure)]
}

/// What a crash left. The next start sweeps it.
pub(super) fn leftovers(patient: &Patient<'_>) -> Vec<Finding> {
    const NAME: &str = "leftovers";
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
    found.extend(entries(home.root()).into_iter().filter(temporary));
    found.extend(Some(home.control_socket()).filter(|socket| socket.exists()));
    if found.is_empty() {
        return vec![Finding::ok(NAME, "none")];
    }
    let list: Vec<String> = found.iter().take(10).map(|path| path.display().to_string()).collect();
    let what =
        format!("{} from an earlier daemon: {}", words::count(found.len() as u64, "file", "files"), list.join(", "));
    vec![Finding::warn(NAME, what, "none needed: the next `nap up` sweeps them")]
}
