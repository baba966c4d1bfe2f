//! Making a cluster: initdb for a template, and single-user SQL for a cluster that no server has run yet. Blocking.

use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

use nap_model::ids::Major;

use crate::children::Children;
use crate::install::Install;
use crate::launch::clean_environment;

/// The name of the bootstrap superuser in clusters that Napgres makes.
pub const BOOTSTRAP_SUPERUSER: &str = "postgres";

/// Why a cluster could not be made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The program could not be run at all.
    #[error("cannot run {program}")]
    Run {
        /// Which one.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It ran and failed.
    #[error("{program} failed: {printed}")]
    Failed {
        /// Which one.
        program: &'static str,
        /// The end of what it printed.
        printed: String,
    },
}

/// Runs initdb into `data`. It does not sync: the caller publishes the directory and syncs it then.
pub fn initdb(children: &Children, install: &Install, data: &Path) -> Result<(), InitError> {
    let mut command = Command::new(install.program("initdb"));
    command.arg("-D").arg(data);
    // initdb would take these from the environment, where LANG=C gives SQL_ASCII; so all is said.
    command.args(["-U", BOOTSTRAP_SUPERUSER, "-E", "UTF8", "--data-checksums", "--no-sync"]);
    command.args(["--auth-local=peer", "--auth-host=scram-sha-256"]);
    if install.major >= Major(17) {
        command.args(["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]);
    } else {
        command.arg("--locale=C.UTF-8");
    }
    finish("initdb", children, &mut command)
}

/// Runs SQL commands, one per item, in a standalone backend on a cluster that has no server.
pub fn single_user(children: &Children, install: &Install, data: &Path, commands: &[String]) -> Result<(), InitError> {
    let run_error = |source| InitError::Run { program: "postgres --single", source };
    let mut input = tempfile::tempfile().map_err(run_error)?;
    for command in commands {
        // With -j a command ends at semicolon, newline, newline.
        write!(input, "{};\n\n", command.trim_end_matches(';')).map_err(run_error)?;
    }
    io::Seek::rewind(&mut input).map_err(run_error)?;
    let mut command = Command::new(install.program("postgres"));
    command
        .args(["--single", "-j", "-c", "exit_on_error=on", "-c", "log_checkpoints=off", "-D"])
        .arg(data)
        .arg("postgres");
    command.stdin(input);
    finish("postgres --single", children, &mut command)
}

fn finish(program: &'static str, children: &Children, command: &mut Command) -> Result<(), InitError> {
    clean_environment(command);
    let output = children.output(command).map_err(|source| InitError::Run { program, source })?;
    if output.status.success() {
        return Ok(());
    }
    let lines: Vec<&str> = output.text.trim().lines().rev().take(8).collect();
    Err(InitError::Failed { program, printed: lines.into_iter().rev().collect::<Vec<_>>().join("\n") })
}
