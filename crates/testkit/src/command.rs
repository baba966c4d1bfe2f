//! What a program said, and what it must have said.

use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

/// A program that runs so long is named, shortly before its test is ended without a word.
const LONG: Duration = Duration::from_secs(240);

/// The end of a program that was run.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Runs a command to its end.
    pub fn of(command: &mut Command) -> Self {
        let line = format!("{command:?}");
        let _ended = name_if_long(line.clone());
        let output = command.output().unwrap_or_else(|error| panic!("{line}: {error}"));
        Self {
            command: line,
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Whether it ended with 0.
    pub fn succeeded(&self) -> bool {
        self.code == Some(0)
    }

    /// It must have ended with 0: its standard output without the last line's end.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert!(self.succeeded(), "{self}");
        self.stdout.trim_end()
    }

    /// It must have ended with this code: its standard error.
    #[track_caller]
    pub fn fails_with(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{self}");
        self.stderr.trim_end()
    }

    /// It must have ended with 0 and printed JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.ok()).unwrap_or_else(|error| panic!("no JSON ({error}): {self}"))
    }
}

/// Until what it returns is dropped.
fn name_if_long(line: String) -> mpsc::Sender<()> {
    let (ended, ends) = mpsc::channel();
    std::thread::spawn(move || {
        if ends.recv_timeout(LONG) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("still running after {LONG:?}: {line}");
        }
    });
    ended
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}: ended with {:?}", self.command, self.code)?;
        writeln!(f, "--- stdout\n{}\n--- stderr\n{}", self.stdout.trim_end(), self.stderr.trim_end())
    }
}
