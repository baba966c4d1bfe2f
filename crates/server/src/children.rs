//! The daemon's children, and the orphans it inherits.
//!
//! The daemon is a child subreaper: backends of a postmaster that was killed become its children, and as PID 1 of a
//! container it gets every orphan there is. So `waitpid(-1)` is called in exactly one place, here, and everybody who
//! wants an exit status gets it from here. Nobody else in the daemon may wait for a child.

use std::collections::HashMap;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{WaitOptions, WaitStatus};
use tokio::sync::oneshot;

/// The registry of children whose end somebody waits for.
#[derive(Clone, Default)]
pub struct Children {
    awaited: Arc<Mutex<HashMap<i32, oneshot::Sender<ExitStatus>>>>,
    environment: Arc<Vec<(String, String)>>,
}

/// Variables that say who somebody else is, or change how PostgreSQL's programs behave: no child sees them.
const NOT_INHERITED: [&str; 7] = ["PG", "LC_", "XDG_", "SUDO_", "LISTEN_", "NOTIFY_", "WATCHDOG_"];
/// The same, by their whole names. TMPDIR may be a directory that only the user before us can enter.
const NOT_INHERITED_NAMES: [&str; 5] = ["LANG", "LANGUAGE", "TMPDIR", "OLDPWD", "MAIL"];

/// A child that was spawned.
pub struct Spawned {
    /// Its process id.
    pub pid: i32,
    /// Its end.
    pub exit: oneshot::Receiver<ExitStatus>,
}

/// What a command that ran to its end left.
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output and standard error, in the order they were written.
    pub text: String,
}

impl Children {
    /// Makes this process the reaper of its orphans and starts reaping, on the current tokio runtime. Every child gets
    /// `environment` besides what it inherits.
    pub fn start(environment: Vec<(String, String)>) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let children = Self { environment: Arc::new(environment), ..Self::default() };
        let mut signals = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::child())?;
        let reaper = children.clone();
        // Those that ended while this process became another program.
        reaper.reap();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                reaper.reap();
            }
        });
        Ok(children)
    }

    /// Spawns a command whose end can be awaited. The lock spans spawn and registration, else a child that ends at
    /// once would be reaped before anybody could be told.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Spawned> {
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let prefixed = NOT_INHERITED.iter().any(|prefix| text.starts_with(prefix));
            // A server is given a NOTIFY_SOCKET of ours, in place of our own.
            if command.get_envs().any(|(given, _)| given == name) {
                continue;
            }
            if prefixed || NOT_INHERITED_NAMES.contains(&&*text) {
                command.env_remove(&name);
            }
        }
        command.envs(self.environment.iter().cloned());
        let (sender, exit) = oneshot::channel();
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = command.spawn()?.id() as i32;
        awaited.insert(pid, sender);
        Ok(Spawned { pid, exit })
    }

    /// Runs a command to its end and gives what it printed. Blocks the calling thread.
    pub fn output(&self, command: &mut Command) -> io::Result<Output> {
        use io::{Read, Seek};
        // A file rather than a pipe: nobody has to read while it runs, so nothing can get stuck.
        let mut printed = nameless_file()?;
        command.stdout(printed.try_clone()?).stderr(printed.try_clone()?);
        let Spawned { exit, .. } = self.spawn(command)?;
        nap_fault::point("a standalone program runs");
        let status = exit.blocking_recv().map_err(|_| io::Error::other("the reaper of children has ended"))?;
        printed.rewind()?;
        let mut bytes = Vec::new();
        printed.take(1 << 20).read_to_end(&mut bytes)?;
        Ok(Output { status, text: String::from_utf8_lossy(&bytes).into_owned() })
    }

    fn reap(&self) {
        loop {
            let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
            let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) else { return };
            let pid = pid.as_raw_nonzero().get();
            match awaited.remove(&pid) {
                // Nobody may be left to hear it: then there is nobody to tell.
                Some(sender) => drop(sender.send(exit_status(status))),
                None => tracing::debug!(pid, "reaped an orphan"),
            }
        }
    }
}

/// A file that needs no directory, and so no room on a disk that may be full.
pub fn nameless_file() -> io::Result<std::fs::File> {
    #[cfg(target_os = "linux")]
    {
        let file = rustix::fs::memfd_create("nap", rustix::fs::MemfdFlags::CLOEXEC)?;
        Ok(file.into())
    }
    #[cfg(not(target_os = "linux"))]
    tempfile::tempfile()
}

fn exit_status(status: WaitStatus) -> ExitStatus {
    ExitStatus::from_raw(status.as_raw())
}
