//! What it would do to replay a log, told before anybody does. A record that makes a tablespace names its place by a whole path:
//! that of the branch whose log it was first. PostgreSQL empties the place, and makes it anew; so nobody else may replay it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nap_model::lsn::Lsn;
use nap_model::pg_control::PgControl;

use crate::backup_label::BackupLabel;
use crate::durable;
use crate::error::StoreError;
use crate::home::BranchDir;
use crate::past::Until;
use crate::snapshot::{Snapshot, control_of};
use crate::store::Branch;
use crate::tablespaces::inside;
use crate::wal::{self, Record};

/// `RM_TBLSPC_ID` with `XLOG_TBLSPC_CREATE`
const MAKES_TABLESPACE: (u8, u8) = (5, 0);
/// `RM_XACT_ID`
const TRANSACTIONS: u8 = 1;
/// `XLOG_XACT_OPMASK`, and `XLOG_XACT_COMMIT`, `…_ABORT`, `…_COMMIT_PREPARED`, `…_ABORT_PREPARED`: what begins with its time.
const OPERATION: u8 = 0x70;
const ENDS: [u8; 4] = [0x00, 0x20, 0x30, 0x40];
/// Between 1970 and 2000, from which PostgreSQL counts.
const EPOCH_MICROSECONDS: i64 = 946_684_800_000_000;
/// A label is a few lines.
const LABEL_MAX_BYTES: u64 = 1 << 16;

/// A part of a log.
pub(crate) struct Span {
    /// Where the last record begins that belongs to it.
    pub(crate) last: Lsn,
    /// Where it ends.
    pub(crate) end: Lsn,
    /// What ends it is in the log; else the log ends before.
    pub(crate) reaches: bool,
    /// Where it makes tablespaces.
    made: Vec<PathBuf>,
}

impl Span {
    /// Refuses it if it makes a tablespace.
    pub(crate) fn refuse_tablespaces(&self) -> Result<(), StoreError> {
        self.made.first().map_or(Ok(()), |place| Err(StoreError::MakesTablespace(place.clone())))
    }
}

/// From a snapshot of a branch to a moment.
pub(crate) fn span(log: &Path, snapshot: &Snapshot, until: Until) -> Result<Span, StoreError> {
    read(log, snapshot.timeline, snapshot.lsn, Some(until))
}

/// Refuses the files of another cluster whose recovery from their own log would make a tablespace.
pub(crate) fn refuse_tablespaces(data: &Path) -> Result<(), StoreError> {
    own(data)?.map_or(Ok(()), |span| span.refuse_tablespaces())
}

/// Refuses to give another directory to a branch whose recovery needs the one that it has.
pub(crate) fn refuse_to_move(branch: &Branch) -> Result<(), StoreError> {
    if makes_own_tablespace(&branch.dir) { Err(StoreError::NotAsleep(branch.record.name.clone())) } else { Ok(()) }
}

/// Whether a branch has made a tablespace and then crashed: its recovery would look for it where it was, where another branch, or
/// nothing, may be by then.
pub fn makes_own_tablespace(dir: &BranchDir) -> bool {
    // A log that cannot be read is not replayed either.
    let Ok(Some(span)) = own(&dir.data()) else { return false };
    span.made.iter().any(|place| inside(&dir.root, place).is_some())
}

/// What the recovery of these files replays; nothing: they were shut down.
fn own(data: &Path) -> Result<Option<Span>, StoreError> {
    let control = control_of(data)?;
    if control.clean {
        return Ok(None);
    }
    let (timeline, start) = beginning(data, &control);
    read(&data.join("pg_wal"), timeline, start, None).map(Some)
}

/// What a backup says counts more than the control file, which may be younger.
fn beginning(data: &Path, control: &PgControl) -> (u32, Lsn) {
    let label = durable::read_bounded(&data.join("backup_label"), LABEL_MAX_BYTES).unwrap_or_default();
    BackupLabel::parse(&String::from_utf8_lossy(&label))
        .map_or((control.timeline, control.redo), |label| (label.timeline, label.start))
}

fn read(log: &Path, timeline: u32, start: Lsn, until: Option<Until>) -> Result<Span, StoreError> {
    let mut span = Span { last: start, end: start, reaches: false, made: Vec::new() };
    wal::follow(log, timeline, start, |record| {
        span.reaches = match until {
            Some(Until::Lsn(lsn)) => record.start >= lsn.0,
            Some(Until::Time(time)) => ended(record).is_some_and(|at| at > time.as_microsecond()),
            Some(Until::Behind(lsn)) => record.start > lsn.0,
            None => false,
        };
        if !span.reaches {
            (span.last, span.end) = (Lsn(record.start), Lsn(record.end));
            span.made.extend(tablespace_made(record));
        }
        !span.reaches
    })?;
    Ok(span)
}

/// Where a record makes a tablespace; one that lies in the data directory has no place of its own.
fn tablespace_made(record: &Record) -> Option<PathBuf> {
    let data = record.only_data().filter(|_| record.kind() == MAKES_TABLESPACE)?;
    // An oid, and the path.
    let path = data.get(4..)?.split(|byte| *byte == 0).next().filter(|path| !path.is_empty())?;
    Some(OsStr::from_bytes(path).into())
}

/// When a transaction ended, in microseconds since 1970.
fn ended(record: &Record) -> Option<i64> {
    let (whose, what) = record.kind();
    let is_end = whose == TRANSACTIONS && ENDS.contains(&(what & OPERATION));
    let time = record.only_data().filter(|_| is_end)?.get(..8)?.try_into().ok()?;
    i64::from_ne_bytes(time).checked_add(EPOCH_MICROSECONDS)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::fixture::{
        MAJOR, RUNNING, count, home_with_template, id, in_tablespace, make_tablespace, name, no_fill, pg_control,
    };
    use crate::wal::written::Written;

    const CHECKPOINT: (u8, u8) = (0, 0x10);
    const DROPS_TABLESPACE: (u8, u8) = (5, 0x10);
    const COMMIT: (u8, u8) = (TRANSACTIONS, 0x80);

    fn places(log: &Written, start: u64, until: Option<Until>) -> (Vec<String>, Span) {
        let directory = tempfile::tempdir().unwrap();
        log.save(directory.path());
        let span = read(directory.path(), 1, Lsn(start), until).unwrap();
        (span.made.iter().map(|place| place.display().to_string()).collect(), span)
    }

    /// With the id of its origin before its data.
    fn committed(second: i64) -> Vec<u8> {
        let at = second * 1_000_000 - EPOCH_MICROSECONDS;
        [&[253, 7, 0, 255, 8][..], &at.to_ne_bytes()].concat()
    }

    #[test]
    fn a_tablespace_outside_is_seen_to_be_made() {
        let mut log = Written::new(1);
        let start = log.record(b"checkpoint", CHECKPOINT);
        log.record(b"\xff\x05\x01\x40\0\0\0", MAKES_TABLESPACE);
        log.record(b"\xff\x04\x01\x40\0\0", DROPS_TABLESPACE);
        assert!(places(&log, start, None).0.is_empty(), "one in the data directory is made, one is dropped");
        let made = log.record(b"\xff\x0b\x01\x40\0\0/a/b c\0", MAKES_TABLESPACE);
        let long = [&b"\xfe\x05\x01\0\0\x02\x40\0\0"[..], &[b'/'; 256], &[0]].concat();
        log.record(&long, MAKES_TABLESPACE);
        let (found, span) = places(&log, start, None);
        assert_eq!(found, ["/a/b c".to_owned(), "/".repeat(256)]);
        assert_eq!(span.refuse_tablespaces().unwrap_err().to_string(), "a tablespace in /a/b c was made in that time");
        assert_eq!(places(&log, start, Some(Until::Lsn(Lsn(made)))).0, [""; 0], "behind the moment");
        assert_eq!(places(&log, start, Some(Until::Lsn(Lsn(made + 1)))).0, ["/a/b c"]);
    }

    #[test]
    fn a_span_ends_before_what_was_committed_later() {
        let mut log = Written::new(1);
        let start = log.record(b"checkpoint", CHECKPOINT);
        let until = |second| Some(Until::Time(Timestamp::from_second(second).unwrap()));
        let span = places(&log, start, until(2_000)).1;
        assert_eq!((span.last, span.end, span.reaches), (Lsn(start), Lsn(log.end()), false), "nothing is in it");
        let first = log.record(&committed(1_000), COMMIT);
        let second = log.record(&committed(2_000), (TRANSACTIONS, 0x20));
        let behind_second = log.end();
        let third = log.record(&committed(3_000), COMMIT);
        for (at, last, reaches) in
            [(999, start, true), (1_000, first, true), (2_999, second, true), (3_000, third, false)]
        {
            let span = places(&log, start, until(at)).1;
            assert_eq!((span.last, span.reaches), (Lsn(last), reaches), "until {at}");
        }
        assert_eq!(places(&log, start, until(2_000)).1.end, Lsn(behind_second));
        assert_eq!(places(&log, start, Some(Until::Behind(Lsn(first)))).1.last, Lsn(first));
    }

    /// Files of a crash, whose log makes a tablespace in this place.
    fn crashed(dir: &BranchDir, place: &Path) {
        let mut log = Written::new(1);
        let redo = log.record(b"checkpoint", CHECKPOINT);
        let path = place.as_os_str().as_bytes();
        let length = u8::try_from(path.len() + 5).unwrap();
        log.record(&[&[255, length, 1, 0x40, 0, 0], path, &[0]].concat(), MAKES_TABLESPACE);
        log.record(b"a later checkpoint", CHECKPOINT);
        log.save(&dir.data().join("pg_wal"));
        set_redo(&dir.data(), redo);
    }

    #[allow(clippy::disallowed_methods)]
    fn set_redo(data: &Path, redo: u64) {
        let mut control = pg_control(RUNNING);
        control[40..48].copy_from_slice(&redo.to_ne_bytes());
        control[48..52].copy_from_slice(&1_u32.to_ne_bytes());
        std::fs::write(data.join("global/pg_control"), control).unwrap();
    }

    /// Its control file is copied last, and may know of a later checkpoint.
    #[test]
    #[allow(clippy::disallowed_methods)]
    fn a_copy_in_backup_is_replayed_from_its_label_on() {
        let root = tempfile::tempdir_in("/tmp").unwrap();
        let store = home_with_template(root.path());
        let data = store.create_root(&name("main"), id(1), MAJOR, no_fill).unwrap().branch.dir.data();
        crashed(&store.home().branch(&name("main")), Path::new("/a/b"));
        let redo = control_of(&data).unwrap().redo;
        let mut records = Vec::new();
        wal::follow(&data.join("pg_wal"), 1, redo, |record| {
            records.push(record.start);
            true
        })
        .unwrap();
        let _ = std::fs::remove_file(data.join("backup_label"));
        set_redo(&data, *records.last().unwrap());
        assert!(refuse_tablespaces(&data).is_ok());
        let label = format!("START WAL LOCATION: {redo} (file {})\n", wal::segment_name(1, 1, 1 << 20));
        std::fs::write(data.join("backup_label"), label).unwrap();
        assert!(matches!(refuse_tablespaces(&data), Err(StoreError::MakesTablespace(_))));
    }

    #[test]
    fn a_branch_that_would_make_a_tablespace_again_is_not_moved() {
        // The record of these tests has no room for a long path.
        let root = tempfile::tempdir_in("/tmp").unwrap();
        let store = home_with_template(root.path());
        let main = store.create_root(&name("main"), id(1), MAJOR, no_fill).unwrap().branch.dir;
        store.clone_branch(&name("main"), &name("dev"), id(2)).unwrap();
        let dev = store.branch(&name("dev")).unwrap().dir;
        crashed(&dev, &dev.tablespaces().join("fast"));
        let is_refused = |error: StoreError| assert!(matches!(error, StoreError::NotAsleep(_)), "{error}");
        is_refused(store.rename(&name("dev"), &name("other")).unwrap_err());
        let again = || {
            let mut draft = store.draft_again(&name("dev")).unwrap();
            draft.clone_asleep().unwrap();
            draft
        };
        is_refused(store.replace(again(), Some((name("kept"), id(3)))).unwrap_err());
        assert!(matches!(refuse_tablespaces(&dev.data()), Err(StoreError::MakesTablespace(_))));
        // One elsewhere is the same wherever the branch is called what; what goes harms nobody.
        crashed(&dev, &main.tablespaces().join("fast"));
        store.rename(&name("dev"), &name("other")).unwrap();
        let other = store.branch(&name("other")).unwrap().dir;
        crashed(&other, &other.tablespaces().join("fast"));
        let mut draft = store.draft_again(&name("other")).unwrap();
        draft.clone_asleep().unwrap();
        store.replace(draft, None).unwrap();
    }

    /// It was made after the checkpoint that came first.
    #[test]
    fn a_clone_that_would_make_its_parents_tablespace_again_is_given_up() {
        for disk in [nap_testkit::Disk::xfs(400), nap_testkit::Disk::btrfs(400)].into_iter().flatten() {
            let store = home_with_template(&disk.path().join("home"));
            let main = store.create_root(&name("main"), id(1), MAJOR, no_fill).unwrap().branch.dir;
            make_tablespace(&main, b"main");
            crashed(&main, &main.tablespaces().join("fast"));
            let mut draft = store.draft(&name("main"), &name("dev"), id(2)).unwrap();
            let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
            assert!(draft.clone_at_once().unwrap() || draft.clone_standing(until).unwrap());
            let refused = draft.find_its_beginning().unwrap_err();
            assert!(
                matches!(&refused, StoreError::MakesTablespace(place) if *place == main.tablespaces().join("fast"))
            );
            drop(draft);
            assert_eq!(in_tablespace(&main), b"main");
            assert_eq!(count(&store.home().staging()), 0);
        }
    }
}
