//! `nap env`

use clap::Args;
use nap_control::Failure;

use crate::command_error::CommandError;
use crate::commands::url::no_password;
use crate::complete;
use crate::context::Context;
use crate::output::{connection, quote};
use crate::target::Target;

/// Print environment variables that lead PostgreSQL's clients to a branch: eval "$(nap env)"
///
/// PGHOST is the branch's own socket directory, so that bare psql, createdb and pg_dump stay on the branch.
#[derive(Debug, Args)]
pub(crate) struct Env {
    /// A branch, or a database of it: dev, shop@dev [default: the default branch]
    #[arg(value_name = "DB@BRANCH", add = complete::target())]
    target: Option<Target>,
    /// Lines for a .env file instead of a shell
    #[arg(long)]
    dotenv: bool,
    /// For programs that change the database by themselves, over TCP (test runners, pg_restore -C): the branch is named by PGUSER, so every database they connect to is on it
    #[arg(long)]
    tools: bool,
}

impl Env {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        let report = Target::connection(self.target.as_ref(), context)?;
        let variables = if self.tools { connection::tool_variables(&report) } else { connection::variables(&report) };
        // A line break would end the line of a dotenv file or surprise `eval`; no name with one is worth the risk.
        if let Some((name, _)) = variables.iter().find(|(_, value)| value.contains(['\n', '\r', '\0'])) {
            return Err(Failure::failed(format!("{name} would hold a line break")).into());
        }
        if report.password.is_none() {
            context.output.remark(&no_password(&report.role));
        }
        let json: serde_json::Map<String, serde_json::Value> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
        let line = |(name, value): &(&str, String)| match self.dotenv {
            true => format!("{name}={}\n", quote::dotenv(value)),
            false => format!("export {name}={}\n", quote::shell(value)),
        };
        context.output.result(&json, || variables.iter().map(line).collect())
    }
}
