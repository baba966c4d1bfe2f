//! Another state takes a branch's place: at once, and whole.

use std::path::Path;

use jiff::Timestamp;
use nap_model::ids::{BranchId, BranchName};
use nap_model::settings::BranchSettings;

use crate::clone::Cloned;
use crate::draft::Draft;
use crate::durable::{self, Reserve};
use crate::error::StoreError;
use crate::fault;
use crate::home::BranchDir;
use crate::record::{self, BranchRecord};
use crate::replay;
use crate::store::{Branch, Store, TakenIds};
use crate::tablespaces;
use crate::whole;

/// A record takes a block, its name may take another one, and an inode may take a chunk of them.
const RESERVED_BYTES: u64 = 1 << 20;
const RESERVED_BYTES_PER_CHILD: u64 = 64 << 10;

/// A branch with another state.
#[derive(Debug, Clone, PartialEq)]
pub struct Replaced {
    /// As it is now.
    pub branch: Branch,
    /// Where what it was before is now.
    pub kept: Option<Branch>,
    /// Its children, which are those of what is kept.
    pub children: Vec<BranchRecord>,
    /// What it took.
    pub cloned: Cloned,
    /// The prepared transactions that it has from its parent.
    pub prepared: Vec<String>,
}

impl Store {
    /// Puts a draft in the place of the branch that it was made for, whose server sleeps, and goes on sleeping until this
    /// returns. What the branch was before is kept as another one, or goes.
    pub fn replace(&self, draft: Draft, keep_as: Option<(BranchName, BranchId)>) -> Result<Replaced, StoreError> {
        draft.finish()?;
        draft.record.stage(&draft.dir)?;
        fault::point("recorded");
        draft.staged.sync()?;
        let (cloned, prepared) = draft.came();
        let mut changing = self.lock_changes();
        let branch = self.in_its_place(&draft)?;
        self.refuse_guests(&branch.record.name)?;
        let (kept_record, place) = (branch.dir.kept_record(), branch.dir.root.clone());
        // One that was kept before has left none, but for a crash.
        durable::remove_tree(&kept_record).map_err(|e| StoreError::io("remove", &kept_record, e))?;
        let reserve = self.reserve_for_records(&branch.record.name)?;
        let before = self.branch(&branch.record.name)?.record;
        let kept = match keep_as {
            Some((name, id)) => {
                self.refuse_taken(self.taken_ids(&mut changing)?, &name, &id)?;
                replay::refuse_to_move(&branch)?;
                Some(to_be_kept(&before, name, id))
            }
            None => None,
        };
        let children = self.records_of_children(&before.name);
        let exchanged = self.exchange(&branch, kept.as_ref(), draft.staged.path());
        let forgot = exchanged.inspect_err(|_| {
            reserve.give_half();
            self.stay(&branch, &children);
        })?;
        // From here on it is done, and what lies in staging is what the branch was.
        let staged = draft.staged.leave();
        fault::point("exchanged");
        reserve.give_half();
        self.leave_named_snapshots(&staged);
        durable::fsync_dir(&self.home().branches_dir()).unwrap_or_else(|error| warn(&place, &error));
        let finished = self.finish_keeping(&staged, Some(&reserve));
        drop(reserve);
        let kept = match finished {
            Ok(kept) => kept,
            Err(error) if self.exchange_back(&staged, &before) => return Err(error),
            Err(error) => {
                warn(&staged, &error);
                None
            }
        };
        match &kept {
            Some(kept) => {
                if let Ok(taken) = self.taken_ids(&mut changing) {
                    taken.insert(kept.record.id.clone(), kept.record.name.clone());
                }
            }
            None if !BranchDir { root: staged.clone() }.kept_record().exists() => self.throw_away_all(&staged),
            // The next start tries again.
            None => {}
        }
        let children = match &kept {
            Some(kept) => self.records_of_children(&kept.record.name),
            None => forgot,
        };
        Ok(Replaced { branch, kept, children, cloned, prepared })
    }

    /// Another state takes the branch's place, and what it was is left there. Gives back its children, if those lose what they
    /// shared with it: their past before they began is gone with what it was. They lose it before, for a crash between the two
    /// must not leave them with another one's past.
    fn exchange(
        &self,
        branch: &Branch,
        kept: Option<&BranchRecord>,
        staged: &Path,
    ) -> Result<Vec<BranchRecord>, StoreError> {
        let mut forgot = Vec::new();
        if let Some(kept) = kept {
            kept.save(&branch.dir.kept_record())?;
            fault::point("to be kept");
        } else {
            forgot = self.change_children(&branch.record.name, &[("shared_until", None)])?;
        }
        tablespaces::make_relative(&branch.dir)?;
        let place = &branch.dir.root;
        durable::exchange(staged, place).map_err(|e| StoreError::io("put another state in the place of", place, e))?;
        Ok(forgot)
    }

    /// That came to nothing: the branch is not to be kept under another name, and its children share with it what they shared.
    fn stay(&self, branch: &Branch, children: &[BranchRecord]) {
        let kept_record = branch.dir.kept_record();
        durable::remove_tree(&kept_record).unwrap_or_else(|error| warn_of_rest(&kept_record, &error));
        for child in children {
            let (dir, until) = (self.home().branch(&child.name), child.shared_until);
            let changes = [("shared_until", until.map(|until| until.to_string()))];
            if let Err(error) = record::rewrite(&dir, &[], &changes) {
                warn_of_rest(&dir.root, &error);
            }
        }
    }

    /// The branch as it will be: all that was said of it meanwhile holds. Its draft's record is made the same.
    fn in_its_place(&self, draft: &Draft) -> Result<Branch, StoreError> {
        let own = self.branch(&draft.record.name)?;
        if own.record.id != draft.record.id {
            return Err(self.no_such_branch(&draft.record.name));
        }
        let source = draft.source();
        let mut shared_until = draft.record.shared_until;
        if source.record.id == own.record.id {
            self.is_still_there(source)?;
        } else {
            // It may have another name by now, and it may have gone and left its children to its own parent.
            let parent = own.record.parent.as_ref().map(|parent| self.branch(parent)).transpose()?;
            let Some(parent) = parent.filter(|parent| parent.record.id == source.record.id) else {
                return Err(StoreError::OtherParent(own.record.name));
            };
            // Another state has taken its place meanwhile: what came before is another one's past by now.
            shared_until = shared_until.filter(|_| parent.record.created == source.record.created);
        }
        let created = Timestamp::now();
        let record = BranchRecord { branched_at: draft.record.branched_at, shared_until, created, ..own.record };
        record.save(&draft.dir.record())?;
        Ok(Branch { record, dir: own.dir })
    }

    /// As they are now.
    pub(crate) fn records_of_children(&self, of: &BranchName) -> Vec<BranchRecord> {
        let children = self.children(of).unwrap_or_default().into_iter();
        children.filter_map(|child| Some(self.branch(&child).ok()?.record)).collect()
    }

    /// Room for the records that are written when a branch has left its place.
    pub(crate) fn reserve_for_records(&self, name: &BranchName) -> Result<Reserve, StoreError> {
        let staging = self.home().staging();
        let children = u64::try_from(self.children(name)?.len()).unwrap_or(u64::MAX);
        let bytes = RESERVED_BYTES.saturating_add(children.saturating_mul(RESERVED_BYTES_PER_CHILD));
        Reserve::take(&staging, bytes).map_err(|e| StoreError::io("take space in", &staging, e))
    }

    /// What a branch was cannot be kept, as on a full disk: it stays what it was. Whether that could be done; if not, the next start
    /// goes on with it.
    fn exchange_back(&self, staged: &Path, before: &BranchRecord) -> bool {
        let (dir, place) = (BranchDir { root: staged.to_owned() }, self.home().branch(&before.name));
        let is_as_it_was = || {
            if let Some(kept) = BranchRecord::load_kept(&dir)? {
                self.follow(&kept.name, &before.name)?;
            }
            if BranchRecord::load_staged(&dir)?.as_ref() != Some(before) {
                before.save(&dir.record())?;
            }
            let exchanged = durable::exchange(staged, &place.root);
            exchanged.map_err(|e| StoreError::io("put a state back in the place of", &place.root, e))
        };
        if let Err(error) = is_as_it_was() {
            warn(staged, &error);
            return false;
        }
        self.leave_named_snapshots(staged);
        durable::fsync_dir(&self.home().branches_dir()).unwrap_or_else(|error| warn(&place.root, &error));
        durable::remove_tree(&place.kept_record()).unwrap_or_else(|error| warn(&place.root, &error));
        self.throw_away_all(staged);
        true
    }

    /// What was branched from a state goes with it.
    pub(crate) fn follow(&self, from: &BranchName, to: &BranchName) -> Result<(), StoreError> {
        self.change_children(from, &[("parent", Some(to.to_string()))]).map(drop)
    }

    fn change_children(
        &self,
        of: &BranchName,
        changes: &[(&str, Option<String>)],
    ) -> Result<Vec<BranchRecord>, StoreError> {
        let children = self.children(of)?.into_iter();
        children.map(|child| record::rewrite(&self.home().branch(&child), &[], changes)).collect()
    }

    fn refuse_taken(&self, taken: &TakenIds, name: &BranchName, id: &BranchId) -> Result<(), StoreError> {
        if self.home().branch(name).root.symlink_metadata().is_ok() {
            return Err(StoreError::Exists(name.clone()));
        }
        match taken.get(id) {
            Some(other) => Err(StoreError::SameId { name: name.clone(), other: other.clone() }),
            None => Ok(()),
        }
    }

    fn throw_away_all(&self, path: &Path) {
        let thrown_away = self.throw_away(path).unwrap_or_else(|_| path.to_owned());
        whole::remove_all(&thrown_away).unwrap_or_else(|error| warn(&thrown_away, &error));
    }

    /// What is in this directory becomes a branch, if that was to be. May have been begun before.
    pub(crate) fn finish_keeping(
        &self,
        staged: &Path,
        reserve: Option<&Reserve>,
    ) -> Result<Option<Branch>, StoreError> {
        let dir = BranchDir { root: staged.to_owned() };
        let Some(record) = BranchRecord::load_kept(&dir)? else { return Ok(None) };
        // What was branched from it goes with it under its other name, before the old one is forgotten. Nobody can have branched
        // anything from what has the old name now.
        if let Some(old) = BranchRecord::load_staged(&dir)?.filter(|old| old.name != record.name) {
            reserve.into_iter().for_each(Reserve::give_half);
            self.follow(&old.name, &record.name)?;
            fault::point("followed");
        }
        reserve.into_iter().for_each(Reserve::give_half);
        record.save(&dir.record())?;
        fault::point("kept");
        let dir = self.home().branch(&record.name);
        durable::rename_new_and_go_on(staged, &dir.root).map_err(|e| StoreError::io("keep", &dir.root, e))?;
        fault::point("published");
        durable::remove_tree(&dir.kept_record()).unwrap_or_else(|error| warn(&dir.root, &error));
        Ok(Some(Branch { record, dir }))
    }
}

/// What was to be done is done all the same.
fn warn(path: &Path, error: &impl std::fmt::Display) {
    tracing::warn!(path = %path.display(), %error, "another state has taken its place, and something is left to be done");
}

fn warn_of_rest(path: &Path, error: &impl std::fmt::Display) {
    tracing::warn!(path = %path.display(), %error, "the branch stays what it was, but something is not as it was");
}

/// The same under another name. A port leads to one branch only, work is done and orders are taken once, and what was to be
/// removed at a time is kept now.
fn to_be_kept(record: &BranchRecord, name: BranchName, id: BranchId) -> BranchRecord {
    let settings =
        BranchSettings { port: None, wake_at: None, wake_sql: None, control_role: None, ..record.settings.clone() };
    BranchRecord { name, id, settings, expires: None, protected: false, ..record.clone() }
}
