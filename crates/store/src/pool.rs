//! A pool: a file system that can clone, in an image in the home, for homes on one that cannot. Here is what is known of
//! it; to make it and to mount it takes root and programs, which is not this room's.
//!
//! `pool.toml` says that branches lie in the pool, and holds its id. The same id lies in the pool's own file system: so a
//! pool that is not mounted, or another one in its place, is never taken for an empty home.

use std::io;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::durable;
use crate::error::StoreError;
use crate::home::Home;

mod usage;

pub use usage::{Usage, usage};

/// In the pool's file system, its id.
const MARKER: &str = "pool-id";
/// Both hold a few lines.
const RECORD_MAX_BYTES: u64 = 1 << 16;
/// What a branch takes of a pool before anything is written to it: metadata for some thousand files, its log's first segments.
pub const BRANCH_LEAST_BYTES: u64 = 64 << 20;

/// File systems that a pool can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileSystem {
    /// btrfs
    Btrfs,
    /// XFS
    Xfs,
}

impl FileSystem {
    /// What `mount` and the kernel call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Btrfs => "btrfs",
            Self::Xfs => "xfs",
        }
    }
}

/// What is known of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolRecord {
    /// Drawn when it was made.
    pub id: String,
    /// What lies in its image.
    pub filesystem: FileSystem,
    /// When it was made.
    pub created: Timestamp,
}

/// How far a home is with its pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// There is none.
    None,
    /// It was begun: the branches lie where they were.
    HalfMade,
    /// The branches lie in it.
    Whole(PoolRecord),
}

/// How far the home is with its pool, whether that is mounted or not.
pub fn progress(home: &Home) -> Result<Progress, StoreError> {
    if let Some(record) = load(&home.pool_record())? {
        return Ok(Progress::Whole(record));
    }
    let is_there = |path: &Path| path.symlink_metadata().is_ok();
    if is_there(&home.pool_draft()) {
        return Ok(Progress::HalfMade);
    }
    if is_there(&home.pool_image()) {
        return Err(StoreError::PoolRecordLost(home.pool_image()));
    }
    Ok(Progress::None)
}

/// Makes sure that the branches of this home can be seen: it has no pool, or its pool is mounted.
pub fn check(home: &Home) -> Result<(), StoreError> {
    match progress(home)? {
        Progress::Whole(record) => check_mounted(home, &record),
        Progress::None | Progress::HalfMade => Ok(()),
    }
}

/// Whether what lies at the pool's place is the pool of this record.
pub fn check_mounted(home: &Home, record: &PoolRecord) -> Result<(), StoreError> {
    let dir = home.pool_dir();
    let another = |problem: String| {
        // An empty mount point lies on the home's own file system. It is closed to all but root.
        if is_mounted(home) {
            StoreError::PoolIsAnother { dir: dir.clone(), problem }
        } else {
            StoreError::PoolNotMounted(home.root().to_owned())
        }
    };
    match durable::read_bounded(&dir.join(MARKER), RECORD_MAX_BYTES) {
        Ok(id) if String::from_utf8_lossy(&id).trim_end() == record.id => Ok(()),
        Ok(_) => Err(another("it has another id".to_owned())),
        Err(source) => match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied => {
                Err(another(format!("{MARKER}: {source}")))
            }
            _ => Err(StoreError::PoolFailed { home: home.root().to_owned(), source }),
        },
    }
}

/// Whether anything is mounted at the pool's place.
pub fn is_mounted(home: &Home) -> bool {
    let device = |path: &Path| rustix::fs::stat(path).ok().map(|found| found.st_dev);
    device(&home.pool_dir()).is_some_and(|device_there| Some(device_there) != device(home.root()))
}

/// Refuses to begin a branch in a pool that has no room for it: PostgreSQL would stop for want of it at its first start.
pub fn refuse_full(home: &Home) -> Result<(), StoreError> {
    if !home.has_pool() {
        return Ok(());
    }
    let usage = usage(home)?;
    if usage.sure_bytes() < BRANCH_LEAST_BYTES {
        let (pool_bytes, below_bytes) = (usage.free_bytes, usage.below_free_bytes);
        return Err(StoreError::PoolFull { pool_bytes, below_bytes });
    }
    Ok(())
}

/// Writes the record of a pool that is to be made. From here on a crash leaves something to be swept.
pub fn begin(home: &Home, record: &PoolRecord) -> Result<(), StoreError> {
    let path = home.pool_draft();
    let text =
        toml::to_string(record).map_err(|e| StoreError::BadRecord { path: path.clone(), problem: e.to_string() })?;
    durable::write_atomic(&path, text.as_bytes(), 0o644).map_err(|e| StoreError::io("write", &path, e))
}

/// Writes the id into the pool's file system.
pub fn mark(home: &Home, record: &PoolRecord) -> Result<(), StoreError> {
    let path = home.pool_dir().join(MARKER);
    let id = format!("{}\n", record.id);
    durable::write_atomic(&path, id.as_bytes(), 0o644).map_err(|e| StoreError::io("write", &path, e))
}

/// From here on the branches lie in the pool: all that is in it has been made durable.
pub fn commit(home: &Home) -> Result<(), StoreError> {
    let (from, to) = (home.pool_draft(), home.pool_record());
    durable::rename_durable(&from, &to).map_err(|e| StoreError::io("write", &to, e))
}

fn load(path: &Path) -> Result<Option<PoolRecord>, StoreError> {
    let bytes = match durable::read_bounded(path, RECORD_MAX_BYTES) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|e| StoreError::io("read", path, e))?,
    };
    let record = toml::from_str(&String::from_utf8_lossy(&bytes));
    let bad = |e: toml::de::Error| StoreError::BadRecord { path: path.to_owned(), problem: e.to_string() };
    record.map(Some).map_err(bad)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "files in a test need no durability")]
mod tests {
    use super::*;

    fn home() -> (tempfile::TempDir, Home, PoolRecord) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().to_owned());
        let record = PoolRecord { id: "c0ffee".into(), filesystem: FileSystem::Xfs, created: Timestamp::UNIX_EPOCH };
        (dir, home, record)
    }

    #[test]
    fn the_branches_move_with_one_rename() {
        let (_dir, home, record) = home();
        assert_eq!(progress(&home).unwrap(), Progress::None);
        begin(&home, &record).unwrap();
        std::fs::write(home.pool_image(), "").unwrap();
        assert_eq!(progress(&home).unwrap(), Progress::HalfMade);
        assert_eq!(home.again(), home, "the branches are where they were");
        check(&home).unwrap();
        commit(&home).unwrap();
        assert_eq!(progress(&home).unwrap(), Progress::Whole(record));
        let moved = home.again();
        assert_eq!(moved.branches_dir(), home.pool_dir().join("branches"));
        for dir in [moved.staging(), moved.trash(), moved.templates_dir()] {
            assert!(dir.starts_with(home.pool_dir()), "{}: renames must stay on one file system", dir.display());
        }
        assert_eq!(moved.nap_toml(), home.nap_toml());
    }

    #[test]
    fn a_pool_that_is_not_there_is_no_empty_home() {
        let (_dir, home, record) = home();
        begin(&home, &record).unwrap();
        commit(&home).unwrap();
        assert!(matches!(check(&home), Err(StoreError::PoolNotMounted(_))), "no directory at all");
        std::fs::create_dir(home.pool_dir()).unwrap();
        assert!(matches!(check(&home), Err(StoreError::PoolNotMounted(_))), "an empty one");
        mark(&home, &PoolRecord { id: "tea".into(), ..record.clone() }).unwrap();
        assert!(check(&home).is_err(), "another pool");
        mark(&home, &record).unwrap();
        check(&home).unwrap();
    }

    #[test]
    fn an_image_without_a_record_is_not_passed_over() {
        let (_dir, home, _) = home();
        std::fs::write(home.pool_image(), "").unwrap();
        assert!(matches!(check(&home), Err(StoreError::PoolRecordLost(_))));
        std::fs::write(home.pool_record(), "id = 7").unwrap();
        assert!(matches!(check(&home), Err(StoreError::BadRecord { .. })));
    }
}
