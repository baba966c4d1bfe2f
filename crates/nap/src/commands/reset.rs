//! `nap reset`

use clap::Args;
use nap_control::Request;
use nap_model::ids::BranchName;

use crate::command_error::CommandError;
use crate::commands::branch::tell;
use crate::complete;
use crate::context::Context;

/// Make a branch anew from its parent, as that is now
///
/// What has been written to the branch is gone, unless it is kept under another name; its sessions are ended. Its own
/// settings stay. Its children are whole as they are; they go with what is kept, as its children.
#[derive(Debug, Args)]
pub(crate) struct Reset {
    /// The branch
    #[arg(add = complete::branch())]
    branch: BranchName,
    /// Keep what it was as another branch, of this name
    #[arg(long, value_name = "NAME")]
    keep_as: Option<BranchName>,
    /// Tell what it cost, and how long its parent stood still
    #[arg(long, short)]
    verbose: bool,
}

impl Reset {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        let answer = context.ask(&Request::ResetBranch { name: self.branch, keep_as: self.keep_as })?;
        tell(context, answer, self.verbose)
    }
}
