//! Stopping all processes of a server where they are, and letting them go on.
//!
//! SIGSTOP is asynchronous: a process that is in a system call that must not be interrupted runs on until that ends. So
//! the postmaster is stopped first, and once it is, no new children can turn up behind those that are found.

use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::procfs::{self, Directory};

/// How long it may take until all are stopped. Longer means a disk that does not answer.
const FREEZE_WITHIN: Duration = Duration::from_secs(1);
/// The pause between looks while they come to a stop; there is no event that would tell.
const LOOK_PAUSE: Duration = Duration::from_millis(1);

/// Why a server was not frozen. It goes on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotFrozen {
    /// It has no data directory any more.
    #[error("its data directory is gone: {0}")]
    Gone(#[from] std::io::Error),
    /// Nobody could tell which processes it has.
    #[error("this system has no /proc, so that its processes are not known")]
    Unsupported,
    /// It did not come to a stop.
    #[error("not all of its processes stopped within {} s", FREEZE_WITHIN.as_secs())]
    Late,
}

/// A server whose processes are stopped, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Frozen {
    data: Directory,
    /// In the order of stopping.
    stopped: Vec<i32>,
}

/// Stops all processes of a server. Whoever drops this before it is done lets them go on.
pub(crate) async fn freeze(data: &Path, postmaster: i32) -> Result<Frozen, NotFrozen> {
    if !cfg!(target_os = "linux") {
        return Err(NotFrozen::Unsupported);
    }
    let mut frozen = Frozen { data: Directory::of(data)?, stopped: Vec::new() };
    match tokio::time::timeout(FREEZE_WITHIN, frozen.stop_all(postmaster)).await {
        Ok(()) => Ok(frozen),
        Err(_) => Err(NotFrozen::Late),
    }
}

impl Frozen {
    async fn stop_all(&mut self, postmaster: i32) {
        self.stop(postmaster);
        self.all_still().await;
        nap_fault::reached("a postmaster stands still").await;
        loop {
            let data = self.data;
            let found = tokio::task::spawn_blocking(move || procfs::postgres_processes_of(data)).await;
            let more: Vec<i32> =
                found.unwrap_or_default().into_iter().filter(|pid| !self.stopped.contains(pid)).collect();
            if more.is_empty() {
                return;
            }
            more.into_iter().for_each(|pid| self.stop(pid));
            self.all_still().await;
        }
    }

    fn stop(&mut self, pid: i32) {
        // Before the signal: who gives up right after it must know whom to let go on.
        self.stopped.push(pid);
        send(pid, Signal::STOP);
    }

    async fn all_still(&self) {
        while !self.stopped.iter().all(|pid| procfs::is_still(*pid)) {
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Whether none of them runs: somebody else may have let one go on. One that has ended may have done so before it was to
    /// stop.
    pub(crate) fn is_still(&self) -> bool {
        self.stopped.iter().all(|pid| procfs::is_still(*pid))
    }

    /// Whether a timeout of one of its sessions has run out: those count on while a process is stopped.
    pub(crate) fn timeout_is_over(&self) -> bool {
        self.stopped.iter().any(|pid| procfs::has_unheard_alarm(*pid))
    }
}

impl Drop for Frozen {
    /// The other way round. It takes microseconds for each, and blocks nothing.
    fn drop(&mut self) {
        for pid in self.stopped.iter().rev() {
            // The list may be an hour old, and a process that was killed has left its number to whom it may concern.
            if procfs::works_in(*pid, self.data) {
                send(*pid, Signal::CONT);
            }
        }
    }
}

/// Lets all processes go on that work in this data directory; gives back how many were stopped. For servers that somebody
/// froze who is not there any more. One that is told to stop and has not come to it yet is none of these, and must go on
/// too.
pub fn thaw_all(data: Directory) -> usize {
    let all = procfs::postgres_processes_of(data);
    let stopped = all.iter().filter(|pid| procfs::is_stopped(**pid)).count();
    all.into_iter().for_each(|pid| send(pid, Signal::CONT));
    stopped
}

fn send(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        // An error means that it has ended.
        let _ = kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_not_there_is_not_frozen() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(freeze(&directory.path().join("gone"), i32::MAX).await, Err(NotFrozen::Gone(_))));
        assert_eq!(thaw_all(Directory::of(directory.path()).unwrap()), 0);
    }

    #[tokio::test]
    async fn a_process_is_stopped_until_this_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").current_dir(directory.path()).spawn().unwrap();
        let pid = child.id() as i32;
        let frozen = freeze(directory.path(), pid).await.unwrap();
        assert!(procfs::is_stopped(pid));
        assert!(!frozen.timeout_is_over());
        send(pid, Signal::ALARM);
        assert!(frozen.timeout_is_over());
        drop(frozen);
        assert!(!child.wait().unwrap().success(), "it goes on, and hears the alarm");
    }
}
