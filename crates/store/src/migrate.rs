//! Brings a home of an older layout to today's, step by step, after a copy of its small files.
//!
//! A kill at any moment leaves a home that the next start goes on with: the copy is there before the first step, each
//! step may run twice, and the number in `format` says which ones are done.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::create::{FORMAT, read_format_up_to, write_format};
use crate::durable;
use crate::error::StoreError;
use crate::fault;
use crate::home::Home;
use crate::lock::HomeLock;
use crate::staging::Staged;

/// One step from a layout to the next.
pub(crate) struct Step {
    /// The layout it starts from; it leads to the next number.
    pub(crate) from: u32,
    /// What changes, for the log.
    pub(crate) what: &'static str,
    /// Changes it. It may have run before, whole or in part.
    pub(crate) run: fn(&Home) -> Result<(), StoreError>,
}

/// The layout of the first release is still today's.
const STEPS: &[Step] = &[];

/// What is copied is what people and Napgres wrote; a longer file is neither.
const SMALL_FILE_MAX_BYTES: u64 = 1 << 20;

/// Migrates the home if it is of an older layout. The lock is held, and nothing has been opened yet.
pub fn migrate(home: &Home, _lock: &HomeLock) -> Result<(), StoreError> {
    migrate_by(home, STEPS, FORMAT)
}

pub(crate) fn migrate_by(home: &Home, steps: &[Step], current: u32) -> Result<(), StoreError> {
    let mut format =
        read_format_up_to(home, current)?.ok_or_else(|| StoreError::FormatMissing(home.root().to_owned()))?;
    if format == current {
        return Ok(());
    }
    if (format..current).any(|from| !steps.iter().any(|step| step.from == from)) {
        return Err(StoreError::FormatTooOld(home.root().to_owned()));
    }
    let copy = back_up(home, format)?;
    tracing::info!(from = format, to = current, copy = %copy.display(), "migrating the home; its small files were copied");
    while let Some(step) = steps.iter().find(|step| step.from == format && format < current) {
        tracing::info!(from = format, what = step.what, "migrating");
        (step.run)(home)?;
        fault::point("stepped");
        format += 1;
        write_format(home, format)?;
        fault::point("numbered");
    }
    Ok(())
}

/// Copies the small files. A copy that is there is the true one: what is in the home now may be half migrated.
fn back_up(home: &Home, format: u32) -> Result<PathBuf, StoreError> {
    let to = home.backup(format);
    if to.is_dir() {
        return Ok(to);
    }
    let staged = Staged::new(home, "backup")?;
    for dir in directories(home)? {
        copy_small_files(home, &dir, staged.path())?;
    }
    staged.sync()?;
    staged.publish(&to).map_err(|e| StoreError::io("make", &to, e))?;
    Ok(to)
}

/// Where small files lie: the home itself, its secrets and certificates, and each branch's directory.
fn directories(home: &Home) -> Result<Vec<PathBuf>, StoreError> {
    let mut found = vec![home.root().to_owned(), home.secrets_dir(), home.tls_dir()];
    let branches = home.branches_dir();
    for entry in fs::read_dir(&branches).map_err(|e| StoreError::io("read", &branches, e))? {
        found.push(entry.map_err(|e| StoreError::io("read", &branches, e))?.path());
    }
    Ok(found.into_iter().filter(|dir| dir.symlink_metadata().is_ok_and(|found| found.is_dir())).collect())
}

fn copy_small_files(home: &Home, from: &Path, copy: &Path) -> Result<(), StoreError> {
    let to = copy.join(from.strip_prefix(home.root()).unwrap_or(Path::new("")));
    DirBuilder::new().recursive(true).mode(0o700).create(&to).map_err(|e| StoreError::io("make", &to, e))?;
    let unread = |e: io::Error| StoreError::io("read", from, e);
    for entry in fs::read_dir(from).map_err(unread)? {
        let path = entry.map_err(unread)?.path();
        let found = path.symlink_metadata().map_err(|e| StoreError::io("read", &path, e))?;
        let Some(name) = path.file_name().filter(|_| found.is_file() && found.size() <= SMALL_FILE_MAX_BYTES) else {
            continue;
        };
        let bytes = durable::read_bounded(&path, SMALL_FILE_MAX_BYTES).map_err(|e| StoreError::io("read", &path, e))?;
        let target = to.join(name);
        durable::write_atomic(&target, &bytes, found.mode() & 0o777).map_err(|e| StoreError::io("copy", &target, e))?;
    }
    Ok(())
}
