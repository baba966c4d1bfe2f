//! Waiting for the end of a process that need not be our child, by its pidfd.
//!
//! This is the one module of the project with `unsafe` in it.

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::io::unix::AsyncFd;

/// A process that is held by a file descriptor, so that its pid cannot come to mean another process.
pub struct ExitWatch {
    pid: i32,
    pidfd: AsyncFd<OwnedFd>,
}

impl ExitWatch {
    /// Takes hold of the process that has this pid now.
    pub fn open(pid: i32) -> io::Result<Self> {
        let raw = Pid::from_raw(pid).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let pidfd = rustix::process::pidfd_open(raw, PidfdFlags::empty())?;
        // SAFETY: `register` asks that the descriptor stays open and the same for as long as it is registered. It is an
        // `OwnedFd` that moves into the `AsyncFd`, is never taken out of it and never replaced.
        #[allow(unsafe_code)]
        let pidfd = unsafe { AsyncFd::register(pidfd) }.map_err(io::Error::from)?;
        Ok(Self { pid, pidfd })
    }

    /// The pid.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends a signal to that very process; an error if it has ended.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(rustix::process::pidfd_send_signal(self.pidfd.get_ref(), signal)?)
    }

    /// Another hold on the same process.
    pub fn try_clone(&self) -> io::Result<OwnedFd> {
        self.pidfd.get_ref().try_clone()
    }

    /// Returns when the process has ended (a zombie counts as ended). May be dropped and called again.
    pub async fn ended(&self) {
        // A pidfd becomes readable when its process ends, and stays so.
        if let Err(error) = self.pidfd.readable().await {
            tracing::error!(pid = self.pid, %error, "cannot watch a process");
            std::future::pending::<()>().await;
        }
    }
}
