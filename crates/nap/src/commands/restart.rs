//! `nap restart`

use clap::Args;
use nap_control::Request;
use nap_model::ids::BranchName;

use crate::command_error::CommandError;
use crate::context::Context;

/// Restart servers, so that changes of postgresql.conf and ALTER SYSTEM take effect
///
/// A server that is asleep needs none: it reads its configuration whenever it wakes. Open sessions are ended.
#[derive(Debug, Args)]
pub(crate) struct Restart {
    /// The branch [default: all whose servers are awake]
    branch: Option<BranchName>,
}

impl Restart {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        context.ask(&Request::Restart { branch: self.branch })?;
        context.output.done("restarted")
    }
}
