//! `nap down`

use std::time::{Duration, Instant};

use clap::Args;
use nap_control::{CallError, Failure, FailureKind, Request};
use nap_store::Home;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::lock_holder::{is_alive, lock_holder};

/// Shut all servers down and stop the daemon
///
/// Open sessions are ended; what was committed is safe. It returns when the daemon is gone.
#[derive(Debug, Args)]
pub(crate) struct Down {}

/// All servers may take their shutdown_timeout (60 s by default) at the same time; this is a good deal more.
const GONE_DEADLINE: Duration = Duration::from_secs(600);

/// Once nobody listens any more, the daemon has nothing left to do but to let go of its lock.
const LAST_BREATH: Duration = Duration::from_secs(5);

impl Down {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        stop(&context.home)?;
        context.output.done("down")
    }
}

/// Returns when no daemon of this home runs any more.
pub(crate) fn stop(home: &Home) -> Result<(), CommandError> {
    let socket = home.control_socket();
    let process = nap_control::listener_pid(&socket)?.map(Process::watch);
    match nap_control::call(&socket, &Request::Down, GONE_DEADLINE) {
        // It may go before its reply does.
        Err(CallError::Ended | CallError::NotUp) => {}
        reply => drop(reply??),
    }
    let deadline = Instant::now() + GONE_DEADLINE;
    let gone = match &process {
        Some(process) => process.wait(deadline),
        None => silent(home, deadline),
    };
    if gone {
        return Ok(());
    }
    let pid = process.map(|process| format!(" (PID {})", process.pid)).unwrap_or_default();
    let message = format!("the daemon{pid} has not ended yet");
    Err(Failure::new(FailureKind::TimedOut, message).hint("`nap logs --daemon` shows what it waits for").into())
}

/// Whether a daemon whose process cannot be seen from here is gone by then: nobody listens, and its lock is free. The
/// number in the lock file means nothing here, so a lock that seems to be held is not waited for long.
fn silent(home: &Home, deadline: Instant) -> bool {
    let listens = || !matches!(nap_control::listener_pid(&home.control_socket()), Err(CallError::NotUp));
    let by = |deadline: Instant, done: &dyn Fn() -> bool| {
        while !done() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(LOOK_PAUSE);
        }
        true
    };
    if !by(deadline, &|| !listens()) {
        return false;
    }
    by(Instant::now() + LAST_BREATH, &|| lock_holder(home).is_none());
    true
}

/// The daemon's process, held so that its end is noticed and its number cannot come to mean another.
struct Process {
    pid: u32,
    #[cfg(target_os = "linux")]
    pidfd: Option<std::os::fd::OwnedFd>,
}

/// Where processes cannot be watched, we look this often.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

impl Process {
    #[cfg(target_os = "linux")]
    fn watch(pid: u32) -> Self {
        let number = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
        let open = |number| rustix::process::pidfd_open(number, rustix::process::PidfdFlags::empty()).ok();
        Self { pid, pidfd: number.and_then(open) }
    }

    #[cfg(not(target_os = "linux"))]
    fn watch(pid: u32) -> Self {
        Self { pid }
    }

    /// Whether it is gone by then.
    fn wait(&self, deadline: Instant) -> bool {
        #[cfg(target_os = "linux")]
        if let Some(pidfd) = &self.pidfd {
            return ends(pidfd, deadline);
        }
        while Instant::now() < deadline {
            if !is_alive(self.pid) {
                return true;
            }
            std::thread::sleep(LOOK_PAUSE);
        }
        false
    }
}

/// Whether the process ends by then.
#[cfg(target_os = "linux")]
fn ends(pidfd: &std::os::fd::OwnedFd, deadline: Instant) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(timeout) = Timespec::try_from(left) else { return false };
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&timeout)) {
            Ok(count) => return count > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a lock file in a test needs no durability")]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_without_a_number_is_gone_when_its_socket_refuses_and_its_lock_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().to_owned());
        std::fs::write(home.lock_file(), "1\n").unwrap();
        let listener = std::os::unix::net::UnixListener::bind(home.control_socket()).unwrap();
        assert!(!silent(&home, Instant::now()), "somebody listens");
        drop(listener);
        assert!(silent(&home, Instant::now() + GONE_DEADLINE));
    }
}
