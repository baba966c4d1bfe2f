//! `nap wake`

use clap::Args;
use nap_control::Request;
use nap_model::ids::BranchName;

use crate::command_error::CommandError;
use crate::complete;
use crate::context::Context;

/// Wake a branch's server, asleep or dozing, and return when it takes connections
#[derive(Debug, Args)]
pub(crate) struct Wake {
    /// The branch [default: the default branch]
    #[arg(add = complete::branch())]
    branch: Option<BranchName>,
}

impl Wake {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        context.ask(&Request::Wake { branch: self.branch })?;
        context.output.done("awake")
    }
}
