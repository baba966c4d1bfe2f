//! A place in `staging/` that goes away unless what was made in it is published.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::durable;
use crate::error::StoreError;
use crate::fault;
use crate::home::Home;

#[derive(Debug)]
pub(crate) struct Staged {
    path: PathBuf,
}

impl Staged {
    /// An empty 0700 directory with this name and a number. The process id is in it because an initdb may outlive a
    /// daemon that was killed: it goes on by the name that it was given, which must not be that of the next one's.
    pub(crate) fn new(home: &Home, name: &str) -> Result<Self, StoreError> {
        let (process, mut number) = (std::process::id(), 0);
        loop {
            let path = home.staging().join(format!("{name}.{process}.{number}"));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(e) => return Err(StoreError::io("make", &path, e)),
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Somebody else sees to it from now on.
    pub(crate) fn leave(mut self) -> PathBuf {
        std::mem::take(&mut self.path)
    }

    /// Makes all of it durable.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        durable::fsync_tree(&self.path).map_err(|e| StoreError::io("fsync", &self.path, e))?;
        fault::point("synced");
        Ok(())
    }

    /// Moves it to where it shows. `AlreadyExists` if that name is taken.
    pub(crate) fn publish(&self, to: &Path) -> io::Result<()> {
        durable::rename_new(&self.path, to)?;
        fault::point("published");
        Ok(())
    }
}

impl Drop for Staged {
    /// After a publish nothing is there any more, and nothing happens.
    fn drop(&mut self) {
        if self.path.as_os_str().is_empty() {
            return;
        }
        if let Err(error) = durable::remove_tree(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "could not clean up; the next start will");
        }
    }
}
