//! Snapshots cost no bytes at first, but an inode for every file, and a thousand tables have thousands. Where a file system has
//! a bound of inodes (btrfs has none), history yields: who runs out of them cannot make a file for a new table.

use std::fs;
use std::io;
use std::path::Path;

use nap_model::ids::BranchName;
use rustix::fs::statvfs;

use crate::error::StoreError;
use crate::history::unnamed;
use crate::snapshot::{Snapshot, directory_name};
use crate::store::{Branch, Store};

/// So much of a file system's inodes is left free by history: one in twenty, a share that ext4 keeps of its blocks for root, too.
pub const FREE_AT_LEAST_PERCENT: u64 = 5;

/// What one takes, unless mkfs.xfs is told otherwise. XFS makes them of free blocks, and counts those as free.
const INODE_BYTES: u64 = 512;

/// The inodes of a file system that has a bound of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inodes {
    /// What can still be made.
    pub free: u64,
    /// How many there can be.
    pub total: u64,
}

impl Inodes {
    /// Those of the file system that holds `path`; none: it has no bound, or they are as many as its free blocks can hold. Who
    /// has no blocks left wants space, which is told by whoever needs some; no history goes for that.
    pub fn of(path: &Path) -> io::Result<Option<Self>> {
        let stat = statvfs(path)?;
        let in_free_blocks = stat.f_bfree.saturating_mul(stat.f_frsize / INODE_BYTES);
        let is_bound = stat.f_files > 0 && stat.f_favail < in_free_blocks;
        Ok(is_bound.then_some(Self { free: stat.f_favail, total: stat.f_files }))
    }

    /// What history leaves free.
    fn kept_free(self) -> u64 {
        self.total.saturating_mul(FREE_AT_LEAST_PERCENT) / 100
    }

    /// How many are missing if so many are to be taken besides.
    fn missing(self, wanted: u64) -> u64 {
        self.kept_free().saturating_add(wanted).saturating_sub(self.free)
    }
}

impl Store {
    /// Forgets the oldest snapshots of all branches, but for those with a name, until history leaves as many inodes free as it
    /// should. How many went.
    pub fn bound_inodes(&self) -> Result<usize, StoreError> {
        let missing = || self.inodes().map(|inodes| inodes.map_or(0, |inodes| inodes.missing(0)));
        if missing()? == 0 {
            return Ok(0);
        }
        // Of two who look at once, one would forget for what the other has freed.
        let _one = self.lock_thinning();
        Ok(self.forget_oldest(missing()?)?.0)
    }

    /// Sees to it that there are inodes for a snapshot of these files, at the cost of older ones. What would not make room enough
    /// stays where it is.
    pub(crate) fn make_room_for_snapshot(&self, name: &BranchName, data: &Path) -> Result<(), StoreError> {
        // Mostly there are enough, and who thins history out meanwhile is not waited for.
        if self.scarce_inodes()?.is_none() {
            return Ok(());
        }
        let _one = self.lock_thinning();
        let Some(inodes) = self.scarce_inodes()? else { return Ok(()) };
        let wanted = count_cluster(data, &self.home().branch(name).tablespaces())?;
        let missing = inodes.missing(wanted);
        if missing == 0 {
            return Ok(());
        }
        let too_few = || StoreError::TooFewInodes { name: name.clone(), wanted, free: inodes.free };
        if self.in_history()? < missing {
            self.forget_oldest(inodes.missing(0))?;
            return Err(too_few());
        }
        let (gone, freed) = self.forget_oldest(missing)?;
        tracing::warn!(gone, "history: few inodes are free, and it begins later now");
        if freed < missing { Err(too_few()) } else { Ok(()) }
    }

    /// Sees to it that there are inodes for a copy that somebody wants to have of a branch: history yields as far as it can. An
    /// error before anything is copied: there are too few all the same.
    pub fn make_room_for_copy(&self, of: &BranchName) -> Result<(), StoreError> {
        if self.scarce_inodes()?.is_none() {
            return Ok(());
        }
        let _one = self.lock_thinning();
        let Some(inodes) = self.scarce_inodes()? else { return Ok(()) };
        self.yield_to_copy(of, inodes)
    }

    fn yield_to_copy(&self, of: &BranchName, inodes: Inodes) -> Result<(), StoreError> {
        let dir = self.branch(of)?.dir;
        let wanted = count_cluster(&dir.data(), &dir.tablespaces())?;
        let check = |freed| {
            let free = inodes.free.saturating_add(freed);
            if free < wanted { Err(StoreError::TooFewInodes { name: of.clone(), wanted, free }) } else { Ok(()) }
        };
        // All of it would go for nothing.
        if inodes.free < wanted {
            check(self.in_history()?)?;
        }
        let (gone, freed) = self.forget_oldest(inodes.missing(wanted))?;
        if gone > 0 {
            tracing::warn!(gone, "history: few inodes are free, and it begins later now");
        }
        check(freed)
    }

    /// Those of the file system, if they are so few that it is worth the time to count what is to be copied.
    fn scarce_inodes(&self) -> Result<Option<Inodes>, StoreError> {
        Ok(self.inodes()?.filter(|inodes| inodes.free < inodes.total / 2))
    }

    /// Those of the file system with the branches.
    pub fn inodes(&self) -> Result<Option<Inodes>, StoreError> {
        let dir = self.home().branches_dir();
        Inodes::of(&dir).map_err(|error| StoreError::io("look at the file system of", &dir, error))
    }

    /// How many would be free if all snapshots went that may.
    fn in_history(&self) -> Result<u64, StoreError> {
        let all = self.oldest_first()?;
        all.iter().map(|(branch, snapshot)| inodes_of(branch, snapshot)).sum()
    }

    /// How many went, and how many inodes with them. The file system itself may count them as free only later.
    fn forget_oldest(&self, missing: u64) -> Result<(usize, u64), StoreError> {
        let (mut gone, mut freed) = (0, 0);
        if missing == 0 {
            return Ok((gone, freed));
        }
        for (branch, snapshot) in self.oldest_first()? {
            let inodes = count(&branch.dir.snapshots().join(directory_name(&snapshot)))?;
            self.forget_first(&branch)?;
            gone += 1;
            freed += inodes;
            if freed >= missing {
                break;
            }
        }
        Ok((gone, freed))
    }

    /// The snapshots that may go. The last of a branch, without which it has no past, goes when there are no others.
    fn oldest_first(&self) -> Result<Vec<(Branch, Snapshot)>, StoreError> {
        let mut all = Vec::new();
        for branch in self.branches()?.whole {
            let snapshots = unnamed(&branch.dir)?;
            let last = snapshots.len().saturating_sub(1);
            let of_it = snapshots.into_iter().enumerate();
            all.extend(of_it.map(|(number, snapshot)| (number == last, branch.clone(), snapshot)));
        }
        all.sort_by_key(|(is_last, _, snapshot)| (*is_last, snapshot.taken));
        Ok(all.into_iter().map(|(_, branch, snapshot)| (branch, snapshot)).collect())
    }
}

/// As its record says; that of an older release says nothing.
fn inodes_of(branch: &Branch, snapshot: &Snapshot) -> Result<u64, StoreError> {
    match snapshot.files {
        0 => count(&branch.dir.snapshots().join(directory_name(snapshot))),
        files => Ok(files),
    }
}

/// How many inodes a copy of these files takes.
fn count_cluster(data: &Path, tablespaces: &Path) -> Result<u64, StoreError> {
    Ok(count(data)?.saturating_add(count(tablespaces)?))
}

/// How many inodes there are in a directory; none if it is not there. A server that runs makes and removes some meanwhile.
fn count(dir: &Path) -> Result<u64, StoreError> {
    let mut found = 0;
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.map_err(|e| StoreError::io("read", &dir, e))?,
        };
        found += 1;
        for entry in entries.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => dirs.push(entry.path()),
                _ => found += 1,
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    #[test]
    fn a_twentieth_is_left_free() {
        let inodes = Inodes { free: 600, total: 10_000 };
        assert_eq!((inodes.missing(0), inodes.missing(100), inodes.missing(101)), (0, 0, 1));
        assert_eq!(Inodes { free: 20, ..inodes }.missing(0), 480);
    }

    #[test]
    fn nothing_is_forgotten_for_a_copy_that_there_is_no_room_for() {
        let root = tempfile::tempdir().unwrap();
        let store = crate::history::tests::with_past(root.path(), &[1, 3]);
        let main = "main".parse().unwrap();
        let dir = store.branch(&main).unwrap().dir;
        crate::fixture::make_tablespace(&dir, b"fast");
        let wanted = count(&dir.data()).unwrap() + count(&dir.tablespaces()).unwrap();
        let kept = store.in_history().unwrap();
        assert!((1..wanted).contains(&kept), "{kept} of {wanted}");
        let with_free = |free| store.yield_to_copy(&main, Inodes { free, total: 100 });
        let refused = with_free(wanted - kept - 1).unwrap_err();
        assert!(matches!(refused, StoreError::TooFewInodes { .. }), "{refused}");
        assert_eq!(unnamed(&dir).unwrap().len(), 2);
        with_free(wanted - kept).unwrap();
        assert_eq!(unnamed(&dir).unwrap().len(), 0);
    }

    #[test]
    fn directories_count_too() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        fs::write(root.path().join("a/c"), "").unwrap();
        assert_eq!(count(root.path()).unwrap(), 4);
        assert_eq!(count(&root.path().join("gone")).unwrap(), 0, "removed meanwhile");
    }
}
