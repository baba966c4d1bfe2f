//! A cluster from elsewhere on its way to become a branch without a parent: staged, and seen by nobody before it is published.
//! Dropped before that, it goes. What it is copied from is only read.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nap_model::access::AccessSnapshot;
use nap_model::ids::{BranchId, BranchName, Major};
use nap_model::pg_control::PgControl;

use crate::branches::{NewBranch, new_record};
use crate::clone::{Cloned, How, clone_data, empty_dir};
use crate::cluster::clone_from_elsewhere;
use crate::draft::NOTHING;
use crate::durable;
use crate::error::StoreError;
use crate::fault;
use crate::home::BranchDir;
use crate::prepared::prepared_transactions;
use crate::replay;
use crate::roles;
use crate::skip::is_of_a_backup;
use crate::snapshot::control_of;
use crate::staging::Staged;
use crate::store::Store;
use crate::tablespaces;

/// `PG_VERSION` holds a number.
const VERSION_MAX_BYTES: u64 = 100;

/// It.
#[derive(Debug)]
pub struct Arrival {
    staged: Staged,
    dir: BranchDir,
    name: BranchName,
    id: BranchId,
    cloned: Cloned,
    stop: Arc<AtomicBool>,
}

/// Who drops it ends the copying: nobody waits for it any more.
#[derive(Debug)]
pub struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Store {
    /// Begins it, with an empty data directory.
    pub fn receive(&self, name: &BranchName, id: BranchId) -> Result<Arrival, StoreError> {
        let (staged, dir) = self.stage(name, &id)?;
        Ok(Arrival { staged, dir, name: name.clone(), id, cloned: NOTHING, stop: Arc::default() })
    }

    /// Shows it, as a cluster of this major.
    pub fn publish_arrival(&self, arrival: Arrival, major: Major) -> Result<NewBranch, StoreError> {
        let prepared = prepared_transactions(&arrival.data(), major);
        let record = new_record(&arrival.name, arrival.id, major);
        fault::point("filled");
        let branch = self.show(&arrival.staged, &arrival.dir, record, None)?;
        Ok(NewBranch { branch, cloned: arrival.cloned, prepared })
    }
}

impl Arrival {
    /// Where its data is to be.
    pub fn data(&self) -> PathBuf {
        self.dir.data()
    }

    /// A file beside its data, for the time that it takes. It does not come along.
    pub fn aside(&self, name: &str) -> PathBuf {
        self.staged.path().join(name)
    }

    /// Copies a data directory on which no server runs.
    pub fn copy(&mut self, from: &Path) -> Result<(), StoreError> {
        let before = control_of(from)?;
        let how = How { brings: is_of_a_backup, stop: Some(&self.stop), ..How::default() };
        let major = durable::read_bounded(&from.join("PG_VERSION"), VERSION_MAX_BYTES).unwrap_or_default();
        self.cloned = clone_from_elsewhere(from, &self.dir, String::from_utf8_lossy(&major).trim(), how)?;
        fault::point("cloned");
        self.refuse_far_tablespaces()?;
        if control_of(&self.data())? != before || control_of(from)? != before {
            return Err(StoreError::ChangedMeanwhile(from.to_owned()));
        }
        Ok(())
    }

    /// For as long as somebody waits for its copy.
    pub fn waiting(&self) -> Waiting {
        Waiting(self.stop.clone())
    }

    /// A cluster that initdb has just made.
    pub fn copy_template(&mut self, data: &Path) -> Result<(), StoreError> {
        self.cloned = clone_data(data, &self.data())?;
        fault::point("cloned");
        Ok(())
    }

    /// Its files came in another way: how large are they? Slots and the like belong to whom it comes from.
    pub fn take_stock(&mut self) -> Result<(), StoreError> {
        tablespaces::make_relative(&self.dir)?;
        self.refuse_far_tablespaces()?;
        let slots = self.data().join("pg_replslot");
        if slots.is_dir() {
            empty_dir(&slots)?;
        }
        let (mut files, mut bytes) = (0, 0);
        let mut dirs = vec![self.data(), self.dir.tablespaces()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(&dir).map_err(|e| StoreError::io("read", &dir, e))? {
                let entry = entry.map_err(|e| StoreError::io("read", &dir, e))?;
                let found = entry.metadata().map_err(|e| StoreError::io("look at", &entry.path(), e))?;
                if found.is_dir() {
                    dirs.push(entry.path());
                } else if found.is_file() {
                    (files, bytes) = (files + 1, bytes + found.len());
                }
            }
        }
        self.cloned = Cloned { files, bytes: Some(bytes), ..self.cloned };
        Ok(())
    }

    /// Where a tablespace with this oid is to be, for who brings it in another way.
    pub fn place_for_tablespace(&self, oid: u32) -> PathBuf {
        self.dir.tablespaces().join(oid.to_string())
    }

    /// Recovery would make the links that a map names, and those that are made in the log.
    fn refuse_far_tablespaces(&self) -> Result<(), StoreError> {
        replay::refuse_tablespaces(&self.data())?;
        let map = self.data().join("tablespace_map");
        let text = fs::read_to_string(&map).unwrap_or_default();
        let links = self.data().join("pg_tblspc");
        let linked = fs::read_dir(&links).into_iter().flatten().flatten().find(|entry| {
            // One of `allow_in_place_tablespaces` is a directory.
            let leads_to = fs::read_link(entry.path());
            leads_to.is_ok_and(|target| tablespaces::inside(&self.dir.root, &target).is_none())
        });
        let named = text.lines().find_map(|line| line.split_once(' '));
        let found = match (linked, named) {
            (Some(entry), _) => Some((entry.file_name(), fs::read_link(entry.path()).unwrap_or_default())),
            (None, Some((oid, target))) => Some((oid.into(), PathBuf::from(target))),
            (None, None) => None,
        };
        match found {
            None => Ok(()),
            Some((oid, target)) => Err(StoreError::LeadsOutside { link: Path::new("pg_tblspc").join(oid), target }),
        }
    }

    /// A file of its data directory.
    pub fn text_of(&self, name: &str) -> Option<String> {
        let bytes = durable::read_bounded(&self.data().join(name), 16 << 20).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Puts a file into its data directory.
    pub fn write(&self, name: &str, text: &str) -> Result<(), StoreError> {
        replace(&self.data().join(name), text)
    }

    /// Gives it rules for connections of its own.
    pub fn set_rules(&self, text: &str) -> Result<(), StoreError> {
        replace(&self.dir.pg_hba(), text)
    }

    /// Its roles, as they are since it was shut down.
    pub fn keep_roles(&self, access: AccessSnapshot) -> Result<(), StoreError> {
        let checkpoint = self.control()?.checkpoint;
        roles::save_access(&self.dir, &AccessSnapshot { checkpoint, ..access })
    }

    /// What its control file says.
    pub fn control(&self) -> Result<PgControl, StoreError> {
        control_of(&self.data())
    }
}

fn replace(path: &Path, text: &str) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io("remove", path, error)),
        _ => durable::stage_file(path, text.as_bytes(), 0o600).map_err(|e| StoreError::io("write", path, e)),
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use crate::fixture::{count, fill_cluster, home_with_template, id, name};

    #[test]
    fn it_shows_when_it_is_published_and_its_source_stays() {
        let root = tempfile::tempdir().unwrap();
        let store = home_with_template(&root.path().join("home"));
        let source = root.path().join("source");
        fs::create_dir(&source).unwrap();
        fill_cluster(&source).unwrap();
        fs::write(source.join("backup_label"), "START").unwrap();
        fs::write(source.join("postmaster.pid"), "1").unwrap();
        let before = count(&source);
        let mut arrival = store.receive(&name("copy"), id(7)).unwrap();
        let waiting = arrival.waiting();
        arrival.copy(&source).unwrap();
        drop(waiting);
        assert!(store.branch(&name("copy")).is_err(), "nobody sees it yet");
        arrival.set_rules("local all all trust\n").unwrap();
        let new = store.publish_arrival(arrival, Major(17)).unwrap();
        let data = new.branch.dir.data();
        assert!(data.join("backup_label").exists() && !data.join("postmaster.pid").exists());
        assert!(new.branch.dir.pg_hba().exists() && new.branch.record.parent.is_none());
        assert_eq!(count(&source), before);
    }

    #[test]
    fn who_waits_no_more_ends_the_copying_and_nothing_is_left() {
        let root = tempfile::tempdir().unwrap();
        let store = home_with_template(&root.path().join("home"));
        let source = root.path().join("source");
        fs::create_dir(&source).unwrap();
        fill_cluster(&source).unwrap();
        let mut arrival = store.receive(&name("copy"), id(7)).unwrap();
        drop(arrival.waiting());
        assert!(arrival.copy(&source).is_err());
        drop(arrival);
        assert_eq!(count(&store.home().staging()), 0);
        assert!(store.branch(&name("copy")).is_err());
    }

    #[test]
    fn tablespaces_elsewhere_are_refused_by_name() {
        let root = tempfile::tempdir().unwrap();
        let store = home_with_template(&root.path().join("home"));
        let source = root.path().join("source");
        fs::create_dir(&source).unwrap();
        fill_cluster(&source).unwrap();
        fs::write(source.join("tablespace_map"), "16384 /far/away\n").unwrap();
        let mut arrival = store.receive(&name("copy"), id(7)).unwrap();
        let refused = arrival.copy(&source).unwrap_err().to_string();
        assert_eq!(refused, "pg_tblspc/16384 leads out of the data directory, to /far/away");
    }
}
