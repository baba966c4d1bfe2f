//! `HOME/postgres`: one at a time puts something there, and what shows under a version's name is whole.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nap_server::install::OwnVersion;
use nap_store::{Home, durable};
use tempfile::TempDir;

use super::error::InstallError;

/// The directory, and the right to change it.
pub(super) struct Place {
    directory: PathBuf,
    _lock: File,
}

impl Place {
    /// Makes the directory, takes its lock, and sweeps what an earlier one left that was killed.
    pub(super) fn open(home: &Home) -> Result<Self, InstallError> {
        let directory = home.postgres_dir();
        match fs::create_dir(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(InstallError::io("make", &directory)(error));
            }
            _ => {}
        }
        // Everybody may run what is there, as it is with the system's packages.
        fs::set_permissions(&directory, Permissions::from_mode(0o755))
            .map_err(InstallError::io("change the mode of", &directory))?;
        let path = home.postgres_lock();
        let lock = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(InstallError::io("open", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(InstallError::Busy(directory)),
            Err(fs::TryLockError::Error(error)) => return Err(InstallError::io("lock", &path)(error)),
        }
        durable::sweep(&directory).map_err(InstallError::io("sweep", &directory))?;
        Ok(Self { directory, _lock: lock })
    }

    /// Where this version lies, or will.
    pub(super) fn of(&self, version: OwnVersion) -> PathBuf {
        self.directory.join(version.to_string())
    }

    /// A directory that goes away by itself.
    pub(super) fn staged(&self) -> Result<TempDir, InstallError> {
        tempfile::Builder::new()
            .prefix(durable::TEMPORARY_PREFIX)
            .tempdir_in(&self.directory)
            .map_err(InstallError::io("make a directory in", &self.directory))
    }

    /// Makes it durable and shows it. False: it is there already.
    pub(super) fn publish(&self, unpacked: &Path, target: &Path) -> Result<bool, InstallError> {
        durable::fsync_tree(unpacked).map_err(InstallError::io("fsync", unpacked))?;
        match durable::rename_new(unpacked, target) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(InstallError::io("make", target)(error)),
        }
    }
}
