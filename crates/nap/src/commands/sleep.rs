//! `nap sleep`

use clap::Args;
use nap_control::Request;
use nap_model::ids::BranchName;

use crate::command_error::CommandError;
use crate::complete;
use crate::context::Context;

/// Put a branch's server to sleep now, and return when its processes are gone
///
/// Sessions that do nothing are parked: their clients stay connected. It is refused while something must not be
/// interrupted, or would be lost; `nap ls` and `nap sessions` show what. A server that pinned sessions keep from sleeping
/// dozes instead.
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
