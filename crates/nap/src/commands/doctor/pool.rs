//! The pool of the home, if it has one.

use nap_store::pool::{PoolRecord, Progress, check_mounted, progress, usage};

use super::{Finding, Patient};
use crate::command_error::failure_of_store;
use crate::output::words;
use crate::pool_health::complaints;

pub(super) fn pool(patient: &Patient<'_>) -> Vec<Finding> {
    let failed = |error: &nap_store::StoreError| {
        let failure = failure_of_store(error);
        vec![Finding::fail(failure.to_string(), failure.hint.unwrap_or_default())]
    };
    match progress(&patient.context.home) {
        Ok(Progress::None) => Vec::new(),
        Ok(Progress::HalfMade) => {
            let what = "a `nap pool create` was interrupted: the branches are where they were";
            vec![Finding::warn(what, "the same command again, as root, sweeps it and makes the pool")]
        }
        Ok(Progress::Whole(record)) => room(patient, &record).unwrap_or_else(|error| failed(&error)),
        Err(error) => failed(&error),
    }
}

fn room(patient: &Patient<'_>, record: &PoolRecord) -> Result<Vec<Finding>, nap_store::StoreError> {
    let home = &patient.context.home;
    check_mounted(home, record)?;
    let usage = usage(home)?;
    let mut found = Vec::new();
    for complaint in complaints(&usage) {
        let make = if complaint.kind.is_urgent() { Finding::fail } else { Finding::warn };
        found.push(make(complaint.what, complaint.cure.to_owned()));
    }
    let left: Vec<String> = ["branches", "templates", "staging", "trash"]
        .map(|name| home.root().join(name))
        .into_iter()
        .filter(|path| path.symlink_metadata().is_ok())
        .map(|path| path.display().to_string())
        .collect();
    if !left.is_empty() {
        let what = format!("left of the move into it: {}", left.join(", "));
        found.push(Finding::warn(what, "`nap pool create` once more, as root, removes it"));
    }
    if found.is_empty() {
        let (kind, size) = (record.filesystem.name(), words::bytes(usage.size_bytes));
        let free = words::bytes(usage.free_bytes);
        found.push(Finding::ok(format!("{kind}, {size}, {free} free; the disk below can hold all of it")));
    }
    Ok(found)
}
