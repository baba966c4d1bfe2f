//! `nap pool`

use clap::{Args, Subcommand};
use nap_control::{Failure, FailureKind};
use nap_store::StoreError;
use nap_store::pool::{PoolRecord, Progress, progress};

use crate::command_error::{CommandError, failure_of_store};
use crate::context::Context;
use crate::output::quote::shell;

mod create;
mod file_system;
mod grow;
mod image;
mod mount;
mod program;
mod relocate;
mod size;
mod status;
mod units;

pub(crate) use mount::unmount_for_uninstall;
pub(crate) use units::{are_there as has_units, remove as remove_units};

/// Give a home whose file system cannot clone one that can: a pool, in a sparse file
///
/// On ext4, say, every branch is a copy. A pool is an image with btrfs or XFS in the home, mounted; branches lie in it and share
/// their blocks, and history is kept. Making and mounting it takes root; the daemon never does.
#[derive(Debug, Args)]
pub(crate) struct Pool {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Create(create::Create),
    Grow(grow::Grow),
    Status(status::Status),
    Mount(mount::Mount),
    #[command(visible_alias = "umount")]
    Unmount(mount::Unmount),
}

impl Pool {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        match self.action {
            Action::Create(command) => command.run(context),
            Action::Grow(command) => command.run(context),
            Action::Status(command) => command.run(context),
            Action::Mount(command) => command.run(context),
            Action::Unmount(command) => command.run(context),
        }
    }
}

/// Refuses everybody but root. The home is named: root's own is another one.
fn needs_root(context: &Context, rest: &str) -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let hint = format!("sudo nap --home {} pool {rest}", shell(&context.home.root().to_string_lossy()));
    Err(Failure::new(FailureKind::Denied, "mounting a file system takes root").hint(hint))
}

/// The pool of this home.
fn existing(context: &Context) -> Result<PoolRecord, Failure> {
    match progress(&context.home).map_err(|error| failure_of_store(&error))? {
        Progress::Whole(record) => Ok(record),
        Progress::None | Progress::HalfMade => {
            let root = context.home.root().display();
            let failure = Failure::new(FailureKind::NotFound, format!("the home {root} has no pool"));
            Err(failure.hint("`sudo nap --home HOME pool create --size 50G` makes one; is this the home you mean?"))
        }
    }
}

/// A failure of the store in words of a command.
fn told(error: StoreError) -> Failure {
    failure_of_store(&error)
}
