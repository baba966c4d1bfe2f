//! `nap snapshot`

use clap::Args;
use nap_control::{Answer, CloneMethod, Request, TakenReport};
use nap_model::ids::BranchName;
use nap_model::snapshot_name::SnapshotName;

use crate::command_error::CommandError;
use crate::commands::branch::{cloned, stood_still};
use crate::complete;
use crate::context::{Context, unexpected};

/// Give a name to what a branch is now: `nap branch NEW --at NAME` leads back there
///
/// It is kept until it is removed, however old it grows, and needs nothing else of the branch's history. A branch that is in
/// use stays so. On a file system that cannot clone it is a copy, and its cost is said.
#[derive(Debug, Args)]
pub(crate) struct Snapshot {
    /// Its name: as a branch's, beginning with a letter [default: at-TIME]
    name: Option<SnapshotName>,
    /// Of which branch [default: the default branch]
    #[arg(long, value_name = "BRANCH", add = complete::branch())]
    from: Option<BranchName>,
    /// Remove the snapshot of this name
    #[arg(long, requires = "name")]
    remove: bool,
    /// Tell what it cost, and how long the branch stood still
    #[arg(long, short, conflicts_with = "remove")]
    verbose: bool,
}

impl Snapshot {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        let name = match self.name {
            Some(name) => name,
            None => default_name()?,
        };
        let request = match self.remove {
            false => Request::TakeSnapshot { branch: self.from, name },
            true => Request::RemoveSnapshot { branch: self.from, name },
        };
        match context.ask(&request)? {
            Answer::Snapshot(report) => context.output.result(&report, || say(&report, self.verbose)),
            Answer::Done => context.output.done("removed"),
            other => Err(unexpected(&other)),
        }
    }
}

fn default_name() -> Result<SnapshotName, CommandError> {
    let name = jiff::Zoned::now().strftime("at-%Y%m%d-%H%M%S").to_string();
    Ok(name.parse::<SnapshotName>().map_err(|error| CommandError::usage(error.to_string()))?)
}

fn say(report: &TakenReport, verbose: bool) -> String {
    let TakenReport { branch, name, lsn, .. } = report;
    let mut lines = vec![format!("{name} is {branch} at {lsn}")];
    if verbose || report.method == CloneMethod::Copy {
        lines.push(cloned(report.method, report.bytes, report.files, report.duration_ms));
    }
    if verbose && let Some(pause_us) = report.pause_us {
        lines.push(stood_still(branch, pause_us));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use nap_model::lsn::Lsn;

    #[test]
    fn what_it_is_and_what_it_cost_is_said() {
        let report = TakenReport {
            branch: BranchName::main(),
            name: "before".parse().unwrap(),
            lsn: Lsn(0x15E_CF68),
            method: CloneMethod::Reflink,
            bytes: Some(40 << 20),
            files: 966,
            duration_ms: 21,
            pause_us: Some(8_250),
        };
        assert_eq!(say(&report, false), "before is main at 0/15ECF68");
        insta::assert_snapshot!(say(&report, true), @r"
        before is main at 0/15ECF68
        cloned 40 MB in 966 files in 21 ms, sharing their blocks
        main stood still for 8.2 ms
        ");
    }
}
