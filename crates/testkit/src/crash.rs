//! Faults: the daemon, a server or one of its processes dies; a start or a stop is held up for as long as a test wants.

use std::ffi::OsStr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

use crate::command::Output;
use crate::home::TestHome;
use crate::process::{self, Signal};
use crate::{eventually, is_root};

impl TestHome {
    /// The daemon's process, found without asking it: it may be starting, or hang.
    pub fn daemon_process(&self) -> Option<i32> {
        let home = self.path().display().to_string();
        let is_daemon = |pid: &i32| {
            let line = process::command_line(*pid);
            line.contains(&home) && line.iter().any(|word| word == "--ready-on-stdout" || word == "--take-over")
        };
        process::everything().into_iter().filter(|pid| process::is_alive(*pid)).find(is_daemon)
    }

    /// kill -9 of the daemon. Returns when it is gone, with the pid that it had.
    #[track_caller]
    pub fn kill_daemon(&self) -> i32 {
        let pid = self.daemon_process().expect("a daemon runs");
        process::kill9(pid);
        process::wait_gone(pid);
        pid
    }

    /// The directory of the private socket of a branch's server.
    #[track_caller]
    pub fn private_socket_directory(&self, branch: &str) -> PathBuf {
        let record = std::fs::read_to_string(self.data(branch).with_file_name("branch.toml"));
        let record = record.expect("a record");
        let id = record.lines().find_map(|line| line.strip_prefix("id = ")).expect("an id").trim_matches('"');
        self.path().join("run/.servers").join(id)
    }

    /// `psql` as the bootstrap superuser through a server's private socket, past every daemon.
    #[track_caller]
    pub fn psql_past_the_daemon(&self, branch: &str, sql: &str) -> Output {
        let directory = self.private_socket_directory(branch);
        self.psql_with(&format!("host={} port=5432 user=postgres dbname=postgres", directory.display()), sql)
    }

    /// All living processes of a branch's server.
    pub fn server_processes(&self, branch: &str) -> Vec<i32> {
        process::below(&self.data(branch))
    }

    /// The process of a server whose title holds this (`checkpointer`, `idle`, `SELECT` …).
    pub fn server_process(&self, branch: &str, title: &str) -> Option<i32> {
        let has_title = |pid: &i32| process::command_line(*pid).join(" ").contains(title);
        self.server_processes(branch).into_iter().find(has_title)
    }

    /// kill -9 of a branch's postmaster. Returns when it is gone, with the pid that it had.
    #[track_caller]
    pub fn kill_postmaster(&self, branch: &str) -> i32 {
        let pid = self.server_pid(branch).expect("a postmaster runs");
        process::kill9(pid);
        process::wait_gone(pid);
        pid
    }

    /// The whole log of a branch's server.
    pub fn server_log(&self, branch: &str) -> String {
        let directory = self.data(branch).with_file_name("log");
        let files = std::fs::read_dir(directory).expect("a log directory");
        files.flatten().filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect()
    }

    /// From its next start on, a branch's server stops in the middle of starting (postmaster.pid and sockets are there,
    /// connections are not yet answered) until the hold is released. The server must be awake.
    #[track_caller]
    pub fn hold_starts(&self, branch: &str) -> HeldStart {
        let fifo = self.beside().join(format!("hold-{branch}"));
        mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o666), 0).expect("a FIFO");
        std::fs::set_permissions(&fifo, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("a mode");
        let sql = format!("alter system set external_pid_file = '{}'", fifo.display());
        self.psql(&format!("postgres@{branch}"), &sql).ok();
        HeldStart { fifo, conf: self.data(branch).join("postgresql.auto.conf") }
    }

    /// Waits until a start is held up, and gives its pid. (`starting` is written only after that.)
    #[track_caller]
    pub fn wait_start_is_held(&self, branch: &str) -> i32 {
        eventually("a start is held up", || {
            let text = std::fs::read_to_string(self.data(branch).join("postmaster.pid")).ok()?;
            // The seventh line, the shared memory, is the last before that.
            (text.lines().count() >= 7).then(|| self.server_pid(branch))?
        })
    }

    /// Holds up whatever needs a checkpoint: settling, and shutting down.
    #[track_caller]
    pub fn freeze_checkpointer(&self, branch: &str) -> Frozen {
        let pid = eventually("a checkpointer", || self.server_process(branch, "checkpointer"));
        Frozen::process(pid)
    }

    /// Where a server says that it is: the last line of postmaster.pid.
    pub fn postmaster_progress(&self, branch: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.data(branch).join("postmaster.pid")).ok()?;
        text.lines().nth(7).map(|line| line.trim().to_owned())
    }
}

/// PostgreSQL writes `external_pid_file` in the middle of its start, and a FIFO is opened only when both ends are there.
#[derive(Debug)]
pub struct HeldStart {
    fifo: PathBuf,
    conf: PathBuf,
}

impl HeldStart {
    /// Lets the start that is held up (or the next one) go on, and all after it.
    pub fn release(self) {
        // Later starts first: what the server has read already does not change.
        let text = std::fs::read_to_string(&self.conf).expect("postgresql.auto.conf");
        let kept: String =
            text.lines().filter(|line| !line.contains("external_pid_file")).map(|l| format!("{l}\n")).collect();
        std::fs::write(&self.conf, kept).expect("write postgresql.auto.conf");
        let mut options = std::fs::OpenOptions::new();
        let reader =
            options.read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(&self.fifo).expect("the FIFO");
        // The server opens, writes its pid and closes; a reader that goes too early would be a broken pipe.
        std::thread::spawn(move || {
            std::thread::sleep(crate::DEADLINE);
            drop(reader);
        });
    }
}

/// A process that does not run on until this is dropped.
#[derive(Debug)]
pub struct Frozen(i32);

impl Frozen {
    /// SIGSTOP; returns when it has come into force. A process that ends first (a backend whose client has just gone)
    /// needs no stopping.
    pub fn process(pid: i32) -> Self {
        process::signal(pid, Signal::STOP);
        eventually("the process is stopped", || matches!(process::state(pid), None | Some('T' | 'Z')).then_some(()));
        Self(pid)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        process::signal(self.0, Signal::CONT);
    }
}

/// A program that is run as the user that servers run as.
pub fn as_server_user(program: impl AsRef<OsStr>) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/");
    crate::home::forget_environment(&mut command);
    command
}

/// Gives a file that the test made to the user that servers run as.
pub fn give_to_server_user(path: &Path) {
    if is_root() {
        let mut command = Command::new("chown");
        Output::of(command.arg("postgres:postgres").arg(path)).ok();
    }
}
