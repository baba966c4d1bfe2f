//! `nap branch`

use clap::Args;
use nap_control::{Answer, CloneMethod, CreatedReport, Request};
use nap_model::ids::BranchName;
use nap_model::moment::Moment;
use serde::Serialize;

use crate::command_error::CommandError;
use crate::commands::ls::Ls;
use crate::commands::set::{Assignment, check};
use crate::complete;
use crate::context::{Context, unexpected};
use crate::output::{connection, words};

/// Make a branch: a copy of another one, with a life of its own. Without a name: list them
///
/// A parent that is in use stays so, and the branch begins with what has been committed so far. Where the file system can
/// clone, it shares its blocks with its parent and takes milliseconds; elsewhere it is a copy, and its cost is said.
#[derive(Debug, Args)]
pub(crate) struct Branch {
    /// The new branch's name: a-z, 0-9 and -, at most 63
    name: Option<BranchName>,
    /// What to copy [default: the default branch]
    #[arg(long, value_name = "BRANCH", requires = "name", add = complete::branch())]
    from: Option<BranchName>,
    /// As the parent was then: an LSN (0/15ECF68), a time (2026-11-20T12:00), how long ago (-15min), or a snapshot's
    /// name
    #[arg(long, value_name = "WHEN", requires = "name", allow_hyphen_values = true)]
    at: Option<String>,
    /// Remove it after so long: 2h, 7d
    #[arg(long, value_name = "SPAN", requires = "name")]
    ttl: Option<String>,
    /// A setting of its own, as `nap set` takes it
    #[arg(short = 'c', value_name = "NAME=VALUE", requires = "name")]
    settings: Vec<Assignment>,
    /// Tell what it cost, and how long its parent stood still
    #[arg(long, short, requires = "name")]
    verbose: bool,
}

impl Branch {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        let Some(name) = self.name else { return Ls::default().run(context) };
        let mut settings = self.settings;
        settings.extend(self.ttl.map(|value| Assignment { name: "ttl".to_owned(), value }));
        settings.iter().try_for_each(check)?;
        let settings = settings.into_iter().map(|set| (set.name, set.value)).collect();
        let at = self.at.map(|text| moment(&text)).transpose()?;
        let answer = context.ask(&Request::CreateBranch { name: name.into(), from: self.from, at, settings })?;
        tell(context, answer, self.verbose)
    }
}

/// What it means here and now, in a form that means the same everywhere.
pub(crate) fn moment(text: &str) -> Result<String, CommandError> {
    let meant = Moment::parse(text, jiff::Timestamp::now(), &jiff::tz::TimeZone::system());
    Ok(meant.map_err(|error| CommandError::usage(error.to_string()))?.to_string())
}

/// Tells of a branch that was made.
pub(crate) fn tell(context: &Context, answer: Answer, verbose: bool) -> Result<(), CommandError> {
    match answer {
        Answer::Created(report) => {
            let url = connection::url(&report.connection);
            context.output.result(&Made { report: &report, url: &url }, || {
                if context.output.is_quiet() { url.clone() } else { say(&report, &url, verbose) }
            })
        }
        other => Err(unexpected(&other)),
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

fn say(report: &CreatedReport, url: &str, verbose: bool) -> String {
    let CreatedReport { parent, lsn, prepared_transactions: prepared, subscriptions_disabled, .. } = report;
    let mut lines = vec![format!("branching at {lsn} of {parent}")];
    if verbose || report.method == CloneMethod::Copy {
        lines.push(cloned(report.method, report.bytes, report.files, report.duration_ms));
    }
    if verbose && let Some(pause_us) = report.pause_us {
        lines.push(stood_still(parent, pause_us));
    }
    if *subscriptions_disabled != Some(0) {
        let if_any = if subscriptions_disabled.is_none() { ", if it has any" } else { "" };
        lines.push(format!(
            "its subscriptions are disabled{if_any}: a copy would take their changes away from its parent"
        ));
    }
    if !prepared.is_empty() {
        lines.push(format!("prepared transactions, which keep their locks: {}", prepared.join(", ")));
    }
    lines.push(url.to_owned());
    lines.join("\n")
}

pub(crate) fn stood_still(branch: &BranchName, pause_us: u64) -> String {
    format!("{branch} stood still for {}.{} ms", pause_us / 1000, pause_us % 1000 / 100)
}

/// What it cost.
pub(crate) fn cloned(method: CloneMethod, bytes: Option<u64>, files: u64, duration_ms: u64) -> String {
    let size = words::size(bytes, files);
    let time = format!("{duration_ms} ms");
    match method {
        CloneMethod::Snapshot => format!("took a snapshot of {size} in {time}, sharing their blocks"),
        CloneMethod::Reflink => format!("cloned {size} in {time}, sharing their blocks"),
        CloneMethod::Copy => {
            format!("copied {size} in {time} (this file system cannot clone, so every branch costs its whole size)")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nap_control::ConnectionReport;
    use nap_model::lsn::Lsn;

    fn report(method: CloneMethod) -> CreatedReport {
        CreatedReport {
            name: "dev".parse().unwrap(),
            parent: BranchName::main(),
            lsn: Lsn(0x15E_CF68),
            method,
            bytes: (method != CloneMethod::Snapshot).then_some(40 << 20),
            files: 966,
            duration_ms: 210,
            parent_in_use: false,
            pause_us: None,
            prepared_transactions: Vec::new(),
            subscriptions_disabled: Some(0),
            connection: ConnectionReport { password: None, ..connection::tests::report() },
        }
    }

    #[test]
    fn the_cost_of_a_copy_is_said() {
        let report = report(CloneMethod::Copy);
        let url = connection::url(&report.connection);
        insta::assert_snapshot!(say(&report, &url, false), @r"
        branching at 0/15ECF68 of main
        copied 40 MB in 966 files in 210 ms (this file system cannot clone, so every branch costs its whole size)
        postgresql://al%20ice@localhost:5433/shop%2F1@dev
        ");
    }

    #[test]
    fn what_a_clone_has_from_a_parent_in_use_is_said() {
        let report = CreatedReport {
            pause_us: Some(12_345),
            prepared_transactions: vec!["a".into(), "b".into()],
            subscriptions_disabled: Some(1),
            ..report(CloneMethod::Reflink)
        };
        insta::assert_snapshot!(say(&report, "URL", true), @r"
        branching at 0/15ECF68 of main
        cloned 40 MB in 966 files in 210 ms, sharing their blocks
        main stood still for 12.3 ms
        its subscriptions are disabled: a copy would take their changes away from its parent
        prepared transactions, which keep their locks: a, b
        URL
        ");
    }
}
