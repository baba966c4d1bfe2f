//! `nap rm`

use clap::Args;
use nap_control::{Answer, Children, Request};
use nap_model::ids::BranchName;

use crate::command_error::CommandError;
use crate::complete;
use crate::context::{Context, unexpected};

/// Delete a branch and its data for good
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// The branch
    #[arg(add = complete::branch())]
    branch: BranchName,
    /// Even if clients are connected to it: end their sessions
    #[arg(long)]
    force: bool,
    /// Those that were branched from it too, and those from them
    #[arg(long, conflicts_with = "keep_children")]
    with_children: bool,
    /// Leave them whole, as children of its parent
    #[arg(long)]
    keep_children: bool,
}

impl Rm {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        let children = match (self.with_children, self.keep_children) {
            (true, _) => Children::Remove,
            (_, true) => Children::Keep,
            _ => Children::Refuse,
        };
        match context.ask(&Request::RemoveBranch { name: self.branch, force: self.force, children })? {
            Answer::Removed(names) => {
                let said = || names.iter().map(|name| format!("removed {name}")).collect::<Vec<_>>().join("\n");
                context.output.result(&names, said)
            }
            other => Err(unexpected(&other)),
        }
    }
}
