//! `nap sleep`

use clap::Args;
use nap_control::Request;
use nap_model::ids::BranchName;

use crate::command_error::CommandError;
use crate::complete;
use crate::context::Context;

/// Put a branch's server to sleep now, and return when its processes are gone
///
/// It is refused while something must not be interrupted, such as an open session; `nap ls` shows what.
#[derive(Debug, Args)]
pub(crate) struct Sleep {
    /// The branch [default: the default branch]
    #[arg(add = complete::branch())]
    branch: Option<BranchName>,
}

impl Sleep {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        context.ask(&Request::Sleep { branch: self.branch })?;
        context.output.done("asleep")
    }
}
