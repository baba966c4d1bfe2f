//! The commands, one file each.

use crate::cli::{Command, CommandLine};
use crate::command_error::CommandError;
use crate::context::Context;

pub(crate) mod branch;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod docs;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod doze;
pub(crate) mod env;
pub(crate) mod export;
pub(crate) mod guardian;
pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod logs;
pub(crate) mod ls;
pub(crate) mod man;
pub(crate) mod pg;
pub(crate) mod pool;
pub(crate) mod psql;
pub(crate) mod reset;
pub(crate) mod restart;
pub(crate) mod restore;
pub(crate) mod rm;
pub(crate) mod service;
pub(crate) mod sessions;
pub(crate) mod set;
pub(crate) mod sleep;
pub(crate) mod snapshot;
pub(crate) mod status;
pub(crate) mod uninstall;
pub(crate) mod up;
pub(crate) mod url;
pub(crate) mod wake;

/// Runs the command.
pub(crate) fn run(line: CommandLine) -> Result<(), CommandError> {
    let context = Context::new(line.global);
    if !line.command.works_without_pool() {
        nap_store::pool::check(&context.home)?;
    }
    match line.command {
        Command::Up(command) => command.run(&context),
        Command::Down(command) => command.run(&context),
        Command::Restart(command) => command.run(&context),
        Command::Status(command) => command.run(&context),
        Command::Ls(command) => command.run(&context),
        Command::Url(command) => command.run(&context),
        Command::Env(command) => command.run(&context),
        Command::Psql(command) => command.run(&context),
        Command::Logs(command) => command.run(&context),
        Command::Wake(command) => command.run(&context),
        Command::Sleep(command) => command.run(&context),
        Command::Doze(command) => command.run(&context),
        Command::Sessions(command) => command.run(&context),
        Command::Branch(command) => command.run(&context),
        Command::Rm(command) => command.run(&context),
        Command::Reset(command) => command.run(&context),
        Command::Restore(command) => command.run(&context),
        Command::Snapshot(command) => command.run(&context),
        Command::History(command) => command.run(&context),
        Command::Import(command) => command.run(&context),
        Command::Export(command) => command.run(&context),
        Command::Set(command) => command.run(&context),
        Command::Config(command) => command.run(&context),
        Command::Pg(command) => command.run(&context),
        Command::Pool(command) => command.run(&context),
        Command::Doctor(command) => command.run(&context),
        Command::Service(command) => command.run(&context),
        Command::Uninstall(command) => command.run(&context),
        Command::Completions(command) => command.run(&context),
        Command::Man(command) => command.run(&context),
        Command::Docs(command) => command.run(&context),
        Command::Guardian(command) => command.run(),
    }
}
