//! The tree of branches: what there is, and what an earlier daemon left half-done.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use nap_model::ids::{BranchId, BranchName};
use nap_model::nearest::nearest;

use crate::create::read_format;
use crate::departure::sweep_departure;
use crate::durable;
use crate::error::StoreError;
use crate::home::{BranchDir, Home};
use crate::record::BranchRecord;
use crate::whole;

/// The branch tree of one home. Only the holder of its `HomeLock` opens it.
#[derive(Debug)]
pub struct Store {
    home: Home,
    /// Held while the tree changes: a parent may not go between a look at its children and the change.
    changes: Mutex<Option<TakenIds>>,
    /// Held while history is thinned out: the oldest of all branches goes first, whoever asks.
    thinning: Mutex<()>,
    /// Whether files can be cloned here, as soon as that has been tried.
    pub(crate) can_clone: OnceLock<bool>,
}

/// Whose ids are taken. Learnt once, at the first change: to read a thousand records for one more branch would take as
/// long as to clone it.
pub(crate) type TakenIds = HashMap<BranchId, BranchName>;

/// A branch on disk.
#[derive(Debug, Clone, PartialEq)]
pub struct Branch {
    /// What is known of it.
    pub record: BranchRecord,
    /// Where it lies.
    pub dir: BranchDir,
}

/// A directory in `branches/` whose record cannot be used.
#[derive(Debug)]
pub struct BrokenBranch {
    /// The directory's name, which may be no branch name.
    pub name: String,
    /// What is wrong.
    pub error: StoreError,
}

/// All branches, by name.
#[derive(Debug, Default)]
pub struct Branches {
    /// Those that can be used.
    pub whole: Vec<Branch>,
    /// Those that cannot, which is no reason to do without the others.
    pub broken: Vec<BrokenBranch>,
}

impl Branches {
    /// The branch with this id.
    pub fn with_id(&self, id: &BranchId) -> Option<&Branch> {
        self.whole.iter().find(|branch| branch.record.id == *id)
    }
}

impl Store {
    /// Opens the tree of a home that `make_home` made. What was half-made goes; the trash is emptied by
    /// `empty_trash`, which may take its time.
    pub fn open(home: Home) -> Result<Self, StoreError> {
        if read_format(&home)?.is_none() {
            return Err(StoreError::NoHome(home.root().to_owned()));
        }
        let store = Self { home, changes: Mutex::new(None), thinning: Mutex::default(), can_clone: OnceLock::new() };
        store.sweep_staging()?;
        store.sweep_temporaries();
        store.sweep_sockets();
        Ok(store)
    }

    /// The home it lies in.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// All branches, sorted by name.
    pub fn branches(&self) -> Result<Branches, StoreError> {
        let mut branches = Branches::default();
        for name in entries(&self.home.branches_dir())? {
            let dir = BranchDir { root: self.home.branches_dir().join(&name) };
            match BranchRecord::load(&dir) {
                Ok(record) => match branches.with_id(&record.id) {
                    None => branches.whole.push(Branch { record, dir }),
                    Some(other) => {
                        let error = StoreError::SameId { name: record.name, other: other.record.name.clone() };
                        branches.broken.push(BrokenBranch { name, error });
                    }
                },
                Err(error) => branches.broken.push(BrokenBranch { name, error }),
            }
        }
        Ok(branches)
    }

    /// The branch of this name.
    pub fn branch(&self, name: &BranchName) -> Result<Branch, StoreError> {
        let dir = self.home.branch(name);
        if !dir.root.is_dir() {
            return Err(self.no_such_branch(name));
        }
        Ok(Branch { record: BranchRecord::load(&dir)?, dir })
    }

    /// The branches that were branched from this one, by name.
    pub fn children(&self, name: &BranchName) -> Result<Vec<BranchName>, StoreError> {
        let records = self.branches()?.whole.into_iter().map(|branch| branch.record);
        Ok(records.filter(|record| record.parent.as_ref() == Some(name)).map(|record| record.name).collect())
    }

    /// Deletes what was thrown away, and says how many things went. What cannot be deleted stays for the next time.
    pub fn empty_trash(&self) -> Result<usize, StoreError> {
        let mut gone = 0;
        for name in entries(&self.home.trash())? {
            let path = self.home.trash().join(name);
            match whole::remove_all(&path) {
                Ok(()) => gone += 1,
                Err(error) => tracing::warn!(path = %path.display(), %error, "could not empty the trash"),
            }
        }
        Ok(gone)
    }

    pub(crate) fn no_such_branch(&self, name: &BranchName) -> StoreError {
        let known = entries(&self.home.branches_dir()).unwrap_or_default();
        let nearest = nearest(name.as_str(), known.iter().map(String::as_str));
        StoreError::NoSuchBranch {
            name: name.clone(),
            nearest: nearest.iter().filter_map(|n| n.parse().ok()).collect(),
        }
    }

    pub(crate) fn lock_changes(&self) -> MutexGuard<'_, Option<TakenIds>> {
        // Each change of what it guards is one call, which no panic leaves half-done.
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock_thinning(&self) -> MutexGuard<'_, ()> {
        self.thinning.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn taken_ids<'a>(&self, changing: &'a mut Option<TakenIds>) -> Result<&'a mut TakenIds, StoreError> {
        let taken = match changing.take() {
            Some(taken) => taken,
            None => self.branches()?.whole.into_iter().map(|branch| (branch.record.id, branch.record.name)).collect(),
        };
        Ok(changing.insert(taken))
    }

    /// Moves something to the trash, so that it is gone at once and whole.
    pub(crate) fn throw_away(&self, path: &Path) -> Result<std::path::PathBuf, StoreError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut number = 0;
        loop {
            let target = self.home.trash().join(format!("{name}.{number}"));
            // The branch that it was in may be renamed meanwhile, and cannot be made durable by its old name then.
            match durable::rename_new_and_go_on(path, &target) {
                Ok(()) => return Ok(target),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(e) => return Err(StoreError::io("remove", path, e)),
            }
        }
    }

    /// By way of the trash, because an initdb that outlived its daemon may still be writing there.
    fn sweep_staging(&self) -> Result<(), StoreError> {
        for name in entries(&self.home.staging())? {
            if sweep_departure(&self.home.staging().join(&name)) {
                continue;
            }
            self.leave_named_snapshots(&self.home.staging().join(&name));
            match self.finish_keeping(&self.home.staging().join(&name), None) {
                Ok(None) => {}
                Ok(Some(_)) => continue,
                // It stays for the next start.
                Err(error) => {
                    tracing::error!(name, %error, "a state that was to be kept is still in staging");
                    continue;
                }
            }
            tracing::info!(name, "sweeping what an earlier daemon left half-made");
            self.throw_away(&self.home.staging().join(name))?;
        }
        Ok(())
    }

    /// Socket directories of servers on what never became a branch. Those of a branch that cannot be used may be in use.
    fn sweep_sockets(&self) {
        let Ok(Branches { whole, broken }) = self.branches() else { return };
        if !broken.is_empty() || !self.home.servers_dir().is_dir() {
            return;
        }
        for name in entries(&self.home.servers_dir()).unwrap_or_default() {
            if !whole.iter().any(|branch| branch.record.id.to_string() == name) {
                let _ = durable::remove_tree(&self.home.servers_dir().join(name));
            }
        }
    }

    /// Files that were about to replace others when an earlier daemon was killed. They do no harm but for their space.
    fn sweep_temporaries(&self) {
        let home = &self.home;
        let mut dirs = vec![home.root().to_owned(), home.secrets_dir()];
        dirs.extend(
            entries(&home.branches_dir()).unwrap_or_default().iter().map(|name| home.branches_dir().join(name)),
        );
        // An installation that is being fetched is nobody's to sweep.
        let lock = fs::File::open(home.postgres_lock());
        if lock.as_ref().is_ok_and(|lock| lock.try_lock().is_ok()) {
            dirs.push(home.postgres_dir());
        }
        for name in entries(&home.branches_dir()).unwrap_or_default() {
            // Of a deed that was never begun, or is done.
            let left = BranchDir { root: home.branches_dir().join(name) }.kept_record();
            let _ = durable::remove_tree(&left);
        }
        for dir in dirs.iter().filter(|dir| dir.is_dir()) {
            if let Err(error) = durable::sweep(dir) {
                tracing::warn!(dir = %dir.display(), %error, "could not remove what was left over");
            }
        }
    }
}

/// The names in a directory, sorted.
pub(crate) fn entries(dir: &Path) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| StoreError::io("read", dir, e))? {
        let entry = entry.map_err(|e| StoreError::io("read", dir, e))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
