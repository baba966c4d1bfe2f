//! A machine with a fault: a namespace of mounts and of System V IPC in which a test may cover or limit what it likes.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::is_root;

/// A process that keeps the namespaces. They go with it.
#[derive(Debug)]
pub struct Sandbox {
    keeper: Child,
}

impl Sandbox {
    /// Runs these shell commands in new namespaces. `None`: not root.
    pub fn with(setup: &str) -> Option<Self> {
        if !is_root() {
            return None;
        }
        let script = format!("set -e; {setup}\necho ready; exec sleep 3600");
        let mut keeper = Command::new("unshare")
            .args(["--mount", "--ipc", "--propagation", "private", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
        let sandbox = Self { keeper };
        assert_eq!(line, "ready\n", "{setup}");
        Some(sandbox)
    }

    /// This command, inside.
    pub fn inside(&self, command: &Command) -> Command {
        let mut wrapped = Command::new("nsenter");
        wrapped.args(["--mount", "--ipc", "--target", &self.keeper.id().to_string(), "--"]);
        wrapped.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        wrapped
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
