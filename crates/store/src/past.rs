//! A branch of the past, in the making: the nearest snapshot before, and what recovery needs to come to the moment.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use nap_model::ids::BranchName;
use nap_model::lsn::Lsn;

use crate::clone::{CloneMethod, How, clone_as, empty_dir};
use crate::draft::Draft;
use crate::durable;
use crate::error::StoreError;
use crate::fault;
use crate::own_life::append;
use crate::skip::is_of_a_backup;
use crate::snapshot::{Snapshot, control_of, files_of, snapshots};
use crate::store::Branch;
use crate::wal;

/// Where recovery is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Before what begins at this place in the log.
    Lsn(Lsn),
    /// Behind what had been committed by then.
    Time(Timestamp),
}

/// What recovery of a draft is to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Recovery {
    /// The directory with the log.
    pub log: PathBuf,
    /// Where to stop; none: at the end of the log.
    pub until: Option<Until>,
}

impl Draft {
    /// From the nearest snapshot before a moment. A server has to recover it from there.
    pub fn clone_past(&mut self, until: Until) -> Result<Recovery, StoreError> {
        let source = self.source();
        let (name, dir) = (source.record.name.clone(), source.dir.clone());
        let snapshot = nearest(source, until)?;
        let end = wal::end_of_wal(&dir.data())?;
        self.whole_log(&snapshot, end)?;
        wal::refuse_tablespaces(&dir.wal(), snapshot.timeline, snapshot.lsn)?;
        let files = files_of(&dir, &snapshot);
        self.clone_base(&files).map_err(|error| match files.exists() {
            true => error,
            // It has just become too old. The next one will do.
            false => StoreError::LogIsGone(files),
        })?;
        let signal = self.data().join("recovery.signal");
        durable::stage_file(&signal, b"", 0o600).map_err(|e| StoreError::io("write", &signal, e))?;
        let until = match until {
            Until::Lsn(lsn) if lsn > end => return Err(outside(name, snapshots(&dir)?, end)),
            Until::Lsn(lsn) if lsn == end => None,
            until => Some(until),
        };
        Ok(Recovery { log: dir.wal(), until })
    }

    fn clone_base(&mut self, files: &Path) -> Result<(), StoreError> {
        // An earlier try may have begun.
        empty_dir(&self.data())?;
        let is_cloned = match files.parent() {
            Some(root) => self.clone_whole(root, is_of_a_backup)?,
            None => false,
        };
        if !is_cloned {
            let how = How { method: CloneMethod::Reflink, brings: is_of_a_backup, ..How::default() };
            self.set_cloned(clone_as(files, &self.data(), how)?);
            fault::point("cloned");
        }
        Ok(())
    }

    /// Nobody may have kept the log while no daemon ran.
    fn whole_log(&self, snapshot: &Snapshot, end: Lsn) -> Result<(), StoreError> {
        let wal = self.source().dir.wal();
        let length = wal::segment_bytes(&wal).map_err(|e| StoreError::io("read the log in", &wal, e))?;
        for number in snapshot.lsn.0 / length..=end.0.saturating_sub(1) / length {
            let path = wal.join(wal::segment_name(snapshot.timeline, number, length));
            if !path.exists() {
                return Err(StoreError::LogIsGone(path));
            }
        }
        Ok(())
    }

    /// Behind its recovery: where it left its parent's log, as the history of its own timeline says.
    pub fn find_where_it_left(&mut self) -> Result<(), StoreError> {
        let timeline = control_of(&self.data())?.timeline;
        let path = self.data().join(format!("pg_wal/{timeline:08X}.history"));
        let text = std::fs::read_to_string(&path).map_err(|e| StoreError::io("read", &path, e))?;
        let line = text.lines().rev().find(|line| line.contains('/') && !line.starts_with('#'));
        let left = line.and_then(|line| line.split('\t').nth(1)).and_then(|lsn| lsn.trim().parse::<Lsn>().ok());
        let problem = || StoreError::BadRecord { path: path.clone(), problem: "it names no place in a log".into() };
        self.set_begins_at(left.ok_or_else(problem)?);
        Ok(())
    }
}

impl Draft {
    /// Nobody can write to it: a standby without a primary. `shown` is the moment, as somebody wrote it.
    pub fn make_read_only(&mut self, shown: String) -> Result<(), StoreError> {
        let (signal, auto) = (self.data().join("standby.signal"), self.data().join("postgresql.auto.conf"));
        durable::stage_file(&signal, b"", 0o600).map_err(|e| StoreError::io("write", &signal, e))?;
        append(&auto, AS_A_STANDBY).map_err(|e| StoreError::io("write", &auto, e))?;
        self.record.shows = Some(shown);
        Ok(())
    }
}

/// What its parent's configuration may say otherwise, or of others.
const AS_A_STANDBY: &str = "
# This cluster shows a moment of the past and cannot be written to.
hot_standby = on
primary_conninfo = ''
primary_slot_name = ''
restore_command = ''
recovery_target_timeline = 'current'
";

/// The last snapshot that is not behind this moment, on the timeline that the branch is on now.
fn nearest(source: &Branch, until: Until) -> Result<Snapshot, StoreError> {
    let timeline = control_of(&source.dir.data())?.timeline;
    // What leads on from one with a name is not kept for its sake.
    let is_base = |snapshot: &Snapshot| snapshot.timeline == timeline && snapshot.name.is_none();
    let all: Vec<Snapshot> = snapshots(&source.dir)?.into_iter().filter(is_base).collect();
    let is_before = |snapshot: &&Snapshot| match until {
        Until::Lsn(lsn) => snapshot.lsn < lsn,
        Until::Time(time) => snapshot.taken <= time,
    };
    match all.iter().rev().find(is_before) {
        Some(snapshot) => Ok(snapshot.clone()),
        None => Err(outside(source.record.name.clone(), all, wal::end_of_wal(&source.dir.data())?)),
    }
}

/// The span that there is.
fn outside(name: BranchName, snapshots: Vec<Snapshot>, end: Lsn) -> StoreError {
    match snapshots.into_iter().next() {
        Some(first) => StoreError::OutsideHistory { name, first: first.lsn, since: first.taken, end },
        None => StoreError::NoHistory(name),
    }
}
