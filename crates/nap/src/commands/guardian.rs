//! `nap guardian`: what the daemon starts beside itself, so that no server stays frozen when it dies.

use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use clap::Args;
use nap_server::guardian::process::guard;
use nap_store::Home;

use crate::command_error::CommandError;

/// Let frozen servers go on when the daemon at the other end of standard input ends
#[derive(Debug, Args)]
pub(crate) struct Guardian {}

impl Guardian {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        Ok(guard(std::io::stdin().as_fd().try_clone_to_owned()?)?)
    }
}

/// The command that becomes one. The home is there for whoever reads `ps`.
pub(crate) fn command(home: &Home) -> Command {
    let mut command = Command::new(this_program());
    command.arg0("nap").arg("--home").arg(home.root()).arg("guardian");
    command
}

/// The very program that runs, though its file may have been replaced, or lie where run_as may not go.
#[cfg(target_os = "linux")]
fn this_program() -> std::path::PathBuf {
    "/proc/self/exe".into()
}

/// Where there is no /proc, its path must do.
#[cfg(not(target_os = "linux"))]
fn this_program() -> std::path::PathBuf {
    std::env::current_exe().unwrap_or_else(|_| "nap".into())
}
