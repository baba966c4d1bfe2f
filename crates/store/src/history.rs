//! The past of a branch: its snapshots, and its log, which leads from one to the next. It is kept by a second link to each
//! segment: no bytes are copied, and what is written at the end of the last one is there too. Only where the file system can
//! clone: elsewhere each snapshot would cost the whole size.
//!
//! A link is safe because our servers do not use segments again (`wal_recycle=off`).

use std::collections::HashSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use nap_model::ids::BranchName;
use nap_model::lsn::Lsn;

use crate::durable;
use crate::error::StoreError;
use crate::home::BranchDir;
use crate::inodes::Inodes;
use crate::snapshot::{Snapshot, directory_name, is_log, snapshots};
use crate::store::{Branch, Store, entries as names};
use crate::wal::{self, is_segment_name};

/// What is kept of a branch's past.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// Oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Where its log ends.
    pub end: Option<Lsn>,
    /// How many segments of its log are kept.
    pub segments: usize,
    /// The inodes of its file system, if that has a bound of them.
    pub inodes: Option<Inodes>,
}

impl Store {
    /// Whether branches have a past here: tried once.
    pub fn keeps_history(&self) -> bool {
        *self.can_clone.get_or_init(|| crate::clone::probe_reflink(&self.home().branches_dir()))
    }

    /// Links what there is of a branch's log and is not kept yet. How much that was.
    pub fn keep_log(&self, name: &BranchName) -> Result<usize, StoreError> {
        let dir = self.home().branch(name);
        let (from, to) = (dir.data().join("pg_wal"), dir.wal());
        if !to.is_dir() {
            make_dir(&to)?;
        }
        let kept: HashSet<_> = names(&to)?.into_iter().collect();
        let mut linked = 0;
        for file in names(&from)?.into_iter().filter(|file| is_log(file) && !kept.contains(file)) {
            match fs::hard_link(from.join(&file), to.join(&file)) {
                Ok(()) => linked += 1,
                // It has just gone, or another look was faster.
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) => {}
                Err(error) => return Err(StoreError::io("link a segment of the log to", &to, error)),
            }
        }
        if linked > 0 {
            durable::fsync_dir(&to).map_err(|error| StoreError::io("fsync", &to, error))?;
        }
        Ok(linked)
    }

    /// What is kept of a branch's past.
    pub fn history(&self, name: &BranchName) -> Result<History, StoreError> {
        let branch = self.branch(name)?;
        let segments = if branch.dir.wal().is_dir() { names(&branch.dir.wal())?.len() } else { 0 };
        let end = wal::end_of_wal(&branch.dir.data()).ok();
        Ok(History { snapshots: snapshots(&branch.dir)?, end, segments, inodes: self.inodes().ok().flatten() })
    }

    /// Forgets what is older than this (`None`: nothing is), but for the last snapshot before, from which the span begins; and
    /// snapshots that stand too close together: the log leads from one to the next. How many went.
    pub fn thin_history(&self, name: &BranchName, span: Option<Duration>) -> Result<usize, StoreError> {
        let branch = self.branch(name)?;
        let now = Timestamp::now();
        let _one = self.lock_thinning();
        let snapshots = unnamed(&branch.dir)?;
        let goes = superfluous(&snapshots, now, span);
        for snapshot in &goes {
            let path = branch.dir.snapshots().join(directory_name(snapshot));
            let thrown_away = self.throw_away(&path)?;
            durable::remove_tree(&thrown_away).map_err(|error| StoreError::io("remove", &thrown_away, error))?;
        }
        let first = snapshots.iter().find(|snapshot| !goes.contains(snapshot));
        if let (Some(first), true) = (first, goes.first() == snapshots.first()) {
            self.forget_log_before(&branch, first)?;
        }
        Ok(goes.len())
    }

    /// Forgets the oldest of a branch's past until what is kept of its log for that alone is no more than this. How many snapshots
    /// went.
    pub fn bound_history(&self, name: &BranchName, max_bytes: u64) -> Result<usize, StoreError> {
        let branch = self.branch(name)?;
        let _one = self.lock_thinning();
        let mut gone = 0;
        loop {
            let has_snapshots = !unnamed(&branch.dir)?.is_empty();
            let bytes = alone(&branch.dir.wal())?.iter().map(|(_, bytes)| bytes).sum::<u64>();
            if has_snapshots && bytes <= max_bytes {
                return Ok(gone);
            }
            self.forget_first(&branch)?;
            if !has_snapshots {
                return Ok(gone);
            }
            gone += 1;
        }
    }

    /// Forgets the oldest of a branch's past: its first snapshot, and the log up to the second. Without any, no log leads anywhere.
    pub(crate) fn forget_first(&self, branch: &Branch) -> Result<(), StoreError> {
        let snapshots = unnamed(&branch.dir)?;
        if let Some(first) = snapshots.first() {
            let thrown_away = self.throw_away(&branch.dir.snapshots().join(directory_name(first)))?;
            self.discard(&thrown_away);
        }
        match snapshots.get(1) {
            Some(second) => self.forget_log_before(branch, second),
            None if snapshots.is_empty() => forget_alone(&branch.dir.wal()),
            None => Ok(()),
        }
    }

    /// Segments that no snapshot needs any more.
    fn forget_log_before(&self, branch: &Branch, first: &Snapshot) -> Result<(), StoreError> {
        let wal = branch.dir.wal();
        for file in names(&wal)?.into_iter().filter(|file| is_segment_name(file)) {
            let path = wal.join(&file);
            let length = fs::metadata(&path).map_err(|e| StoreError::io("look at", &path, e))?.len();
            let needed = wal::segment_name(first.timeline, first.lsn.0 / length.max(1), length);
            if file.get(..8) == needed.get(..8) && file < needed {
                fs::remove_file(&path).map_err(|e| StoreError::io("remove", &path, e))?;
            }
        }
        Ok(())
    }
}

/// Those that nobody has given a name to: they go when they are superfluous. Named ones stay, and need no log.
pub(crate) fn unnamed(dir: &BranchDir) -> Result<Vec<Snapshot>, StoreError> {
    Ok(snapshots(dir)?.into_iter().filter(|snapshot| snapshot.name.is_none()).collect())
}

/// The older, the farther apart: what is asked for most is what has just been.
const APART: [(Duration, Duration); 2] = [
    (Duration::from_secs(60 * 60), Duration::from_secs(5 * 60)),
    (Duration::from_secs(24 * 60 * 60), Duration::from_secs(60 * 60)),
];
/// What is older than all these.
const APART_AT_LAST: Duration = Duration::from_secs(24 * 60 * 60);

/// Snapshots, oldest first, that nobody needs.
fn superfluous(snapshots: &[Snapshot], now: Timestamp, span: Option<Duration>) -> Vec<Snapshot> {
    let age = |snapshot: &Snapshot| Duration::try_from(now.duration_since(snapshot.taken)).unwrap_or_default();
    let before = span.map_or(0, |span| snapshots.iter().filter(|snapshot| age(snapshot) >= span).count());
    let (old, kept) = snapshots.split_at(before.saturating_sub(1));
    let mut goes = old.to_vec();
    // The newest stays, and that from which the span begins.
    let mut newer = kept.last();
    for snapshot in kept.iter().skip(1).rev().skip(1) {
        let apart =
            APART.iter().find(|(younger, _)| age(snapshot) < *younger).map_or(APART_AT_LAST, |(_, apart)| *apart);
        if newer.is_some_and(|newer| age(snapshot).saturating_sub(age(newer)) < apart) {
            goes.push(snapshot.clone());
        } else {
            newer = Some(snapshot);
        }
    }
    goes.sort_by_key(|snapshot| (snapshot.timeline, snapshot.lsn));
    goes
}

/// The segments that have no link but this, and how long they are.
fn alone(wal: &Path) -> Result<Vec<(PathBuf, u64)>, StoreError> {
    let mut found = Vec::new();
    for name in names(wal)?.into_iter().filter(|name| is_segment_name(name)) {
        let path = wal.join(name);
        let metadata = fs::metadata(&path).map_err(|e| StoreError::io("look at", &path, e))?;
        if metadata.nlink() == 1 {
            found.push((path, metadata.len()));
        }
    }
    Ok(found)
}

fn forget_alone(wal: &Path) -> Result<(), StoreError> {
    for (path, _) in alone(wal)? {
        fs::remove_file(&path).map_err(|e| StoreError::io("remove", &path, e))?;
    }
    Ok(())
}

pub(crate) fn make_dir(path: &Path) -> Result<(), StoreError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(StoreError::io("make", path, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::snapshot::RECORD;

    /// Ages in minutes, oldest first.
    fn left(ages_min: &[i64], span_h: Option<u64>) -> Vec<i64> {
        let now = Timestamp::from_second(2_000_000_000).unwrap();
        let taken = |age: i64| now - jiff::SignedDuration::from_mins(age);
        let at = |(number, age): (usize, &i64)| Snapshot { taken: taken(*age), ..Snapshot::at(Lsn(number as u64), 1) };
        let snapshots: Vec<Snapshot> = ages_min.iter().enumerate().map(at).collect();
        let goes = superfluous(&snapshots, now, span_h.map(|hours| Duration::from_secs(hours * 3_600)));
        let stays = snapshots.iter().zip(ages_min).filter(|(snapshot, _)| !goes.contains(snapshot));
        stays.map(|(_, age)| *age).collect()
    }

    #[test]
    fn snapshots_are_thinned_with_their_age() {
        assert_eq!(left(&[], Some(1)), [0; 0]);
        assert_eq!(left(&[3, 2, 1], None), [3, 1], "the span begins at the first");
        assert_eq!(left(&[50, 44, 43, 42, 30, 29, 0], None), [50, 42, 29, 0], "five minutes apart");
        let every_ten: Vec<i64> = (0..=300).rev().step_by(10).collect();
        let left_of_them = left(&every_ten, None);
        assert!(
            left_of_them.len() < 13 && left_of_them.contains(&300) && left_of_them.contains(&0),
            "{left_of_them:?}"
        );
    }

    #[test]
    fn what_is_older_than_the_span_goes_but_for_its_beginning() {
        assert_eq!(left(&[600, 500, 400, 100, 0], Some(5)), [400, 100, 0]);
        assert_eq!(left(&[600, 500, 0], Some(5)), [500, 0]);
        assert_eq!(left(&[600, 500], Some(5)), [500], "there is always one");
        assert_eq!(left(&[100, 40], Some(5)), [100, 40]);
    }

    /// A branch with a snapshot in each of these segments of a megabyte, and the log from the first of them to the sixth.
    pub(crate) fn with_past(root: &Path, snapshots: &[u64]) -> Store {
        use crate::fixture::{MAJOR, home_with_template, id, name, no_fill};
        const LENGTH: u64 = 1 << 20;
        let store = home_with_template(root);
        let dir = store.create_root(&name("main"), id(1), MAJOR, no_fill).unwrap().branch.dir;
        fs::create_dir(dir.wal()).unwrap();
        for number in 1..=6 {
            let path = dir.wal().join(wal::segment_name(1, number, LENGTH));
            fs::OpenOptions::new().write(true).create(true).truncate(true).open(path).unwrap().set_len(LENGTH).unwrap();
        }
        for number in snapshots {
            let snapshot = Snapshot::at(Lsn(number * LENGTH + 40), 1);
            let place = dir.snapshots().join(directory_name(&snapshot));
            fs::create_dir_all(&place).unwrap();
            let text = toml::to_string(&snapshot).unwrap();
            durable::stage_file(&place.join(RECORD), text.as_bytes(), 0o600).unwrap();
        }
        store
    }

    #[test]
    fn the_oldest_goes_when_the_log_is_too_long() {
        use crate::fixture::name;
        let root = tempfile::tempdir().unwrap();
        let store = with_past(root.path(), &[1, 3, 5]);
        let dir = store.home().branch(&name("main"));
        let left = || (snapshots(&dir).unwrap().len(), names(&dir.wal()).unwrap().len());
        assert_eq!((store.bound_history(&name("main"), 6 << 20).unwrap(), left()), (0, (3, 6)));
        assert_eq!((store.bound_history(&name("main"), 4 << 20).unwrap(), left()), (1, (2, 4)));
        // What its server needs too costs nothing.
        let second = root.path().join("second link");
        fs::hard_link(dir.wal().join(wal::segment_name(1, 6, 1 << 20)), second).unwrap();
        assert_eq!((store.bound_history(&name("main"), 3 << 20).unwrap(), left()), (0, (2, 4)));
        assert_eq!((store.bound_history(&name("main"), 0).unwrap(), left()), (2, (0, 1)));
    }
}
