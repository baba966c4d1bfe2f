//! `nap logs`

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use nap_control::Failure;
use nap_model::ids::BranchName;

use crate::branch_names::{DEFAULT_BRANCH_CURE, directories, no_such_branch};
use crate::command_error::CommandError;
use crate::complete;
use crate::context::Context;
use crate::output::words::printable;

mod follow;

use follow::Follower;

/// Show the end of a server's log, or of the daemon's
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The branch [default: the default branch]
    #[arg(conflicts_with = "daemon", add = complete::branch())]
    branch: Option<BranchName>,
    /// Go on showing what is added, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// The daemon's own log
    #[arg(long)]
    daemon: bool,
    /// How many lines
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 100)]
    lines: usize,
}

/// How often a followed log is looked at.
const LOOK_PAUSE: Duration = Duration::from_millis(200);

impl Logs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        let path = if self.daemon { context.home.daemon_log() } else { server_log(context, self.branch)? };
        let cannot = |error: io::Error| {
            let failure = Failure::failed(format!("cannot read {}", path.display())).caused_by(&error);
            match error.kind() {
                io::ErrorKind::PermissionDenied => failure.hint("run it as the user that owns the home, or as root"),
                _ => failure,
            }
        };
        let mut follower = Follower::new(path.clone());
        let end = follower.end(self.lines).map_err(cannot)?;
        if end.is_empty() {
            let why = if self.daemon { "no daemon has run in this home yet" } else { "its server has not run yet" };
            context.output.remark(&format!("note: the log is empty: {why}"));
        }
        show(context, &end)?;
        if !self.follow {
            return Ok(());
        }
        loop {
            let added = follower.added().map_err(cannot)?;
            if added.is_empty() {
                std::thread::sleep(LOOK_PAUSE);
            }
            show(context, &added)?;
        }
    }
}

fn server_log(context: &Context, branch: Option<BranchName>) -> Result<PathBuf, CommandError> {
    let named = branch.is_some();
    let branch = match branch {
        Some(branch) => branch,
        None => context.settings()?.default_branch,
    };
    let dir = context.home.branch(&branch);
    match std::fs::metadata(&dir.root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let failure = no_such_branch(&context.home, &branch);
            let there_are_others = !directories(&context.home).is_empty();
            Err(if named || !there_are_others { failure } else { failure.hint(DEFAULT_BRANCH_CURE) }.into())
        }
        // Reading the log says what is wrong, if something is.
        _ => Ok(dir.server_log()),
    }
}

fn show(context: &Context, bytes: &[u8]) -> Result<(), CommandError> {
    if bytes.is_empty() {
        return Ok(());
    }
    let mut stdout = io::stdout().lock();
    if context.output.is_json() {
        for line in String::from_utf8_lossy(bytes).lines() {
            writeln!(stdout, "{}", serde_json::json!({ "line": line }))?;
        }
    } else if stdout.is_terminal() {
        // Logs hold what clients sent: no escape sequence of theirs may reach a terminal.
        stdout.write_all(printable(&String::from_utf8_lossy(bytes)).as_bytes())?;
    } else {
        stdout.write_all(bytes)?;
    }
    Ok(stdout.flush()?)
}
