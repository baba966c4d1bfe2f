//! `nap restart`

use clap::Args;
use nap_control::{Answer, Request};
use nap_model::ids::BranchName;

use crate::command_error::CommandError;
use crate::complete;
use crate::context::{Context, unexpected};

/// Restart servers, so that changes of postgresql.conf and ALTER SYSTEM take effect
///
/// A server that is asleep needs none: it reads its configuration whenever it wakes. Idle sessions are
/// parked and go on afterwards; those that do something, or are pinned, are ended.
#[derive(Debug, Args)]
pub(crate) struct Restart {
    /// The branch [default: all whose servers are awake]
    #[arg(add = complete::branch())]
    branch: Option<BranchName>,
}

impl Restart {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        let ran = self.any_ran(context)?;
        context.ask(&Request::Restart { branch: self.branch })?;
        context.output.done(if ran {
            "restarted"
        } else {
            "nothing was running: a server reads its settings when it wakes"
        })
    }

    /// Whether there is something to restart.
    fn any_ran(&self, context: &Context) -> Result<bool, CommandError> {
        let branches = match context.ask(&Request::List { disk: false })? {
            Answer::Branches(branches) => branches,
            other => return Err(unexpected(&other)),
        };
        let mut asked = branches.iter().filter(|branch| self.branch.as_ref().is_none_or(|name| *name == branch.name));
        Ok(asked.any(|branch| branch.status.state.has_processes()))
    }
}
