//! `nap down`

use std::time::{Duration, Instant};

use clap::Args;
use nap_control::{Answer, CallError, Failure, FailureKind, Request};

use crate::command_error::CommandError;
use crate::context::{Context, unexpected};
use crate::lock_holder::is_alive;

/// Shut all servers down and stop the daemon
///
/// Open sessions are ended; what was committed is safe. It returns when the daemon is gone.
#[derive(Debug, Args)]
pub(crate) struct Down {}

/// All servers may take their shutdown_timeout (60 s by default) at the same time; this is a good deal more.
const GONE_DEADLINE: Duration = Duration::from_secs(600);

impl Down {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        let pid = match context.ask(&Request::Status)? {
            Answer::Status(status) => status.pid,
            other => return Err(unexpected(&other)),
        };
        let process = Process::watch(pid);
        match nap_control::call(&context.home.control_socket(), &Request::Down, GONE_DEADLINE) {
            // It may go before its reply does.
            Err(CallError::Ended | CallError::NotUp) => {}
            reply => drop(reply??),
        }
        if !process.wait(Instant::now() + GONE_DEADLINE) {
            let message = format!("the daemon (pid {pid}) has not ended yet");
            return Err(Failure::new(FailureKind::TimedOut, message)
                .hint("`nap logs --daemon` shows what it waits for")
                .into());
        }
        context.output.done("down")
    }
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
