//! In which way the files of a branch in the making come: what can be asked before they do, and the one that takes them all
//! at once.

use std::fs;
use std::path::Path;

use crate::draft::Draft;
use crate::durable;
use crate::error::StoreError;
use crate::fault;
use crate::history::make_dir;
use crate::home::BranchDir;
use crate::tablespaces::make_place;
use crate::whole::{self, Becomes};

/// How the files of a parent can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// All of them at one moment, whoever writes to them (`clone_at_once`).
    Snapshot,
    /// One by one without copying their bytes (`clone_standing`).
    Reflink,
    /// Byte by byte (`copy_in_backup`).
    Copy,
}

impl Draft {
    /// The best way from this parent to here: tried, but for the snapshot itself.
    pub fn way(&self) -> Way {
        if whole::is_whole(&self.source().dir.root) {
            Way::Snapshot
        } else if self.shares_blocks() {
            Way::Reflink
        } else {
            Way::Copy
        }
    }

    fn shares_blocks(&self) -> bool {
        let probe = self.data().join("PG_VERSION");
        let shares = reflink_copy::reflink(self.source().dir.data().join("PG_VERSION"), &probe).is_ok();
        let _ = fs::remove_file(probe);
        shares
    }

    /// Writes to disk what the parent has in memory: a snapshot would do that first.
    pub fn write_out(&self) -> Result<(), StoreError> {
        let data = self.source().dir.data();
        durable::fsync_tree(&data).map_err(|e| StoreError::io("fsync", &data, e))
    }

    /// From a parent whose server stands still until this returns, in one call: the files are those of a machine that lost its
    /// power at this moment. `find_its_beginning` must follow, and may take its time. False: no snapshot can be taken after all.
    pub fn clone_at_once(&mut self) -> Result<bool, StoreError> {
        let root = self.source().dir.root.clone();
        self.record.shared_until = Some(jiff::Timestamp::now());
        self.raw = whole::take(&root, &self.staged)?;
        Ok(self.raw.is_some())
    }

    /// The files in `root`, if that can be had as a whole.
    pub(crate) fn clone_whole(&mut self, root: &Path, brings: fn(&Path) -> bool) -> Result<bool, StoreError> {
        if !whole::is_whole(root) {
            return Ok(false);
        }
        self.raw = whole::take(root, &self.staged)?;
        self.strip_but(brings)
    }

    /// Makes a snapshot that was taken the draft's own. False: there is none.
    pub(crate) fn strip(&mut self) -> Result<bool, StoreError> {
        self.strip_but(|_| false)
    }

    fn strip_but(&mut self, brings: fn(&Path) -> bool) -> Result<bool, StoreError> {
        let Some(raw) = self.raw.take() else { return Ok(false) };
        let (staged, cloned) = raw.strip(|_| false, brings, Becomes::Branch)?;
        self.dir = BranchDir { root: staged.path().to_owned() };
        // What was there for files that come one by one goes.
        self.staged = staged;
        // A snapshot of the past has none.
        make_dir(&self.dir.log_dir())?;
        make_place(&self.dir)?;
        self.set_cloned(cloned);
        fault::point("cloned");
        Ok(true)
    }
}
