//! A branch gets another name. Its name stands in its record, in that of its children, and is that of its directory: by way of
//! `staging/` all of it is done, or nothing.

use nap_model::ids::BranchName;

use crate::durable;
use crate::error::StoreError;
use crate::fault;
use crate::record::BranchRecord;
use crate::store::{Branch, Store};

impl Store {
    /// Gives another name to a branch whose server sleeps, and goes on sleeping until this returns. Gives back what it is now,
    /// and its children.
    pub fn rename(&self, from: &BranchName, to: &BranchName) -> Result<(Branch, Vec<BranchRecord>), StoreError> {
        let mut changing = self.lock_changes();
        let branch = self.branch(from)?;
        if self.home().branch(to).root.symlink_metadata().is_ok() {
            return Err(StoreError::Exists(to.clone()));
        }
        let kept_record = branch.dir.kept_record();
        BranchRecord { name: to.clone(), ..branch.record.clone() }.save(&kept_record)?;
        fault::point("to be renamed");
        let staged = self.home().staging().join(format!("{from}-{}-renamed", branch.record.id));
        durable::rename_new(&branch.dir.root, &staged).map_err(|e| StoreError::io("rename", &branch.dir.root, e))?;
        // From here on it is done, by the next start if not by this one.
        fault::point("taken away");
        let renamed = self
            .finish_keeping(&staged)?
            .ok_or_else(|| StoreError::NoSuchBranch { name: to.clone(), nearest: Vec::new() })?;
        if let Ok(taken) = self.taken_ids(&mut changing) {
            taken.insert(renamed.record.id.clone(), to.clone());
        }
        let _ = durable::remove_tree(&self.home().door_dir(from));
        let children = self.children(to)?.iter().filter_map(|child| Some(self.branch(child).ok()?.record)).collect();
        Ok((renamed, children))
    }
}
