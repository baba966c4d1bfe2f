//! Something of a branch on its way out of the home: made beside its destination under a name of ours, made durable, renamed.
//! Dropped before that, it goes. What is at the destination already is never replaced.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::clone::{clone_data, empty_dir};
use crate::draft::Draft;
use crate::durable;
use crate::error::StoreError;
use crate::tablespaces;

/// It.
#[derive(Debug)]
pub struct Departure {
    /// Nobody else can put anything there, wherever the destination is.
    place: TempDir,
    to: PathBuf,
}

impl Departure {
    /// Begins it. The destination must not be there, or be an empty directory, as initdb wants it.
    pub fn begin(to: &Path) -> Result<Self, StoreError> {
        let taken = || StoreError::DestinationTaken(to.to_owned());
        match fs::symlink_metadata(to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io("look at", to, error)),
            Ok(found) if !found.is_dir() => return Err(taken()),
            Ok(_) => {
                let mut entries = fs::read_dir(to).map_err(|e| StoreError::io("read", to, e))?;
                if entries.next().is_some() {
                    return Err(taken());
                }
            }
        }
        let parent = to.parent().filter(|_| to.file_name().is_some()).ok_or_else(taken)?;
        let place = tempfile::Builder::new().prefix(durable::TEMPORARY_PREFIX).tempdir_in(parent);
        Ok(Self { place: place.map_err(|e| StoreError::io("make a directory in", parent, e))?, to: to.to_owned() })
    }

    /// What is to be filled: a name under which nothing is.
    pub fn part(&self) -> PathBuf {
        self.place.path().join("part")
    }

    /// It is whole: it shows. Gives back its length.
    pub fn arrive(self) -> Result<u64, StoreError> {
        let part = self.part();
        let synced = if part.is_dir() { durable::fsync_tree(&part) } else { durable::fsync_file(&part) };
        synced.map_err(|e| StoreError::io("fsync", &part, e))?;
        let bytes = bytes_of(&part).map_err(|e| StoreError::io("read", &part, e))?;
        if part.is_dir() {
            // Only an empty one goes.
            fs::remove_dir(&self.to)
                .or_else(none_is_fine)
                .map_err(|_| StoreError::DestinationTaken(self.to.clone()))?;
        }
        match durable::rename_new(&part, &self.to) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(StoreError::DestinationTaken(self.to.clone()))
            }
            Err(error) => Err(StoreError::io("make", &self.to, error)),
        }
    }
}

impl Draft {
    /// Gives its data directory away, with these files put in their place, and its clone's life ended here.
    pub fn depart(&mut self, departure: &Departure, files: &[(&str, String)]) -> Result<(), StoreError> {
        let data = self.data();
        for (name, text) in files {
            let path = data.join(name);
            fs::remove_file(&path).or_else(none_is_fine).map_err(|e| StoreError::io("remove", &path, e))?;
            durable::stage_file(&path, text.as_bytes(), 0o600).map_err(|e| StoreError::io("write", &path, e))?;
        }
        tablespaces::take_in(&self.dir)?;
        let part = &departure.part();
        match durable::rename_durable(&data, part) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                std::os::unix::fs::DirBuilderExt::mode(&mut fs::DirBuilder::new(), 0o700)
                    .create(part)
                    .map_err(|e| StoreError::io("make", part, e))?;
                clone_data(&data, part)?;
                empty_dir(&data)
            }
            moved => moved.map_err(|e| StoreError::io("make", part, e)),
        }
    }

    /// The rules for connections of the branch that it is a copy of, if that has some of its own.
    pub fn own_rules(&self) -> Option<String> {
        let bytes = durable::read_bounded(&self.source().dir.pg_hba(), 4 << 20).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A file of its data directory.
    pub fn text_of(&self, name: &str) -> Option<String> {
        let bytes = durable::read_bounded(&self.data().join(name), 16 << 20).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Whether it has such a file.
    pub fn has_file(&self, name: &str) -> bool {
        self.data().join(name).is_file()
    }
}

fn none_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn bytes_of(path: &Path) -> io::Result<u64> {
    let found = fs::symlink_metadata(path)?;
    if !found.is_dir() {
        return Ok(found.len());
    }
    fs::read_dir(path)?.try_fold(0, |sum, entry| Ok(sum + bytes_of(&entry?.path())?))
}
