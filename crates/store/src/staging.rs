//! A place in `staging/` that goes away unless what was made in it is published.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::durable;
use crate::error::StoreError;
use crate::fault;
use crate::home::Home;
use crate::subvolume;

#[derive(Debug)]
pub(crate) struct Staged {
    path: PathBuf,
}

impl Staged {
    /// An empty 0700 directory with this name and a number. The process id is in it because an initdb may outlive a
    /// daemon that was killed: it goes on by the name that it was given, which must not be that of the next one's.
    pub(crate) fn new(home: &Home, name: &str) -> Result<Self, StoreError> {
        let process = std::process::id();
        let base = home.staging().join(format!("{name}.{process}"));
        Self::made(&base, make_dir).map_err(|e| StoreError::io("make", &base, e))
    }

    /// The same for what may be cloned later: a subvolume, where there are such.
    pub(crate) fn to_be_cloned(home: &Home, name: &str) -> Result<Self, StoreError> {
        let process = std::process::id();
        let base = home.staging().join(format!("{name}.{process}"));
        let make = |path: &Path| match subvolume::create(path) {
            Ok(()) => fs::set_permissions(path, Permissions::from_mode(0o700)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(e),
            Err(_) => make_dir(path),
        };
        Self::made(&base, make).map_err(|e| StoreError::io("make", &base, e))
    }

    /// A snapshot of a subvolume, beside this place.
    pub(crate) fn snapshot(&self, of: &Path) -> io::Result<Self> {
        Self::made(&self.path, |path| subvolume::snapshot(of, path))
    }

    /// The first name that is free gets it.
    fn made(base: &Path, make: impl Fn(&Path) -> io::Result<()>) -> io::Result<Self> {
        let mut number = 0;
        loop {
            let mut path = base.as_os_str().to_owned();
            path.push(format!(".{number}"));
            let path = PathBuf::from(path);
            match make(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(e) => return Err(e),
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
        durable::rename_new_and_go_on(&self.path, to)?;
        fault::point("published");
        Ok(())
    }
}

fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
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
