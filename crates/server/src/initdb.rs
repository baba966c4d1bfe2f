//! Making a cluster: initdb for a template, and single-user SQL for a cluster that no server has run yet. Blocking.

use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

use nap_model::ids::Major;

use crate::children::Children;
use crate::install::Install;
use crate::last_words::last_words;

/// The name of the bootstrap superuser in clusters that Napgres makes.
pub const BOOTSTRAP_SUPERUSER: &str = "postgres";

/// Why a cluster could not be made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The program could not be run at all.
    #[error("cannot run {program}")]
    Run {
        /// Which one.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It ran and failed.
    #[error("{program} failed: {printed}")]
    Failed {
        /// Which one.
        program: &'static str,
        /// The end of what it printed.
        printed: String,
    },
}

/// Runs initdb into `data`. It does not sync: the caller publishes the directory and syncs it then.
pub fn initdb(children: &Children, install: &Install, data: &Path) -> Result<(), InitError> {
    let mut command = Command::new(install.program("initdb"));
    command.arg("-D").arg(data);
    // initdb would take these from the environment, where LANG=C gives SQL_ASCII; so all is said.
    command.args(["-U", BOOTSTRAP_SUPERUSER, "-E", "UTF8", "--data-checksums", "--no-sync"]);
    command.args(["--auth-local=peer", "--auth-host=scram-sha-256"]);
    if install.major >= Major(17) {
        command.args(["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]);
    } else {
        command.arg("--locale=C.UTF-8");
    }
    finish("initdb", children, &mut command).map(drop)
}

/// Runs SQL commands, one per item, in a standalone backend on a cluster that has no server.
pub fn single_user(children: &Children, install: &Install, data: &Path, commands: &[String]) -> Result<(), InitError> {
    // The commands hold passwords, which a failed one would write into the log.
    let settings = ["log_checkpoints=off", "log_min_error_statement=panic"];
    standalone(children, install, (data, "postgres"), &settings, commands).map(drop)
}

/// What a cluster is found to be that no server of ours has run yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Superusers that may log in, the bootstrap superuser first, whatever its name.
    pub superusers: Vec<String>,
    /// The subscriptions that were enabled.
    pub subscriptions: Vec<String>,
}

/// Looks into a cluster that comes from elsewhere, which recovers from a crash by that if need be, and disables its subscriptions.
pub fn look_into(children: &Children, install: &Install, data: &Path) -> Result<Found, InitError> {
    let commands = [
        "SELECT rolname AS superuser FROM pg_catalog.pg_authid WHERE rolsuper AND rolcanlogin ORDER BY oid <> 10, oid LIMIT 10",
        "SELECT subname AS subscription FROM pg_catalog.pg_subscription WHERE subenabled",
        DISABLE_SUBSCRIPTIONS,
    ];
    let printed = standalone(children, install, (data, "template0"), &ALONE, &commands.map(str::to_owned))?;
    Ok(Found { superusers: column(&printed, "superuser"), subscriptions: column(&printed, "subscription") })
}

/// The values of a column as a standalone backend prints them: `\t 1: superuser = "postgres"\t(typeid = 19, …)`.
fn column(printed: &str, name: &str) -> Vec<String> {
    let begin = format!(": {name} = \"");
    let values = printed.lines().filter_map(|line| line.split_once(&begin)?.1.rsplit_once("\"\t(typeid"));
    values.map(|(value, _)| value.to_owned()).collect()
}

const DISABLE_SUBSCRIPTIONS: &str = "UPDATE pg_catalog.pg_subscription SET subenabled = false";

/// What holds where a standalone backend works on a copy of what others run.
const ALONE: [&str; 4] = [
    "recovery_init_sync_method=syncfs",
    // What its configuration may still say of others.
    "archive_mode=off",
    "synchronous_standby_names=",
    "default_transaction_read_only=off",
];

/// Disables all subscriptions of a cluster that has no server, which recovers from a crash by that if need be. They are one
/// table for all databases, and what a server would do besides is to tell its workers.
pub fn disable_subscriptions(children: &Children, install: &Install, data: &Path) -> Result<(), InitError> {
    // Nobody drops template0, and it takes whoever is alone.
    standalone(children, install, (data, "template0"), &ALONE, &[DISABLE_SUBSCRIPTIONS.to_owned()]).map(drop)
}

fn standalone(
    children: &Children,
    install: &Install,
    (data, database): (&Path, &str),
    settings: &[&str],
    commands: &[String],
) -> Result<String, InitError> {
    let run_error = |source| InitError::Run { program: "postgres --single", source };
    let mut input = crate::children::nameless_file().map_err(run_error)?;
    for command in commands {
        // With -j a command ends at semicolon, newline, newline.
        write!(input, "{};\n\n", command.trim_end_matches(';')).map_err(run_error)?;
    }
    io::Seek::rewind(&mut input).map_err(run_error)?;
    let mut command = Command::new(install.program("postgres"));
    command.args(["--single", "-j", "-c", "exit_on_error=on", "-c", &crate::launch::own_data(data)]);
    for setting in settings {
        command.args(["-c", setting]);
    }
    command.arg("-D").arg(data).arg(database).stdin(input);
    finish("postgres --single", children, &mut command)
}

fn finish(program: &'static str, children: &Children, command: &mut Command) -> Result<String, InitError> {
    let output = children.output(command).map_err(|source| InitError::Run { program, source })?;
    if output.status.success() {
        return Ok(output.text);
    }
    Err(InitError::Failed { program, printed: last_words(&output.text) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standalone_backends_rows_are_read() {
        let printed = "backend> \t 1: superuser\t(typeid = 19, len = 64)\n\t----\n\
            \t 1: superuser = \"o\"x\"\t(typeid = 19, len = 64)\n\t----\nbackend> \t 1: subscription\t(typeid = 19)\n";
        assert_eq!(column(printed, "superuser"), ["o\"x"]);
        assert!(column(printed, "subscription").is_empty());
    }

    #[test]
    fn what_a_failed_program_printed_is_told_without_its_statements() {
        let printed =
            "one\n2026 [7] ERROR:  role \"a\" exists\n2026 [7] STATEMENT:  CREATE ROLE a\n\tPASSWORD 's3cret';\ntwo\n";
        assert_eq!(last_words(printed), "one\n2026 [7] ERROR:  role \"a\" exists\ntwo");
        let long: String = (0..50).map(|number| format!("{number}\n")).collect();
        assert_eq!(last_words(&long).lines().next(), Some("42"));
        assert_eq!(last_words(""), "");
    }
}
