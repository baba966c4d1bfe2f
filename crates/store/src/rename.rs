//! A branch gets another name. Its name stands in its record, in that of its children, and is that of its directory: by way of
//! `staging/` all of it is done, or nothing.

use std::path::Path;

use nap_model::ids::BranchName;

use crate::durable;
use crate::error::StoreError;
use crate::fault;
use crate::home::BranchDir;
use crate::record::BranchRecord;
use crate::replay;
use crate::store::{Branch, Store};
use crate::tablespaces;

impl Store {
    /// It stays what it was, if that can be.
    fn take_back(&self, staged: &Path, branch: &Branch, to: &BranchName) {
        let name = &branch.record.name;
        let back =
            self.follow(to, name).and_then(|()| branch.record.save(&BranchDir { root: staged.to_owned() }.record()));
        if back.is_ok() && durable::rename_new_and_go_on(staged, &branch.dir.root).is_ok() {
            let _ = durable::remove_tree(&branch.dir.kept_record());
        } else {
            tracing::error!(branch = %name, path = %staged.display(), "half renamed: the next start goes on with it");
        }
    }

    /// Gives another name to a branch whose server sleeps, and goes on sleeping until this returns. Gives back what it is now,
    /// and its children.
    pub fn rename(&self, from: &BranchName, to: &BranchName) -> Result<(Branch, Vec<BranchRecord>), StoreError> {
        let mut changing = self.lock_changes();
        let branch = self.branch(from)?;
        if self.home().branch(to).root.symlink_metadata().is_ok() {
            return Err(StoreError::Exists(to.clone()));
        }
        replay::refuse_to_move(&branch)?;
        self.refuse_guests(from)?;
        let reserve = self.reserve_for_records(from)?;
        tablespaces::make_relative(&branch.dir)?;
        let kept_record = branch.dir.kept_record();
        let staged = self.home().staging().join(format!("{from}-{}-renamed", branch.record.id));
        let taken_away = BranchRecord { name: to.clone(), ..branch.record.clone() }.save(&kept_record).and_then(|()| {
            fault::point("to be renamed");
            durable::rename_new_and_go_on(&branch.dir.root, &staged)
                .map_err(|e| StoreError::io("rename", &branch.dir.root, e))
        });
        if let Err(error) = taken_away {
            // With it nothing would take the branch for a whole one any more.
            let _ = durable::remove_tree(&kept_record);
            return Err(error);
        }
        // From here on it is done, by the next start if not by this one.
        fault::point("taken away");
        let finished = self.finish_keeping(&staged, Some(&reserve));
        drop(reserve);
        let renamed = match finished {
            Ok(Some(renamed)) => renamed,
            Ok(None) => return Err(self.no_such_branch(to)),
            Err(error) => {
                self.take_back(&staged, &branch, to);
                return Err(error);
            }
        };
        if let Ok(taken) = self.taken_ids(&mut changing) {
            taken.insert(renamed.record.id.clone(), to.clone());
        }
        let _ = durable::remove_tree(&self.home().door_dir(from));
        Ok((renamed, self.records_of_children(to)))
    }
}
