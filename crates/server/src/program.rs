//! One of PostgreSQL's programs, run to its end under the daemon's reaper. It ends with whoever waits for it.

use std::io::{self, Read as _, Seek as _};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::children::{Children, Spawned, nameless_file};
use crate::install::Install;
use crate::last_words::last_words;

/// More of what it printed is not read.
const PRINTED_MAX_BYTES: u64 = 4 << 20;

/// Why a program did not do what it was to.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It is not there.
    #[error("{} is missing", .0.display())]
    Missing(std::path::PathBuf),
    /// It cannot be run.
    #[error("cannot run {program}")]
    NotRun {
        /// Which one.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It ran, and said this.
    #[error("{program} failed: {said}")]
    Failed {
        /// Which one.
        program: &'static str,
        /// The end of what it said.
        said: String,
    },
}

/// What a program that went well has printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Printed {
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

/// A program of an installation, with words and variables to be added.
pub struct Program<'a> {
    name: &'static str,
    install: &'a Install,
    command: Command,
}

/// Nobody waits for it any more.
struct Running(i32);

impl Drop for Running {
    fn drop(&mut self) {
        // With its own children: pg_basebackup has one for the log.
        if let Some(group) = Pid::from_raw(self.0) {
            let _ = kill_process_group(group, Signal::TERM);
        }
    }
}

impl<'a> Program<'a> {
    /// This one.
    pub fn new(install: &'a Install, name: &'static str) -> Self {
        Self { name, install, command: Command::new(install.program(name)) }
    }

    /// With these words, which every user of the machine can read.
    #[must_use]
    pub fn args<S: AsRef<std::ffi::OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.command.args(words);
        self
    }

    /// With these variables.
    #[must_use]
    pub fn envs<'v>(mut self, variables: impl IntoIterator<Item = (&'v str, &'v str)>) -> Self {
        self.command.envs(variables);
        self
    }

    /// Runs it to its end.
    pub async fn run(mut self, children: &Children) -> Result<Printed, ProgramError> {
        let path = self.install.program(self.name);
        if !path.is_file() {
            return Err(ProgramError::Missing(path));
        }
        let program = self.name;
        let not_run = |source| ProgramError::NotRun { program, source };
        let (out, err) = (nameless_file().map_err(not_run)?, nameless_file().map_err(not_run)?);
        self.command.envs(self.install.own_libraries().map(|directory| ("LD_LIBRARY_PATH", directory)));
        self.command.stdin(Stdio::null());
        self.command.stdout(out.try_clone().map_err(not_run)?).stderr(err.try_clone().map_err(not_run)?);
        std::os::unix::process::CommandExt::process_group(&mut self.command, 0);
        let Spawned { pid, exit } = children.spawn(&mut self.command).map_err(not_run)?;
        let running = Running(pid);
        nap_fault::reached(program).await;
        let status = exit.await.map_err(|_| not_run(io::Error::other("the reaper of children has ended")))?;
        // The number may be another process's from now on.
        std::mem::forget(running);
        let printed = Printed { out: text(&out), err: text(&err) };
        if status.success() {
            Ok(printed)
        } else {
            Err(ProgramError::Failed { program, said: last_words(&printed.err) })
        }
    }
}

fn text(mut file: &std::fs::File) -> String {
    let mut bytes = Vec::new();
    let _ = file.rewind().and_then(|()| file.take(PRINTED_MAX_BYTES).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}
