//! A branch of the past, in the making: the nearest snapshot before, and what recovery needs to come to the moment.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use nap_model::ids::BranchName;
use nap_model::lsn::Lsn;

use crate::clone::{CloneMethod, How};
use crate::cluster::{clone_cluster, empty_cluster};
use crate::draft::Draft;
use crate::durable;
use crate::error::StoreError;
use crate::fault;
use crate::home::BranchDir;
use crate::own_life::append;
use crate::replay;
use crate::skip::is_of_a_backup;
use crate::snapshot::{Snapshot, control_of, place_of, snapshots};
use crate::store::Branch;
use crate::wal;

/// Where recovery is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Before what begins at this place in the log.
    Lsn(Lsn),
    /// Behind what had been committed by then.
    Time(Timestamp),
    /// Behind the record that begins at this place, the last one that there is.
    Behind(Lsn),
}

/// What recovery of a draft is to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Recovery {
    /// The directory with the log.
    pub log: PathBuf,
    /// Where to stop: at something that is in the log already.
    pub until: Until,
}

impl Draft {
    /// From the nearest snapshot before a moment. A server has to recover it from there, unless nothing was written since.
    pub fn clone_past(&mut self, until: Until) -> Result<Option<Recovery>, StoreError> {
        let source = self.source();
        let (name, dir) = (source.record.name.clone(), source.dir.clone());
        let snapshot = nearest(source, until)?;
        let end = wal::end_of_wal(&dir.data())?;
        if matches!(until, Until::Lsn(lsn) if lsn > end) {
            return Err(outside(name, snapshots(&dir)?, end));
        }
        self.whole_log(&snapshot, end)?;
        let place = place_of(&dir, &snapshot);
        let gone = |error| match place.exists() {
            true => error,
            // It has just become too old. The next one will do.
            false => StoreError::LogIsGone(place.clone()),
        };
        let control = control_of(&place.join("data")).map_err(gone)?;
        replay::refuse_tablespaces(&place.join("data")).map_err(gone)?;
        let span = replay::span(&dir.wal(), &snapshot, until)?;
        span.refuse_tablespaces()?;
        self.clone_base(&place).map_err(gone)?;
        if control.clean && span.last <= snapshot.lsn {
            self.bring_checkpoint(&snapshot, span.end)?;
            return Ok(None);
        }
        let signal = self.data().join("recovery.signal");
        durable::stage_file(&signal, b"", 0o600).map_err(|e| StoreError::io("write", &signal, e))?;
        // What is written from here on has not been looked at.
        let until = if span.reaches { until } else { Until::Behind(span.last) };
        Ok(Some(Recovery { log: dir.wal(), until }))
    }

    /// A cluster that was shut down needs of its log the checkpoint of that, which ends here, and nothing behind it: one that
    /// only shows a moment goes on with all there is.
    fn bring_checkpoint(&mut self, snapshot: &Snapshot, end: Lsn) -> Result<(), StoreError> {
        let (from, to) = (self.source().dir.wal(), self.data().join("pg_wal"));
        let length = wal::segment_bytes(&from).map_err(|e| StoreError::io("read the log in", &from, e))?;
        for number in snapshot.lsn.0 / length..=end.0.saturating_sub(1) / length {
            let name = wal::segment_name(snapshot.timeline, number, length);
            let (source, target) = (from.join(&name), to.join(&name));
            reflink_copy::reflink_or_copy(source, &target).map_err(|e| StoreError::io("copy a file to", &target, e))?;
            let used = end.0.saturating_sub(number.saturating_mul(length)).min(length);
            let ended = std::fs::OpenOptions::new().write(true).open(&target).and_then(|file| {
                file.set_len(used)?;
                file.set_len(length)
            });
            ended.map_err(|e| StoreError::io("write", &target, e))?;
        }
        self.set_begins_at(snapshot.lsn);
        Ok(())
    }

    fn clone_base(&mut self, place: &Path) -> Result<(), StoreError> {
        // An earlier try may have begun.
        empty_cluster(&self.dir)?;
        if !self.clone_whole(place, is_of_a_backup)? {
            let how = How { method: CloneMethod::Reflink, brings: is_of_a_backup, ..How::default() };
            self.set_cloned(clone_cluster(&BranchDir { root: place.to_owned() }, &self.dir, how)?);
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
        Until::Behind(lsn) => snapshot.lsn <= lsn,
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
