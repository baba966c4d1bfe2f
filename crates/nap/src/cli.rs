//! The command line. Doc comments are the help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands;

/// Postgres that naps: one port, any number of PostgreSQL servers behind it, each awake only while somebody uses it.
///
/// A branch is a named PostgreSQL cluster. A bare word is a branch, DB@BRANCH names a database of it; the default
/// is the branch main.
#[derive(Debug, Parser)]
#[command(
    name = "nap",
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 not up."
)]
pub(crate) struct CommandLine {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// The directory that holds everything of one daemon [default: the data directory of this platform, for root /var/lib/napgres]
    #[arg(long, global = true, env = "NAP_HOME", value_name = "DIRECTORY", hide_env_values = true)]
    pub(crate) home: Option<PathBuf>,
    /// Print JSON (errors too, on standard error)
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print only what was asked for
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(visible_alias = "start")]
    Up(commands::up::Up),
    #[command(visible_alias = "stop")]
    Down(commands::down::Down),
    Restart(commands::restart::Restart),
    Status(commands::status::Status),
    #[command(visible_alias = "list")]
    Ls(commands::ls::Ls),
    Url(commands::url::Url),
    Env(commands::env::Env),
    Psql(commands::psql::Psql),
    Logs(commands::logs::Logs),
    Wake(commands::wake::Wake),
    Sleep(commands::sleep::Sleep),
    Doze(commands::doze::Doze),
    Sessions(commands::sessions::Sessions),
    #[command(alias = "create")]
    Branch(commands::branch::Branch),
    #[command(aliases = ["delete", "remove", "drop"])]
    Rm(commands::rm::Rm),
    Reset(commands::reset::Reset),
    Restore(commands::restore::Restore),
    Snapshot(commands::snapshot::Snapshot),
    History(commands::history::History),
    Import(commands::import::Import),
    Export(commands::export::Export),
    Set(commands::set::Set),
    Config(commands::config::Config),
    Pg(commands::pg::Pg),
    Pool(commands::pool::Pool),
    Doctor(commands::doctor::Doctor),
    Service(commands::service::Service),
    Uninstall(commands::uninstall::Uninstall),
    Completions(commands::completions::Completions),
    Man(commands::man::Man),
    #[command(hide = true)]
    Docs(commands::docs::Docs),
    #[command(hide = true)]
    Guardian(commands::guardian::Guardian),
}

impl Command {
    /// Whether it does its work, or says what is wrong, while the home's pool is not there. The others would see a home
    /// without branches.
    pub(crate) fn works_without_pool(&self) -> bool {
        matches!(
            self,
            Self::Pool(_)
                | Self::Doctor(_)
                | Self::Down(_)
                | Self::Uninstall(_)
                | Self::Service(_)
                | Self::Logs(_)
                | Self::Pg(_)
                | Self::Completions(_)
                | Self::Man(_)
                | Self::Docs(_)
                | Self::Guardian(_)
        )
    }
}

/// Reads this process's arguments.
pub(crate) fn parse() -> Result<CommandLine, clap::Error> {
    CommandLine::try_parse()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn a_branch_cannot_be_mistaken_for_a_flag() {
        let error = CommandLine::try_parse_from(["nap", "wake", "--up"]).unwrap_err();
        assert_eq!(error.kind(), clap::error::ErrorKind::UnknownArgument);
    }
}
