//! `nap restore`

use clap::Args;
use nap_control::{Answer, Request};
use nap_model::ids::BranchName;

use crate::command_error::CommandError;
use crate::commands::branch::moment;
use crate::complete;
use crate::context::{Context, unexpected};

/// Make a branch what it was at a moment of its past
///
/// What it has been so far is kept as another branch, with its history and its children; its sessions are ended. Snapshots
/// with a name stay with the branch.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The branch
    #[arg(add = complete::branch())]
    branch: BranchName,
    /// When: an LSN (0/15ECF68), a time (2026-11-20T12:00), how long ago (-15min), or a snapshot's name
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true)]
    at: String,
    /// What it has been so far is to be called so [default: BRANCH-until-TIME]
    #[arg(long, value_name = "NAME")]
    keep_as: Option<BranchName>,
}

impl Restore {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        let at = moment(&self.at)?;
        let keep_as = match self.keep_as {
            Some(name) => name,
            None => default_name(&self.branch)?,
        };
        let request = Request::RestoreBranch { name: self.branch, at, keep_as: keep_as.clone() };
        match context.ask(&request)? {
            Answer::Created(report) => {
                let (name, lsn) = (&report.name, report.lsn);
                let said = || format!("{name} is as it was at {lsn}; what it has been since is the branch {keep_as}");
                context.output.result(&report, said)
            }
            other => Err(unexpected(&other)),
        }
    }
}

fn default_name(branch: &BranchName) -> Result<BranchName, CommandError> {
    let now = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S").to_string();
    let name = format!("{branch}-until-{now}").parse();
    Ok(name.map_err(|_| CommandError::usage("the name of what is kept would be too long").hint("--keep-as names it"))?)
}
