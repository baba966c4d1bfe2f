//! A branch in the making: staged, and seen by nobody before it is published. Dropped before that, it goes.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nap_model::ids::{BranchId, BranchName};
use nap_model::lsn::Lsn;

use crate::backup_label::BackupLabel;
use crate::branches::{NewBranch, new_record};
use crate::clone::{CloneMethod, Cloned, How, cannot_reflink};
use crate::cluster::{clone_cluster, clone_or_copy_cluster, empty_cluster};
use crate::durable;
use crate::error::StoreError;
use crate::fault;
use crate::home::BranchDir;
use crate::own_life::give_own_life;
use crate::prepared::prepared_transactions;
use crate::record::{BranchRecord, Changes};
use crate::replay;
use crate::snapshot::control_of;
use crate::staging::Staged;
use crate::store::{Branch, Store};
use crate::wal;
use crate::whole::Raw;

/// How often a control file is read that somebody writes, until it is the same twice.
const CONTROL_TRIES: usize = 100;

/// A clone of a branch, in the making.
#[derive(Debug)]
pub struct Draft {
    pub(crate) staged: Staged,
    pub(crate) dir: BranchDir,
    pub(crate) record: BranchRecord,
    source: Branch,
    /// Whose rules for connections it has.
    rules_of: BranchDir,
    /// A snapshot that is still to be made its own.
    pub(crate) raw: Option<Raw>,
    cloned: Option<Cloned>,
    prepared: Vec<String>,
}

impl Store {
    /// Begins a clone of a branch. Its files are still to be brought, in one of several ways.
    pub fn draft(&self, parent: &BranchName, name: &BranchName, id: BranchId) -> Result<Draft, StoreError> {
        let source = self.branch(parent)?;
        let (staged, dir) = self.stage(name, &id)?;
        let record = BranchRecord { parent: Some(parent.clone()), ..new_record(name, id, source.record.major) };
        let rules_of = source.dir.clone();
        Ok(Draft { staged, dir, record, source, rules_of, raw: None, cloned: None, prepared: Vec::new() })
    }

    /// Begins a clone of a branch's parent, which is to take the branch's place.
    pub fn draft_again(&self, name: &BranchName) -> Result<Draft, StoreError> {
        let own = self.branch(name)?;
        let Some(parent) = &own.record.parent else { return Err(StoreError::NoParent(name.clone())) };
        let source = self.branch(parent)?;
        let (staged, dir) = self.stage_files(&format!("{name}-{}", own.record.id))?;
        let rules_of = own.dir;
        Ok(Draft { staged, dir, record: own.record, source, rules_of, raw: None, cloned: None, prepared: Vec::new() })
    }

    /// Begins a clone of a branch's own past, which is to take its place.
    pub fn draft_of_itself(&self, name: &BranchName) -> Result<Draft, StoreError> {
        let own = self.branch(name)?;
        let (staged, dir) = self.stage_files(&format!("{name}-{}", own.record.id))?;
        let record = BranchRecord { shared_until: None, ..own.record.clone() };
        let rules_of = own.dir.clone();
        Ok(Draft { staged, dir, record, source: own, rules_of, raw: None, cloned: None, prepared: Vec::new() })
    }

    /// Shows it.
    pub fn publish(&self, draft: Draft) -> Result<NewBranch, StoreError> {
        draft.finish()?;
        let branch = self.show(&draft.staged, &draft.dir, draft.record, Some(&draft.source))?;
        Ok(NewBranch { branch, cloned: draft.cloned.unwrap_or(NOTHING), prepared: draft.prepared })
    }
}

/// Nothing has been brought.
pub(crate) const NOTHING: Cloned =
    Cloned { method: CloneMethod::Copy, files: 0, bytes: Some(0), duration: Duration::ZERO };

impl Draft {
    /// What is left to be done before it can be seen.
    pub(crate) fn finish(&self) -> Result<(), StoreError> {
        copy_if_there(&self.rules_of.pg_hba(), &self.dir.pg_hba())?;
        give_own_life(&self.dir.data())?;
        fault::point("filled");
        Ok(())
    }

    /// What it took, and the prepared transactions that came along.
    pub(crate) fn came(&self) -> (Cloned, Vec<String>) {
        (self.cloned.unwrap_or(NOTHING), self.prepared.clone())
    }

    pub(crate) fn source(&self) -> &Branch {
        &self.source
    }

    pub(crate) fn set_cloned(&mut self, cloned: Cloned) {
        self.cloned = Some(cloned);
    }

    pub(crate) fn set_begins_at(&mut self, lsn: Lsn) {
        self.record.branched_at = Some(lsn);
    }

    fn from(&self) -> PathBuf {
        self.source.dir.data()
    }

    /// From a parent whose server sleeps, and goes on sleeping until this returns. It begins where the parent's control file
    /// says that it was shut down.
    pub fn clone_asleep(&mut self) -> Result<(), StoreError> {
        self.record.branched_at = Some(shutdown_checkpoint(&self.source)?);
        self.record.shared_until = Some(jiff::Timestamp::now());
        // Roles as they were at that shutdown are those of the clone.
        if !self.clone_whole(&self.source.dir.root.clone(), |_| false)? {
            self.cloned = Some(clone_or_copy_cluster(&self.source.dir, &self.dir, How::default())?);
            copy_if_there(&self.source.dir.roles(), &self.dir.roles())?;
            fault::point("cloned");
        }
        self.prepared = prepared_transactions(&self.dir.data(), self.record.major);
        Ok(())
    }

    /// From a parent whose server stands still until this returns, by reflink and no later than `until`: the files are those of
    /// a machine that lost its power at this moment. False: not all of them can be cloned.
    pub fn clone_standing(&mut self, until: Instant) -> Result<bool, StoreError> {
        self.record.shared_until = Some(jiff::Timestamp::now());
        let how = How { method: CloneMethod::Reflink, until: Some(until), ..How::default() };
        match clone_cluster(&self.source.dir, &self.dir, how) {
            Err(StoreError::Io { source, .. }) if cannot_reflink(&source) => return Ok(false),
            cloned => self.cloned = Some(cloned?),
        }
        fault::point("cloned");
        Ok(true)
    }

    /// Finds out where it begins: where its log ends. The parent needs not stand still for that.
    pub fn find_its_beginning(&mut self) -> Result<(), StoreError> {
        self.strip()?;
        self.forget_roles();
        // Its recovery would make them again, by their paths: where its parent has them.
        replay::refuse_tablespaces(&self.dir.data())?;
        self.record.branched_at = Some(wal::end_of_wal(&self.dir.data())?);
        Ok(())
    }

    /// From a parent whose server goes on, between the beginning and the end of a backup: all but its log.
    pub fn copy_in_backup(&mut self) -> Result<(), StoreError> {
        fn comes_later(relative: &Path) -> bool {
            relative == Path::new("global/pg_control")
                || relative.parent().is_some_and(|parent| parent == Path::new("pg_wal"))
        }
        self.record.shared_until = Some(jiff::Timestamp::now());
        // What a clone may have begun.
        empty_cluster(&self.dir)?;
        let how = How { method: CloneMethod::Copy, may_vanish: true, leaves_out: comes_later, ..How::default() };
        let mut cloned = clone_cluster(&self.source.dir, &self.dir, how)?;
        // Last: it must not be older than anything else.
        let control = steady(&self.from().join("global/pg_control"))?;
        cloned.add(control.len() as u64);
        stage(&self.dir.data().join("global/pg_control"), &control)?;
        self.cloned = Some(cloned);
        fault::point("cloned");
        Ok(())
    }

    /// Behind the end of a backup: the log that belongs to it, up to the segment with `stop`, and what tells recovery where to
    /// begin.
    pub fn end_backup(&mut self, stop: Lsn, label: &str) -> Result<(), StoreError> {
        let (from, to) = (self.from().join("pg_wal"), self.dir.data().join("pg_wal"));
        for empty in ["archive_status", "summaries"] {
            if from.join(empty).is_dir() && !to.join(empty).exists() {
                DirBuilder::new().mode(0o700).create(to.join(empty)).map_err(|e| StoreError::io("make", &to, e))?;
            }
        }
        let begins = BackupLabel::parse(label).ok_or_else(|| StoreError::LogIsGone(from.clone()))?;
        let first = begins.segment;
        let length = fs::metadata(from.join(&first)).map_err(|_| StoreError::LogIsGone(from.join(&first)))?.len();
        let last = wal::segment_name(begins.timeline, stop.0.saturating_sub(1) / length.max(1), length);
        let names = fs::read_dir(&from).map_err(|e| StoreError::io("read", &from, e))?;
        let mut needed: Vec<String> =
            names.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect();
        // The history of its timeline, and the segments from the first to the last: their names sort as they follow.
        needed.retain(|name| name.ends_with(".history") || (name.len() == 24 && (&first..=&last).contains(&name)));
        for name in [&first, &last] {
            if !needed.contains(name) {
                return Err(StoreError::LogIsGone(from.join(name)));
            }
        }
        for name in needed {
            let copied = fs::copy(from.join(&name), to.join(&name));
            let bytes = copied.map_err(|e| StoreError::io("copy a file to", &to, e))?;
            if let Some(cloned) = &mut self.cloned {
                cloned.add(bytes);
            }
        }
        stage(&self.dir.data().join("backup_label"), label.as_bytes())?;
        // What others have written before the last segment was closed is in it too.
        self.find_its_beginning()
    }

    /// Gives it settings of its own, and a time at which it goes.
    pub fn set(&mut self, changes: &Changes<'_>) -> Result<(), StoreError> {
        let record = self.record.clone().with(&changes.settings)?;
        let (expires, protected) = (changes.expires.flatten(), changes.protected.unwrap_or(false));
        self.record = BranchRecord { expires, protected, ..record };
        Ok(())
    }

    /// Whose it will be.
    pub fn id(&self) -> &BranchId {
        &self.record.id
    }

    /// Where its files are, for who changes them before anybody can see them.
    pub fn data(&self) -> PathBuf {
        self.dir.data()
    }

    /// Where in its parent's log it begins, as soon as that is known.
    pub fn begins_at(&self) -> Option<Lsn> {
        self.record.branched_at
    }

    /// Its roles are to be read anew: its log goes on behind the place where they were read.
    pub fn forget_roles(&self) {
        let _ = fs::remove_file(self.dir.roles());
    }

    /// The names of prepared transactions that its parent's server knows of.
    pub fn set_prepared_transactions(&mut self, names: Vec<String>) {
        self.prepared = names;
    }
}

fn stage(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    durable::stage_file(path, bytes, 0o600).map_err(|e| StoreError::io("write", path, e))
}

/// A control file that somebody may be writing just now.
fn steady(path: &Path) -> Result<Vec<u8>, StoreError> {
    let read = || durable::read_bounded(path, 1 << 16).map_err(|e| StoreError::io("read", path, e));
    let mut bytes = read()?;
    for _ in 0..CONTROL_TRIES {
        let again = read()?;
        if again == bytes {
            return Ok(bytes);
        }
        bytes = again;
    }
    Err(StoreError::io("read", path, io::Error::other("it is written all the time")))
}

/// Where the branch was shut down. A cluster that was not is refused: its files do not belong together.
fn shutdown_checkpoint(branch: &Branch) -> Result<Lsn, StoreError> {
    let control = control_of(&branch.dir.data())?;
    if control.clean { Ok(control.checkpoint) } else { Err(StoreError::NotAsleep(branch.record.name.clone())) }
}

fn copy_if_there(from: &Path, to: &Path) -> Result<(), StoreError> {
    match fs::copy(from, to) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StoreError::io("copy a file to", to, e)),
        _ => Ok(()),
    }
}
