//! `nap psql`

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use clap::Args;
use nap_control::{Answer, ConnectionReport, Failure, Request};

use crate::command_error::CommandError;
use crate::complete;
use crate::context::{Context, unexpected};
use crate::output::connection;
use crate::target::Target;
use crate::trust::may_run;

/// Run psql on a database of a branch
///
/// What follows the branch, and every option that nap does not know, goes to psql: nap psql shop@dev -c 'select 1'
#[derive(Debug, Args)]
#[command(override_usage = "nap psql [OPTIONS] [DB@BRANCH] [PSQL ARGUMENTS]...")]
pub(crate) struct Psql {
    /// A branch, or a database of it: dev, shop@dev [default: the default branch]; then arguments for psql
    #[arg(value_name = "DB@BRANCH] [PSQL ARGUMENTS", trailing_var_arg = true, allow_hyphen_values = true, add = complete::target())]
    words: Vec<OsString>,
}

/// The branch, if the first word is no option, and what psql is to be given. A `--` in between is ours.
fn split(words: Vec<OsString>) -> Result<(Option<Target>, Vec<OsString>), CommandError> {
    let mut words = words.into_iter().peekable();
    let is_option = |word: &OsString| word.as_encoded_bytes().starts_with(b"-");
    let target = match words.next_if(|word| !is_option(word)) {
        Some(word) => {
            let target = word.to_string_lossy().parse::<Target>();
            Some(target.map_err(|error| CommandError::usage(error.to_string()))?)
        }
        None => None,
    };
    words.next_if(|word| word == "--");
    Ok((target, words.collect()))
}

/// What would lead psql elsewhere than where we send it.
const MISLEADING: [&str; 4] = ["PGHOSTADDR", "PGSERVICE", "PGSERVICEFILE", "PGTARGETSESSIONATTRS"];

impl Psql {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        let (target, arguments) = split(self.words)?;
        let report = Target::connection(target.as_ref(), context)?;
        let program = match context.ask(&Request::Status)? {
            Answer::Status(status) => {
                status.postgres.iter().map(|install| install.bin.join("psql")).find(|p| p.is_file() && may_run(p))
            }
            other => return Err(unexpected(&other)),
        };
        let program = program.unwrap_or_else(|| PathBuf::from("psql"));
        let error = prepare(&program, &report).args(&arguments).exec();
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
