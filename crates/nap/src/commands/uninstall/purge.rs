//! Deletes a home. It can be killed at any point and run again: the file that says that it is a home goes last.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nap_control::{Failure, FailureKind};
use nap_store::{Home, HomeLock, LockError, durable};

use crate::command_error::failure_of_store;
use crate::held::hold;
use crate::mounts::mounts;

/// What begins the name of the short directory for sockets of a home that lies too deep for them.
const SHORT_DIRECTORY: &str = "napgres-";

/// Deletes it, and says what was deleted. Links inside are deleted, and never followed.
pub(super) fn purge(home: &Home) -> Result<Vec<PathBuf>, Failure> {
    // The home itself may be a link, to a larger disk say: whoever named it meant where it leads.
    let real = home.root().canonicalize().map_err(|error| cannot(home.root(), &error))?;
    refuse_mounts(&real)?;
    let held = hold(&real).map_err(|error| cannot(&real, &error))?;
    let inside = &held.path;
    // What is deleted is what is a home, whatever lies at its path by now.
    if !inside.join("format").exists() {
        return Err(cannot(&real, &io::ErrorKind::NotFound.into()));
    }
    let lock = HomeLock::acquire(&Home::at(inside.clone())).map_err(|error| match error {
        LockError::Held { .. } => Failure::from_error(FailureKind::Conflict, &error).hint("`nap down` stops it"),
        LockError::Store(error) => failure_of_store(&error),
    })?;
    let mut removed = short_directory(home, &real)?;
    // A branch is whole or not there.
    let (branches, trash) = (inside.join("branches"), inside.join("trash"));
    if is_directory(&branches) && is_directory(&trash) {
        let gone = trash.join(format!("branches-{}", std::process::id()));
        durable::rename_durable(&branches, &gone).map_err(|error| cannot(&branches, &error))?;
    }
    let last = ["lock", "format"].map(|name| inside.join(name));
    let entries = std::fs::read_dir(inside).map_err(|error| cannot(&real, &error))?;
    let entries = entries.flatten().map(|entry| entry.path());
    for path in entries.filter(|path| !last.contains(path) && !path.ends_with("lost+found")) {
        // Where a pool was mounted: root's, and empty, so that its name can go though it cannot be read.
        let is_place = path.ends_with("pool") && std::fs::remove_dir(&path).is_ok();
        if !is_place {
            durable::remove_tree(&path).map_err(|error| cannot(&path, &error))?;
        }
    }
    for path in &last {
        durable::remove_tree(path).map_err(|error| cannot(path, &error))?;
    }
    drop(lock);
    removed.push(home.root().to_owned());
    match std::fs::remove_dir(&real) {
        // A mount point, or a directory in one that only root may change: it is empty now.
        Err(_) => {}
        Ok(()) if real != home.root() => {
            let is_link = home.root().symlink_metadata().is_ok_and(|found| found.is_symlink());
            if is_link {
                std::fs::remove_file(home.root()).map_err(|error| cannot(home.root(), &error))?;
            }
        }
        Ok(()) => {}
    }
    Ok(removed)
}

/// And no link to one, through which data would leave the home instead of being deleted.
fn is_directory(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_dir())
}

fn cannot(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("cannot delete {}", path.display()))
        .caused_by(error)
        .hint("`nap uninstall --purge` goes on where it was")
}

/// `HOME/run` of a deep home leads to a directory that the daemon made elsewhere. What else it may lead to is not ours.
fn short_directory(home: &Home, real: &Path) -> Result<Vec<PathBuf>, Failure> {
    let Ok(target) = std::fs::read_link(real.join("run")) else { return Ok(Vec::new()) };
    let owner = std::fs::metadata(home.root()).map_err(|error| cannot(home.root(), &error))?.uid();
    let is_named_so =
        target.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(SHORT_DIRECTORY));
    let is_theirs = target.symlink_metadata().is_ok_and(|found| found.is_dir() && found.uid() == owner);
    if !(is_named_so && is_theirs) {
        return Ok(Vec::new());
    }
    durable::remove_tree(&target).map_err(|error| cannot(&target, &error))?;
    Ok(vec![target])
}

/// What is mounted inside has a life of its own.
fn refuse_mounts(real: &Path) -> Result<(), Failure> {
    let inside = mounts().into_iter().map(|mounted| mounted.at).find(|at| at.starts_with(real) && at != real);
    match inside {
        None => Ok(()),
        Some(mount) => {
            let message = format!("something is mounted at {}", mount.display());
            Err(Failure::new(FailureKind::Conflict, message).hint(format!(
                "look what it is, then: umount {}",
                crate::output::quote::shell(&mount.to_string_lossy())
            )))
        }
    }
}
