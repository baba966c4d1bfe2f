//! `nap rm`

use clap::Args;
use nap_control::Request;
use nap_model::ids::BranchName;

use crate::command_error::CommandError;
use crate::complete;
use crate::context::Context;

/// Delete a branch and its data for good
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// The branch
    #[arg(add = complete::branch())]
    branch: BranchName,
    /// Even if clients are connected to it: end their sessions
    #[arg(long)]
    force: bool,
}

impl Rm {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        let words = format!("removed {}", self.branch);
        context.ask(&Request::RemoveBranch { name: self.branch, force: self.force })?;
        context.output.done(&words)
    }
}
