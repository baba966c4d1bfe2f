//! `nap psql`

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use clap::Args;
use nap_control::{Answer, ConnectionReport, Failure, Request};

use crate::command_error::CommandError;
use crate::context::{Context, unexpected};
use crate::output::connection;
use crate::target::Target;
use crate::trust::may_run;

/// Run psql on a database of a branch
#[derive(Debug, Args)]
pub(crate) struct Psql {
    /// A branch, or a database of it: dev, shop@dev [default: the default branch]
    #[arg(value_name = "DB@BRANCH")]
    target: Option<Target>,
    /// Arguments for psql
    #[arg(last = true, value_name = "PSQL ARGUMENTS")]
    arguments: Vec<std::ffi::OsString>,
}

/// What would lead psql elsewhere than where we send it.
const MISLEADING: [&str; 4] = ["PGHOSTADDR", "PGSERVICE", "PGSERVICEFILE", "PGTARGETSESSIONATTRS"];

impl Psql {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        let report = match context.ask(&Target::connection(self.target.as_ref()))? {
            Answer::Connection(report) => report,
            other => return Err(unexpected(&other)),
        };
        let program = match context.ask(&Request::Status)? {
            Answer::Status(status) => {
                status.postgres.iter().map(|install| install.bin.join("psql")).find(|p| p.is_file() && may_run(p))
            }
            other => return Err(unexpected(&other)),
        };
        let program = program.unwrap_or_else(|| PathBuf::from("psql"));
        let error = prepare(&program, &report).args(&self.arguments).exec();
        let failure = Failure::failed(format!("cannot run {}", program.display())).caused_by(&error);
        Err(failure.hint("psql comes with PostgreSQL's client package, such as postgresql-client").into())
    }
}

fn prepare(program: &std::path::Path, report: &ConnectionReport) -> Command {
    let mut command = Command::new(program);
    for name in MISLEADING {
        command.env_remove(name);
    }
    // The URL is for other programs; psql does not read it.
    command.envs(connection::variables(report).into_iter().filter(|(name, _)| name.starts_with("PG")));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_the_environment_leads_elsewhere() {
        let command = prepare("psql".as_ref(), &connection::tests::report());
        let set: Vec<(String, Option<String>)> = command
            .get_envs()
            .map(|(name, value)| (name.to_str().unwrap().into(), value.map(|v| v.to_str().unwrap().into())))
            .collect();
        assert!(set.contains(&("PGHOST".into(), Some("/h/run/dev".into()))));
        assert!(set.contains(&("PGSERVICE".into(), None)));
        assert!(set.contains(&("PGHOSTADDR".into(), None)));
        assert!(!set.iter().any(|(name, _)| name == "DATABASE_URL"));
    }
}
