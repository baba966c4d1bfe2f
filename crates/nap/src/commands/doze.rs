//! `nap doze`

use clap::Args;
use nap_control::Request;
use nap_model::ids::BranchName;

use crate::command_error::CommandError;
use crate::complete;
use crate::context::Context;

/// Freeze a branch's server now, and return when its processes stand still
///
/// It keeps its memory and takes no CPU; its sessions keep everything, pinned or not. Whatever needs it lets it go on
/// within a moment: a session that does something, a new client, `nap wake`. It is refused while something is under way.
#[derive(Debug, Args)]
pub(crate) struct Doze {
    /// The branch [default: the default branch]
    #[arg(add = complete::branch())]
    branch: Option<BranchName>,
}

impl Doze {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        context.ask(&Request::Doze { branch: self.branch })?;
        context.output.done("dozing")
    }
}
