//! The user that servers run as: `postgres` when the bench is run by root, else whoever runs it.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

/// The servers' user and group; `None` when they need not change.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account(Option<(u32, u32)>);

impl Account {
    pub(crate) fn of_servers() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self(None));
        }
        let passwd = std::fs::read_to_string("/etc/passwd")?;
        let line = passwd.lines().find(|line| line.starts_with("postgres:"));
        let line = line.context("root runs this, and there is no user postgres for the servers")?;
        let mut numbers = line.split(':').skip(2).map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(user)), Some(Ok(group))) => Ok(Self(Some((user, group)))),
            _ => anyhow::bail!("cannot read {line:?} of /etc/passwd"),
        }
    }

    /// A command that this user runs, without the caller's locale: `nap` starts its servers so too, and a locale to load
    /// costs a millisecond.
    pub(crate) fn command(self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/");
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("PG") || text.starts_with("LC_") || text == "LANG" {
                command.env_remove(&name);
            }
        }
        if let Some((user, group)) = self.0 {
            // libpq looks for certificates in the home, and that is not the caller's.
            command.uid(user).gid(group).env_remove("HOME");
        }
        command
    }

    /// Makes a directory that only this user reads.
    pub(crate) fn make_directory(self, path: &Path) -> Result<()> {
        std::fs::create_dir(path).with_context(|| path.display().to_string())?;
        self.own(path)
    }

    pub(crate) fn own(self, path: &Path) -> Result<()> {
        if let Some((user, group)) = self.0 {
            chown(path, Some(user), Some(group))?;
        }
        Ok(())
    }
}

/// Runs to the end, which must be a good one; its standard output.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    run_with_remarks(command).map(|(said, _)| said)
}

/// The same, and what it wrote to its standard error.
pub(crate) fn run_with_remarks(command: &mut Command) -> Result<(String, String)> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let remarks = String::from_utf8_lossy(&output.stderr).into_owned();
    anyhow::ensure!(output.status.success(), "{command:?}: {}\n{remarks}", output.status);
    Ok((String::from_utf8_lossy(&output.stdout).trim_end().to_owned(), remarks))
}
