//! `nap branch`

use clap::Args;
use nap_control::{Answer, CloneMethod, CreatedReport, Request};
use nap_model::ids::BranchName;
use serde::Serialize;

use crate::command_error::CommandError;
use crate::commands::ls::Ls;
use crate::complete;
use crate::context::{Context, unexpected};
use crate::output::{connection, words};

/// Make a branch: a copy of another one, with a life of its own. Without a name: list them
///
/// Where the file system can clone, it shares its blocks with its parent and takes milliseconds; elsewhere it is a
/// copy, and its cost is said.
#[derive(Debug, Args)]
pub(crate) struct Branch {
    /// The new branch's name: a-z, 0-9 and -, at most 63
    name: Option<BranchName>,
    /// What to copy [default: the default branch]
    #[arg(long, value_name = "BRANCH", requires = "name", add = complete::branch())]
    from: Option<BranchName>,
}

impl Branch {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        let Some(name) = self.name else { return Ls::default().run(context) };
        match context.ask(&Request::CreateBranch { name: name.into(), from: self.from })? {
            Answer::Created(report) => {
                let url = connection::url(&report.connection);
                context.output.result(&Made { report: &report, url: &url }, || say(&report, &url))
            }
            other => Err(unexpected(&other)),
        }
    }
}

/// For programs.
#[derive(Debug, Serialize)]
struct Made<'a> {
    #[serde(flatten)]
    report: &'a CreatedReport,
    /// Without the password.
    url: &'a str,
}

fn say(report: &CreatedReport, url: &str) -> String {
    let CreatedReport { name, parent, lsn, .. } = report;
    let size = words::bytes(report.bytes);
    let time = format!("{} ms", report.duration_ms);
    let cost = match report.method {
        CloneMethod::Reflink => format!("cloned {size} in {time}, sharing its blocks"),
        CloneMethod::Copy => {
            format!("copied {size} in {time}\n(this file system cannot clone, so every branch costs its whole size)")
        }
    };
    format!("{name} is a branch of {parent} at {lsn}: {cost}\n{url}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use nap_control::ConnectionReport;
    use nap_model::lsn::Lsn;

    #[test]
    fn the_cost_of_a_copy_is_said() {
        let mut report = CreatedReport {
            name: "dev".parse().unwrap(),
            parent: BranchName::main(),
            lsn: Lsn(0x15E_CF68),
            method: CloneMethod::Copy,
            bytes: 40 << 20,
            files: 966,
            duration_ms: 210,
            connection: ConnectionReport { password: None, ..connection::tests::report() },
        };
        let url = connection::url(&report.connection);
        insta::assert_snapshot!(say(&report, &url), @r"
        dev is a branch of main at 0/15ECF68: copied 40 MB in 210 ms
        (this file system cannot clone, so every branch costs its whole size)
        postgresql://al%20ice@localhost:5433/shop%2F1@dev
        ");
        report.method = CloneMethod::Reflink;
        assert!(say(&report, &url).contains("cloned 40 MB in 210 ms, sharing its blocks"));
    }
}
