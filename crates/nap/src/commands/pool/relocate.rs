//! Brings the branches of a home into its new pool. The copy is made by the user that owns them, so that root never
//! follows a path of theirs, and compared with the original before that goes.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nap_control::{Failure, FailureKind};
use nap_store::pool::FileSystem;
use nap_store::{BranchDir, Home, Owner, same_tree, tablespaces};

use super::program::{program, run};
use super::told;
use crate::branch_names::directories;

/// What lies in the pool, by its name in both places. What is in the trash is not worth its way.
const MOVED: [&str; 3] = ["branches", "templates", "staging"];
const TRASH: &str = "trash";
/// How much of a disk a file takes is told in units of so much.
const BLOCK_BYTES: u64 = 512;

/// The directories that are there now, with where they are to be.
fn moves(home: &Home) -> Vec<(PathBuf, PathBuf)> {
    let pair = |name: &str| (home.root().join(name), home.pool_dir().join(name));
    MOVED.into_iter().map(pair).filter(|(from, _)| is_there(from)).collect()
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// What it takes of the disk. A link to what moves would lead nowhere afterwards, or back.
pub(super) fn bytes(home: &Home) -> Result<u64, Failure> {
    let mut left: Vec<PathBuf> = moves(home).into_iter().map(|(from, _)| from).collect();
    let mut sum = 0_u64;
    let own = own_links(home)?;
    while let Some(path) = left.pop() {
        let cannot = |error| Failure::failed(format!("cannot look at {}", path.display())).caused_by(&error);
        let found = path.symlink_metadata().map_err(cannot)?;
        if found.is_symlink() && !own.contains_key(&path) {
            refuse_link_to_moved(home, &path)?;
        }
        sum = sum.saturating_add(found.blocks().saturating_mul(BLOCK_BYTES));
        if found.is_dir() {
            for entry in std::fs::read_dir(&path).map_err(cannot)? {
                left.push(entry.map_err(cannot)?.path());
            }
        }
    }
    Ok(sum)
}

fn refuse_link_to_moved(home: &Home, link: &Path) -> Result<(), Failure> {
    let target = std::fs::read_link(link).unwrap_or_default();
    let is_moved_itself = link.parent() == Some(home.root());
    let leads_there = MOVED.iter().any(|name| target.starts_with(home.root().join(name)));
    if !is_moved_itself && !leads_there {
        return Ok(());
    }
    let message = format!("{} is a link to {}", link.display(), target.display());
    let hint = "What it leads to moves: move it into its branch's data directory, or away.";
    Err(Failure::new(FailureKind::Conflict, message).hint(hint))
}

/// A program that runs as the owner of what it touches. If we are killed, so is it.
fn as_owner(owner: Owner, words: &[&str]) -> Command {
    let mut command = program("setpriv");
    command.arg(format!("--reuid={}", owner.uid)).arg(format!("--regid={}", owner.gid));
    command.args(["--clear-groups", "--pdeathsig=KILL"]).args(words);
    command
}

/// Links that are whole paths to a branch's own tablespaces, and what they are to be before the branch is copied: they would lead
/// from the copy to what goes.
fn own_links(home: &Home) -> Result<BTreeMap<PathBuf, PathBuf>, Failure> {
    let mut own = BTreeMap::new();
    for name in directories(home) {
        let branch = BranchDir { root: home.branches_dir().join(name) };
        own.extend(tablespaces::absolute_links(&branch).map_err(told)?);
    }
    Ok(own)
}

/// Makes links to tablespaces lead there from where they lie.
fn lead_from_where_they_lie(home: &Home, owner: Owner) -> Result<(), Failure> {
    for (link, target) in own_links(home)? {
        let words = ["ln", "--symbolic", "--force", "--no-target-directory", "--"];
        run(as_owner(owner, &words).arg(target).arg(link))?;
    }
    Ok(())
}

/// Copies it.
pub(super) fn copy(home: &Home, owner: Owner, kind: FileSystem) -> Result<(), Failure> {
    if kind == FileSystem::Btrfs {
        make_subvolumes(home, owner)?;
    }
    lead_from_where_they_lie(home, owner)?;
    for (from, to) in moves(home) {
        run(as_owner(owner, &["cp", "--archive", "--no-target-directory", "--"]).arg(from).arg(to))?;
    }
    let trash = home.root().join(TRASH);
    if is_there(&trash) {
        run(as_owner(owner, &["mkdir", "--mode=700", "--"]).arg(home.pool_dir().join(TRASH)))?;
    }
    Ok(())
}

/// On btrfs a branch is a subvolume, of which a snapshot is one call. These are filled by the copy.
fn make_subvolumes(home: &Home, owner: Owner) -> Result<(), Failure> {
    let (from, to) = (home.branches_dir(), home.pool_dir().join("branches"));
    if !is_there(&from) {
        return Ok(());
    }
    run(as_owner(owner, &["mkdir", "--"]).arg(&to))?;
    let make = |path: PathBuf| run(as_owner(owner, &["btrfs", "subvolume", "create", "--"]).arg(path)).map(drop);
    for name in directories(home).into_iter().filter(|name| from.join(name).is_dir()) {
        make(to.join(&name))?;
        // A snapshot of its past is one too: it could not be moved to the trash out of its branch.
        let snapshots = Path::new(&name).join("snapshots");
        let Ok(found) = std::fs::read_dir(from.join(&snapshots)) else { continue };
        run(as_owner(owner, &["mkdir", "--mode=700", "--"]).arg(to.join(&snapshots)))?;
        for snapshot in found.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            make(to.join(&snapshots).join(snapshot.file_name()))?;
        }
    }
    Ok(())
}

/// Compares every byte.
pub(super) fn verify(home: &Home) -> Result<(), Failure> {
    for (from, to) in moves(home) {
        if let Some(path) = same_tree::difference(&from, &to).map_err(told)? {
            let message = format!("the copy of {} differs from it", from.join(path).display());
            return Err(Failure::failed(message).hint("Nothing was changed; look whether somebody writes there."));
        }
    }
    Ok(())
}

/// Removes the originals, and says whether there were any.
pub(super) fn remove_originals(home: &Home, owner: Owner) -> Result<bool, Failure> {
    let mut removed = false;
    for path in MOVED.into_iter().chain([TRASH]).map(|name| home.root().join(name)).filter(|path| is_there(path)) {
        run(as_owner(owner, &["rm", "--recursive", "--force", "--"]).arg(&path)).map_err(|failure| {
            failure
                .because(format!("the pool holds {} now, and it could not be removed", path.display()))
                .hint("`nap pool create` once more goes on where it was")
        })?;
        removed = true;
    }
    Ok(removed)
}
