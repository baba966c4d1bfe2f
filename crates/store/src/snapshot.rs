//! Snapshots: the files of a branch as they were at one place of its log.
//!
//! Those that it gets by itself are of a server that was shut down, and leave the log out: `wal/` has it. The first one, and
//! those that somebody gave a name to, may be what a crash would leave, and have the log with them that brings them in order.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use nap_model::ids::BranchName;
use nap_model::lsn::Lsn;
use nap_model::pg_control::PgControl;
use nap_model::snapshot_name::SnapshotName;
use serde::{Deserialize, Serialize};

use crate::clone::{CloneMethod, Cloned, How, empty_if_there};
use crate::cluster::{clone_cluster, clone_or_copy_cluster};
use crate::draft::Draft;
use crate::durable;
use crate::error::StoreError;
use crate::fault;
use crate::history::make_dir;
use crate::home::BranchDir;
use crate::record::BranchRecord;
use crate::skip::is_of_a_backup;
use crate::staging::Staged;
use crate::store::{Branch, Store, entries as names};
use crate::wal::{self, is_segment_name};
use crate::whole::{self, Becomes};

/// What a nap without any write puts into the log: two checkpoints. A snapshot that far behind the last is none's worth.
const NOTHING_WRITTEN_BYTES: u64 = 1_024;
/// A snapshot's own record.
pub(crate) const RECORD: &str = "snapshot.toml";
const RECORD_MAX_BYTES: u64 = 1 << 20;
/// What the directory of one that has a name begins with.
const NAMED: char = '@';
/// How many of one branch may have a name.
const NAMED_MAX: usize = 1_000;

/// A branch's files as they were at one place of its log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// What somebody calls it. It is kept until somebody removes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<SnapshotName>,
    /// Where its server was shut down, or where its log ended.
    pub lsn: Lsn,
    /// On which timeline.
    pub timeline: u32,
    /// When the snapshot was taken.
    pub taken: Timestamp,
    /// How many files it has: each costs an inode.
    #[serde(default)]
    pub files: u64,
    /// The names of transactions that were prepared, as far as they are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prepared: Vec<String>,
}

impl Snapshot {
    /// One without a name, of now.
    pub(crate) fn at(lsn: Lsn, timeline: u32) -> Self {
        Self { name: None, lsn, timeline, taken: Timestamp::now(), files: 0, prepared: Vec::new() }
    }
}

/// A snapshot with a name, and what it took.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSnapshot {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// What it took.
    pub cloned: Cloned,
}

/// What is left out of a clone, and what is not although it mostly is.
type Parts = (fn(&Path) -> bool, fn(&Path) -> bool);

impl Store {
    /// Sees to it that there is a snapshot to begin with, before a server starts. Of files that no server has run on since they
    /// were cloned it is the state after a crash.
    pub fn begin_history(&self, name: &BranchName) -> Result<(), StoreError> {
        let branch = self.branch(name)?;
        // One that is to go soon is most often gone before anybody asks for its past, which begins with its first sleep.
        if branch.record.expires.is_some() || has_unnamed(&branch.dir)? {
            return Ok(());
        }
        self.keep_log(name)?;
        self.snapshot_now(&branch, &control_of(&branch.dir.data())?)?;
        Ok(())
    }

    /// Takes a snapshot of a branch whose server sleeps, and goes on sleeping until this returns; none if nothing was written
    /// since the last one.
    pub fn take_snapshot(&self, name: &BranchName) -> Result<Option<Snapshot>, StoreError> {
        let branch = self.branch(name)?;
        let control = control_of(&branch.dir.data())?;
        let last = snapshots(&branch.dir)?.into_iter().rfind(|snapshot| snapshot.name.is_none());
        if !control.clean {
            return Err(StoreError::NotAsleep(name.clone()));
        }
        self.keep_log(name)?;
        let written = |last: &Snapshot| control.checkpoint.0.saturating_sub(last.lsn.0);
        if last.as_ref().is_some_and(|last| last.timeline == control.timeline && written(last) <= NOTHING_WRITTEN_BYTES)
        {
            return Ok(None);
        }
        self.snapshot_now(&branch, &control)
    }

    /// Of the files as they are.
    fn snapshot_now(&self, branch: &Branch, control: &PgControl) -> Result<Option<Snapshot>, StoreError> {
        self.make_room_for_snapshot(&branch.record.name, &branch.dir.data())?;
        let (lsn, what): (_, Parts) = match control.clean {
            true => (control.checkpoint, (is_segment, |_| false)),
            false => (wal::end_of_wal(&branch.dir.data())?, (|_| false, is_of_a_backup)),
        };
        let (staged, cloned) = self.clone_for_snapshot(branch, what)?;
        fault::point("cloned");
        let snapshot = Snapshot { files: cloned.files, ..Snapshot::at(lsn, control.timeline) };
        record(&staged, &snapshot)?;
        let _one = self.lock_changes();
        self.is_still_there(branch)?;
        match publish(&staged, branch, &snapshot) {
            Err(StoreError::SnapshotExists { .. }) => Ok(None),
            published => {
                published?;
                // Nobody looks into it once the branch is not young any more.
                if !branch.record.is_young() {
                    empty_if_there(&BranchDir { root: place_of(&branch.dir, &snapshot) }.discarded())?;
                }
                Ok(Some(snapshot))
            }
        }
    }

    fn clone_for_snapshot(&self, branch: &Branch, (leaves_out, brings): Parts) -> Result<(Staged, Cloned), StoreError> {
        let staged = Staged::to_be_cloned(self.home(), &format!("{}-snapshot", branch.record.name))?;
        if whole::is_whole(&branch.dir.root)
            && let Some(raw) = whole::take(&branch.dir.root, &staged)?
        {
            let becomes = if branch.record.is_young() { Becomes::FirstSnapshot } else { Becomes::Snapshot };
            return raw.strip(leaves_out, brings, becomes);
        }
        let data = staged.path().join("data");
        make_dir(&data)?;
        let how = How { method: CloneMethod::Reflink, leaves_out, brings, ..How::default() };
        let cloned = clone_cluster(&branch.dir, &BranchDir { root: staged.path().to_owned() }, how)?;
        Ok((staged, cloned))
    }

    /// Begins a clone of a branch that is to be a snapshot of it. Its files are brought as those of a child are.
    pub fn draft_snapshot(&self, branch: &BranchName, name: &SnapshotName) -> Result<Draft, StoreError> {
        let dir = self.branch(branch)?.dir;
        if dir.snapshots().join(named_directory(name)).exists() {
            return Err(StoreError::SnapshotExists { branch: branch.clone(), name: name.to_string() });
        }
        if snapshots(&dir)?.iter().filter(|snapshot| snapshot.name.is_some()).count() >= NAMED_MAX {
            return Err(StoreError::TooManySnapshots { branch: branch.clone(), max: NAMED_MAX });
        }
        self.draft_of_itself(branch)
    }

    /// Shows a draft as a snapshot with a name.
    pub fn keep_snapshot(&self, draft: Draft, name: SnapshotName) -> Result<NewSnapshot, StoreError> {
        let (cloned, prepared) = draft.came();
        let timeline = control_of(&draft.data())?.timeline;
        let lsn = draft.begins_at().unwrap_or(Lsn(0));
        let snapshot = Snapshot { name: Some(name), files: cloned.files, prepared, ..Snapshot::at(lsn, timeline) };
        let dir = &draft.dir;
        for not_its in [dir.record(), dir.log_dir(), dir.roles(), dir.discarded()] {
            durable::remove_tree(&not_its).map_err(|e| StoreError::io("remove", &not_its, e))?;
        }
        record(&draft.staged, &snapshot)?;
        let _one = self.lock_changes();
        self.is_still_there(draft.source())?;
        publish(&draft.staged, draft.source(), &snapshot)?;
        Ok(NewSnapshot { snapshot, cloned })
    }

    /// Snapshots with a name stay with the branch of that name when another state has taken the place of the one in this
    /// directory. May have been begun before; what cannot be moved goes with what it was.
    pub(crate) fn leave_named_snapshots(&self, staged: &Path) {
        let old = BranchDir { root: staged.to_owned() };
        let Ok(Some(record)) = BranchRecord::load_staged(&old) else { return };
        let Some(now) = self.branch(&record.name).ok().filter(|now| now.record.id == record.id) else { return };
        let (from, to) = (old.snapshots(), now.dir.snapshots());
        for name in names(&from).unwrap_or_default().into_iter().filter(|name| name.starts_with(NAMED)) {
            // In a snapshot of a whole branch, those of it are empty directories.
            if !from.join(&name).join(RECORD).exists() {
                continue;
            }
            let moved = make_dir(&to).and_then(|()| {
                let target = to.join(&name);
                durable::rename_new(&from.join(&name), &target).map_err(|e| StoreError::io("move", &target, e))
            });
            if let Err(error) = moved {
                tracing::warn!(branch = %record.name, snapshot = name, %error, "it goes with what the branch was");
            }
        }
        let _ = durable::fsync_dir(&now.dir.root);
    }

    /// Removes a snapshot that has a name.
    pub fn remove_snapshot(&self, branch: &BranchName, name: &SnapshotName) -> Result<(), StoreError> {
        let path = self.branch(branch)?.dir.snapshots().join(named_directory(name));
        if !path.exists() {
            return Err(StoreError::NoSuchSnapshot { branch: branch.clone(), name: name.clone() });
        }
        let thrown_away = self.throw_away(&path)?;
        fault::point("thrown away");
        self.discard(&thrown_away);
        Ok(())
    }
}

impl Draft {
    /// From a snapshot with a name: its log is with it.
    pub fn clone_snapshot(&mut self, name: &SnapshotName) -> Result<(), StoreError> {
        let source = self.source();
        let (branch, dir) = (source.record.name.clone(), source.dir.clone());
        let place = dir.snapshots().join(named_directory(name));
        if !place.exists() {
            return Err(StoreError::NoSuchSnapshot { branch, name: name.clone() });
        }
        let snapshot = read(&place)?;
        if !self.clone_whole(&place, is_of_a_backup)? {
            let how = How { brings: is_of_a_backup, ..How::default() };
            self.set_cloned(clone_or_copy_cluster(&BranchDir { root: place }, &self.dir, how)?);
            fault::point("cloned");
        }
        self.set_begins_at(snapshot.lsn);
        self.set_prepared_transactions(snapshot.prepared);
        Ok(())
    }
}

/// Writes down what it is, and makes it durable.
fn record(staged: &Staged, snapshot: &Snapshot) -> Result<(), StoreError> {
    let path = staged.path().join(RECORD);
    let text = toml::to_string(snapshot).map_err(|e| StoreError::io("write", &path, io::Error::other(e)))?;
    durable::stage_file(&path, text.as_bytes(), 0o600).map_err(|e| StoreError::io("write", &path, e))?;
    staged.sync()
}

/// Moves it to where it shows.
fn publish(staged: &Staged, branch: &Branch, snapshot: &Snapshot) -> Result<(), StoreError> {
    let place = branch.dir.snapshots();
    if !place.is_dir() {
        make_dir(&place)?;
    }
    let directory = directory_name(snapshot);
    let place = place.join(&directory);
    match staged.publish(&place) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let name = snapshot.name.as_ref().map_or(directory, ToString::to_string);
            Err(StoreError::SnapshotExists { branch: branch.record.name.clone(), name })
        }
        published => published.map_err(|error| StoreError::io("publish", &place, error)),
    }
}

/// All snapshots of a branch, oldest first.
pub(crate) fn snapshots(dir: &BranchDir) -> Result<Vec<Snapshot>, StoreError> {
    let place = dir.snapshots();
    if !place.is_dir() {
        return Ok(Vec::new());
    }
    let all: Result<Vec<Snapshot>, _> = names(&place)?.into_iter().map(|name| read(&place.join(name))).collect();
    let mut snapshots = all?;
    snapshots.sort_by_key(|snapshot| (snapshot.timeline, snapshot.lsn));
    Ok(snapshots)
}

/// Whether its past has begun: told by names alone, for this is asked at each start.
fn has_unnamed(dir: &BranchDir) -> Result<bool, StoreError> {
    let place = dir.snapshots();
    Ok(place.is_dir() && names(&place)?.iter().any(|name| !name.starts_with(NAMED)))
}

fn read(place: &Path) -> Result<Snapshot, StoreError> {
    let path = place.join(RECORD);
    let bytes = durable::read_bounded(&path, RECORD_MAX_BYTES).map_err(|e| StoreError::io("read", &path, e))?;
    toml::from_str(&String::from_utf8_lossy(&bytes))
        .map_err(|error| StoreError::BadRecord { path: path.clone(), problem: error.to_string() })
}

/// Where a snapshot's files are.
pub(crate) fn place_of(dir: &BranchDir, snapshot: &Snapshot) -> PathBuf {
    dir.snapshots().join(directory_name(snapshot))
}

pub(crate) fn directory_name(snapshot: &Snapshot) -> String {
    match &snapshot.name {
        Some(name) => named_directory(name),
        None => format!("{}-{:016X}", snapshot.timeline, snapshot.lsn.0),
    }
}

/// No place in a log looks like it.
fn named_directory(name: &SnapshotName) -> String {
    format!("{NAMED}{name}")
}

pub(crate) fn control_of(data: &Path) -> Result<PgControl, StoreError> {
    let path = data.join("global/pg_control");
    let bytes = durable::read_bounded(&path, 1 << 16).map_err(|e| StoreError::io("read", &path, e))?;
    PgControl::parse(&bytes).map_err(|e| StoreError::io("read", &path, io::Error::other(e)))
}

fn is_segment(relative: &Path) -> bool {
    let in_wal = relative.parent().is_some_and(|parent| parent == Path::new("pg_wal"));
    in_wal && relative.file_name().is_some_and(|name| is_log(&name.to_string_lossy()))
}

/// Segments, and the histories of timelines.
pub(crate) fn is_log(name: &str) -> bool {
    is_segment_name(name) || (name.len() == 16 && name.ends_with(".history"))
}
