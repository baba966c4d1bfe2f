//! One daemon per home.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use crate::error::StoreError;
use crate::home::Home;

/// The right to be this home's daemon. The kernel takes it back when the process ends, however it ends; servers do not
/// inherit it.
#[derive(Debug)]
pub struct HomeLock {
    file: File,
}

/// Why the lock was not got.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon has it.
    #[error("{} is in use by another daemon{}", .home.display(), pid_words(*.pid))]
    Held {
        /// The home.
        home: PathBuf,
        /// The holder's process, if it has written it already.
        pid: Option<i32>,
    },
    /// The lock file cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn pid_words(pid: Option<i32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

impl HomeLock {
    /// For another program, in this process or the next one: as long as this lives the lock is held.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.file.try_clone().map(OwnedFd::from)
    }

    /// What `duplicate` gave, perhaps to another process.
    pub fn inherited(lock: OwnedFd) -> Self {
        let mut lock = Self { file: lock.into() };
        lock.write_pid();
        lock
    }

    /// Takes the lock, or says who has it. Never waits.
    pub fn acquire(home: &Home) -> Result<Self, LockError> {
        let path = home.lock_file();
        let failed = |what| {
            let path = path.clone();
            move |e: io::Error| LockError::Store(StoreError::io(what, &path, e))
        };
        // Root takes it too, in a directory of somebody else's: no link may lead to what is then cut to nothing.
        let no_link = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(no_link);
        let mut file = options.open(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => StoreError::NoHome(home.root().to_owned()).into(),
            _ => failed("open")(e),
        })?;
        // A second name of somebody else's file.
        if file.metadata().map_err(failed("look at"))?.nlink() != 1 {
            return Err(StoreError::NotOurs(path.clone()).into());
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held { home: home.root().to_owned(), pid: read_pid(&mut file) });
            }
            Err(TryLockError::Error(e)) => return Err(failed("lock")(e)),
        }
        let mut lock = Self { file };
        lock.write_pid();
        Ok(lock)
    }

    /// Only for who asks who has it: on a full disk the daemon still comes up.
    fn write_pid(&mut self) {
        let file = &mut self.file;
        let written = file.set_len(0).and_then(|()| file.rewind());
        if let Err(error) = written.and_then(|()| writeln!(file, "{}", std::process::id())) {
            tracing::warn!(%error, "could not write our process id into the lock file");
        }
    }
}

fn read_pid(file: &mut File) -> Option<i32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(20).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
