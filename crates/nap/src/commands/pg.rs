//! `nap pg`

use clap::{Args, Subcommand};

use crate::command_error::CommandError;
use crate::context::Context;

mod install;
mod list;

/// Show and install PostgreSQL versions
///
/// It works without the daemon.
#[derive(Debug, Args)]
pub(crate) struct Pg {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(list::List),
    Install(install::Install),
}

impl Pg {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        match self.action {
            Action::List(command) => command.run(context),
            Action::Install(command) => command.run(context),
        }
    }
}
