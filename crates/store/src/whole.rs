//! Clones a branch's directory as a whole, where it is a subvolume: a snapshot of all there is in it, from which what is not
//! the clone's is removed. File by file, a clone costs by the extents of its files, and those of a parent that was written
//! to between many clones are in thousands of pieces.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::clone::{CloneMethod, Cloned, Links, empty_dir, link_in_clone};
use crate::cluster;
use crate::durable;
use crate::error::StoreError;
use crate::fault;
use crate::home::{BranchDir, TABLESPACES};
use crate::skip;
use crate::staging::Staged;
use crate::subvolume;

/// A snapshot of a directory with `data` in it, in staging: with all that it must not have.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) staged: Staged,
    of: PathBuf,
    took: Duration,
}

/// Takes a snapshot of what lies in `of`, beside a place in staging. `None`: it is no subvolume, or would not hold everything.
pub(crate) fn take(of: &Path, beside: &Staged) -> Result<Option<Raw>, StoreError> {
    let started = Instant::now();
    match beside.snapshot(of) {
        Ok(staged) => {
            let raw = Raw { staged, of: of.to_owned(), took: started.elapsed() };
            fault::point("snapshot taken");
            Ok(Some(raw))
        }
        // Somebody else's, or a file system that allows it to nobody: its files can still be cloned.
        Err(error) if !matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::NotFound) => {
            tracing::info!(path = %of.display(), %error, "no snapshot of it: its files are cloned one by one");
            Ok(None)
        }
        Err(error) => Err(StoreError::io("take a snapshot of", of, error)),
    }
}

/// Whether a snapshot of this directory would hold all that is below its `data`, and of its tablespaces: a subvolume or a
/// mount there is not in it.
pub(crate) fn is_whole(root: &Path) -> bool {
    let dir = BranchDir { root: root.to_owned() };
    // A state that is to be kept under another name may not be there twice.
    if !subvolume::is_subvolume(root) || dir.kept_record().exists() {
        return false;
    }
    let Ok(own) = fs::metadata(root) else { return false };
    let mut dirs = vec![dir.data()];
    // A branch of earlier days has none.
    dirs.extend(Some(dir.tablespaces()).filter(|place| place.symlink_metadata().is_ok()));
    while let Some(dir) = dirs.pop() {
        if !fs::symlink_metadata(&dir).is_ok_and(|found| found.is_dir() && found.dev() == own.dev()) {
            return false;
        }
        let Ok(entries) = fs::read_dir(&dir) else { return false };
        let entries = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        dirs.extend(entries.map(|entry| entry.path()));
    }
    true
}

/// What a snapshot of a whole branch is to become, and so when its parent's past, the log and the places of snapshots, is deleted
/// in it. Hundreds of segments are in thousands of pieces, and the file system would count the owners of each before the clone is
/// durable: who is waited for leaves it to `Store::drop_discarded`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Becomes {
    /// Later. Its record is written over that of the parent, which lies where little is touched.
    Branch,
    /// Later: the first client of a branch that was just made waits for it.
    FirstSnapshot,
    /// Before it shows.
    Snapshot,
}

/// Puts aside, within the snapshot, what is to be deleted later.
#[expect(clippy::disallowed_methods, reason = "what is staged is made durable as a whole")]
fn discard(root: &Path, path: &Path) -> Result<(), StoreError> {
    let place = BranchDir { root: root.to_owned() }.discarded();
    if path == place {
        return Ok(());
    }
    if !place.is_dir() {
        fs::create_dir(&place).map_err(|e| StoreError::io("make", &place, e))?;
    }
    // A parent that is young has some of its own.
    let mut names = (0_u32..).map(|number| place.join(number.to_string()));
    let to = names.find(|name| name.symlink_metadata().is_err()).unwrap_or_else(|| place.clone());
    fs::rename(path, &to).map_err(|e| StoreError::io("move", path, e))
}

impl Raw {
    /// Leaves of it `data` without what is left out, and the tablespaces; of a branch the roles too, an empty place for logs, and the
    /// record, which is still the parent's.
    pub(crate) fn strip(
        self,
        leaves_out: fn(&Path) -> bool,
        brings: fn(&Path) -> bool,
        becomes: Becomes,
    ) -> Result<(Staged, Cloned), StoreError> {
        let started = Instant::now();
        let root = self.staged.path();
        let dir = BranchDir { root: root.to_owned() };
        let past = [dir.wal(), dir.snapshots(), dir.discarded()];
        let of_branch = [dir.record(), dir.roles(), dir.log_dir()];
        for entry in entries(root)? {
            let path = entry.path();
            if past.contains(&path) && becomes != Becomes::Snapshot {
                discard(root, &path)?;
            } else if of_branch.contains(&path) && becomes == Becomes::Branch {
                if path == dir.log_dir() {
                    empty_dir(&path)?;
                }
            } else if ![dir.data(), dir.tablespaces()].contains(&path) {
                remove(&path)?;
            }
        }
        let mut cloned = Cloned { method: CloneMethod::Snapshot, files: 0, bytes: None, duration: Duration::ZERO };
        let goes =
            |relative: &Path| (skip::is_removed_from_whole(relative) && !brings(relative)) || leaves_out(relative);
        self.strip_tree("data", Links::Branch(&self.of), goes, &mut cloned)?;
        fault::point("data cloned");
        if root.join(TABLESPACES).is_dir() {
            self.strip_tree(TABLESPACES, Links::Tablespaces, cluster::is_temporary, &mut cloned)?;
        }
        cloned.duration = self.took + started.elapsed();
        Ok((self.staged, cloned))
    }

    fn strip_tree(
        &self,
        tree: &str,
        links: Links<'_>,
        goes: impl Fn(&Path) -> bool,
        cloned: &mut Cloned,
    ) -> Result<(), StoreError> {
        let (from, to) = (self.of.join(tree), self.staged.path().join(tree));
        let mut dirs = vec![PathBuf::new()];
        while let Some(dir) = dirs.pop() {
            for entry in entries(&to.join(&dir))? {
                let (relative, path) = (dir.join(entry.file_name()), entry.path());
                let kind = entry.file_type().map_err(|e| StoreError::io("look at", &path, e))?;
                if goes(&relative) {
                    remove(&path)?;
                } else if kind.is_dir() {
                    dirs.push(relative);
                } else if kind.is_file() {
                    cloned.files += 1;
                } else if kind.is_symlink() {
                    match link_in_clone((&from, &to), &relative, links)? {
                        Some(target) => lead(&path, &target).map_err(|e| StoreError::io("replace", &path, e))?,
                        None => remove(&path)?,
                    }
                } else {
                    // Sockets and pipes belong to a running server.
                    remove(&path)?;
                }
                fault::point("cloning");
            }
        }
        Ok(())
    }
}

/// Deletes a branch that was thrown away. Its snapshots first, which may be subvolumes: one in which no other lies can go in one
/// call.
pub(crate) fn remove_all(root: &Path) -> io::Result<()> {
    let snapshots = BranchDir { root: root.to_owned() }.snapshots();
    if snapshots.is_dir() {
        for entry in fs::read_dir(snapshots)? {
            durable::remove_tree(&entry?.path())?;
        }
    }
    durable::remove_tree(root)
}

fn entries(dir: &Path) -> Result<Vec<fs::DirEntry>, StoreError> {
    let read = || fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>();
    read().map_err(|e| StoreError::io("read", dir, e))
}

/// Nobody can see it yet.
fn lead(link: &Path, target: &Path) -> io::Result<()> {
    if fs::read_link(link)?.as_os_str() == target.as_os_str() {
        return Ok(());
    }
    fs::remove_file(link)?;
    std::os::unix::fs::symlink(target, link)
}

fn remove(path: &Path) -> Result<(), StoreError> {
    durable::remove_tree(path).map_err(|e| StoreError::io("remove", path, e))
}
