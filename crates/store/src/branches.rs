//! Making and removing branches. Each is one rename: a branch is whole or not there.

use std::error::Error;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nap_model::ids::{BranchId, BranchName, Major};
use nap_model::settings::BranchSettings;

use crate::clone::{Cloned, clone_data, empty_if_there};
use crate::durable;
use crate::error::StoreError;
use crate::fault;
use crate::home::BranchDir;
use crate::pool;
use crate::record::{self, BranchRecord};
use crate::staging::Staged;
use crate::store::{Branch, Store, entries as names};
use crate::whole;

/// A branch that was just made.
#[derive(Debug, Clone, PartialEq)]
pub struct NewBranch {
    /// The branch.
    pub branch: Branch,
    /// What it took.
    pub cloned: Cloned,
    /// The prepared transactions that it has from its parent, as COMMIT PREPARED wants them.
    pub prepared: Vec<String>,
}

impl Store {
    /// Makes a branch without a parent from the template of this major. `fill` gets the staged data directory, to
    /// finish it before anybody can see it.
    pub fn create_root<E>(
        &self,
        name: &BranchName,
        id: BranchId,
        major: Major,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<NewBranch, StoreError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let template = self.template(major).ok_or(StoreError::NoTemplate(major))?;
        let (staged, dir) = self.stage(name, &id)?;
        let cloned = clone_data(&template.data, &dir.data())?;
        fault::point("cloned");
        fill(&dir.data()).map_err(|e| StoreError::Fill(e.into()))?;
        fault::point("filled");
        let record = new_record(name, id, major);
        let branch = self.show(&staged, &dir, record, None)?;
        Ok(NewBranch { branch, cloned, prepared: Vec::new() })
    }

    /// Makes a branch from a parent whose server sleeps, and goes on sleeping until this returns: the caller sees to
    /// that. It begins where the parent's control file says that it was shut down.
    pub fn clone_branch(&self, parent: &BranchName, name: &BranchName, id: BranchId) -> Result<NewBranch, StoreError> {
        let mut draft = self.draft(parent, name, id)?;
        draft.clone_asleep()?;
        self.publish(draft)
    }

    /// Removes a branch whose server does not run, if no other was branched from it or those are to stay: then they become
    /// children of its parent. It is gone when this returns. Gives back the children that stay, and its bytes in the trash,
    /// which `discard` deletes.
    pub fn remove(&self, name: &BranchName, children_stay: bool) -> Result<(Vec<BranchRecord>, PathBuf), StoreError> {
        let dir = self.home().branch(name);
        let mut changing = self.lock_changes();
        if dir.root.symlink_metadata().is_err() {
            return Err(self.no_such_branch(name));
        }
        self.refuse_guests(name)?;
        let kept = if children_stay { self.give_children_away(name)? } else { Vec::new() };
        self.refuse_parent(name)?;
        let own = self.branch(name).ok();
        let thrown_away = self.throw_away(&dir.root)?;
        if let Some(taken) = changing.as_mut() {
            taken.retain(|_, holder| holder != name);
        }
        // Sockets are made anew at each start; what stays of them harms nobody.
        let _ = durable::remove_tree(&self.home().door_dir(name));
        if let Some(branch) = own {
            let _ = durable::remove_tree(&self.home().server_socket_dir(&branch.record.id));
        }
        fault::point("thrown away");
        Ok((kept, thrown_away))
    }

    /// Deletes what was thrown away, which may take its time. What cannot be deleted stays for the next start.
    pub fn discard(&self, thrown_away: &Path) {
        if let Err(error) = whole::remove_all(thrown_away) {
            tracing::warn!(path = %thrown_away.display(), %error, "could not empty the trash");
        }
    }

    /// Whether there is something in a branch that came with the snapshot that it was made of and is not its own.
    pub fn has_discarded(&self, name: &BranchName) -> bool {
        names(&self.home().branch(name).discarded()).is_ok_and(|found| !found.is_empty())
    }

    /// Deletes it; in the snapshots of the branch's first moments first. Whether there was any.
    pub fn drop_discarded(&self, name: &BranchName) -> Result<bool, StoreError> {
        if !self.has_discarded(name) {
            return Ok(false);
        }
        let dir = self.home().branch(name);
        for snapshot in names(&dir.snapshots()).unwrap_or_default() {
            empty_if_there(&BranchDir { root: dir.snapshots().join(snapshot) }.discarded())?;
        }
        empty_if_there(&dir.discarded())?;
        Ok(true)
    }

    /// The children of a branch become those of its parent, from where it was branched itself: their data is their own.
    fn give_children_away(&self, name: &BranchName) -> Result<Vec<BranchRecord>, StoreError> {
        let BranchRecord { parent, branched_at, .. } = self.branch(name)?.record;
        let changes = [
            ("parent", parent.map(String::from)),
            ("branched_at", branched_at.map(String::from)),
            // What it was between is gone.
            ("shared_until", None),
        ];
        let children = self.children(name)?.into_iter();
        children
            .map(|child| {
                fault::point("a child was kept");
                record::rewrite(&self.home().branch(&child), &[], &changes)
            })
            .collect()
    }

    /// An error if there are branches that were branched from this one.
    pub fn refuse_parent(&self, name: &BranchName) -> Result<(), StoreError> {
        let children = self.children(name)?;
        if children.is_empty() { Ok(()) } else { Err(StoreError::HasChildren { name: name.clone(), children }) }
    }

    /// A place for a new branch, with an empty data directory and one for logs.
    pub(crate) fn stage(&self, name: &BranchName, id: &BranchId) -> Result<(Staged, BranchDir), StoreError> {
        if self.home().branch(name).root.symlink_metadata().is_ok() {
            return Err(StoreError::Exists(name.clone()));
        }
        self.stage_files(&format!("{name}-{id}"))
    }

    pub(crate) fn stage_files(&self, staging_name: &str) -> Result<(Staged, BranchDir), StoreError> {
        pool::refuse_full(self.home())?;
        let staged = Staged::to_be_cloned(self.home(), staging_name)?;
        let dir = BranchDir { root: staged.path().to_owned() };
        for path in [dir.data(), dir.tablespaces(), dir.log_dir(), dir.discarded()] {
            DirBuilder::new().mode(0o700).create(&path).map_err(|e| StoreError::io("make", &path, e))?;
        }
        fault::point("staged");
        Ok((staged, dir))
    }

    /// A clone took its time: what it was made from may have been removed, and another one may have its name. Then its files are
    /// not those of one branch.
    pub(crate) fn is_still_there(&self, source: &Branch) -> Result<(), StoreError> {
        let name = &source.record.name;
        if self.branch(name)?.record.id == source.record.id { Ok(()) } else { Err(self.no_such_branch(name)) }
    }

    /// Makes it durable, and moves it to where it shows.
    pub(crate) fn show(
        &self,
        staged: &Staged,
        dir: &BranchDir,
        record: BranchRecord,
        source: Option<&Branch>,
    ) -> Result<Branch, StoreError> {
        record.stage(dir)?;
        fault::point("recorded");
        staged.sync()?;
        let mut changing = self.lock_changes();
        if let Some(source) = source {
            self.is_still_there(source)?;
        }
        let taken = self.taken_ids(&mut changing)?;
        if let Some(other) = taken.get(&record.id) {
            return Err(StoreError::SameId { name: record.name, other: other.clone() });
        }
        let record = match source {
            // It is another one's past by now.
            Some(source) if self.branch(&source.record.name)?.record.created != source.record.created => {
                let record = BranchRecord { shared_until: None, ..record };
                record.save(&dir.record())?;
                record
            }
            _ => record,
        };
        let dir = self.home().branch(&record.name);
        match staged.publish(&dir.root) {
            Ok(()) => {
                taken.insert(record.id.clone(), record.name.clone());
                Ok(Branch { record, dir })
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(StoreError::Exists(record.name)),
            Err(e) => Err(StoreError::io("publish", &dir.root, e)),
        }
    }
}

pub(crate) fn new_record(name: &BranchName, id: BranchId, major: Major) -> BranchRecord {
    BranchRecord {
        name: name.clone(),
        id,
        parent: None,
        branched_at: None,
        shared_until: None,
        created: jiff::Timestamp::now(),
        expires: None,
        shows: None,
        protected: false,
        major,
        settings: BranchSettings::default(),
    }
}
