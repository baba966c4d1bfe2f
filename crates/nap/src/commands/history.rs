//! `nap history`

use clap::Args;
use nap_control::{Answer, HistoryReport, InodesReport, Request, SnapshotReport};
use nap_model::ids::BranchName;

use crate::command_error::CommandError;
use crate::complete;
use crate::context::{Context, unexpected};
use crate::output::{table, words};

/// Show what is kept of a branch's past: `nap branch NAME --at WHEN` leads there
#[derive(Debug, Args)]
pub(crate) struct History {
    /// The branch [default: the default branch]
    #[arg(add = complete::branch())]
    branch: Option<BranchName>,
}

impl History {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        match context.ask(&Request::History { branch: self.branch })? {
            Answer::History(report) => context.output.result(&report, || say(&report)),
            other => Err(unexpected(&other)),
        }
    }
}

fn say(report: &HistoryReport) -> String {
    let HistoryReport { branch, span, snapshots, end, segments, inodes, .. } = report;
    let head = match (snapshots.iter().find(|snapshot| snapshot.name.is_none()), end) {
        (Some(SnapshotReport { lsn, taken, .. }), Some(end)) => {
            let taken = words::here(taken);
            let kept = words::count(*segments, "segment", "segments");
            format!("{branch}: from {lsn} ({taken}) to {end}, now; kept for {span}, with {kept} of its log")
        }
        _ if report.is_kept => format!("{branch} has no history yet: it begins when its server next falls asleep"),
        _ => format!("{branch} has no history: this file system cannot clone"),
    };
    if snapshots.is_empty() {
        return head;
    }
    let mut rows = table::with_header(["SNAPSHOT", "NAME", "TAKEN", "AGE", "FILES"]);
    for SnapshotReport { name, lsn, taken, files } in snapshots {
        let name = name.as_ref().map(ToString::to_string).unwrap_or_default();
        rows.add_row([lsn.to_string(), name, words::here(taken), words::since_text(taken), files.to_string()]);
    }
    let inodes = inodes.as_ref().map(say_inodes).unwrap_or_default();
    format!("{head}\n{}{inodes}", table::text(rows))
}

/// Each file is one.
fn say_inodes(inodes: &InodesReport) -> String {
    let InodesReport { free, total, history_leaves_percent } = inodes;
    let percent = free.saturating_mul(100) / (*total).max(1);
    format!("\n{free} inodes ({percent} %) are free; below {history_leaves_percent} % the oldest snapshots go")
}

#[cfg(test)]
mod tests {
    use super::*;
    use nap_model::lsn::Lsn;
    use nap_model::span::Span;

    #[test]
    fn the_span_is_told_or_why_there_is_none() {
        let mut report = HistoryReport {
            branch: BranchName::main(),
            span: Span::seconds(7 * 24 * 60 * 60),
            is_kept: true,
            snapshots: Vec::new(),
            end: Some(Lsn(0x200_0000)),
            segments: 3,
            inodes: None,
        };
        assert_eq!(say(&report), "main has no history yet: it begins when its server next falls asleep");
        let snapshot = |name: Option<&str>| SnapshotReport {
            name: name.map(|name| name.parse().unwrap()),
            lsn: Lsn(0x15E_CF68),
            taken: "2026-11-20T12:00:00Z".into(),
            files: 966,
        };
        report.snapshots.extend([snapshot(Some("before")), snapshot(None)]);
        let said = say(&report);
        let then = words::here("2026-11-20T12:00:00Z");
        let head =
            format!("main: from 0/15ECF68 ({then}) to 0/2000000, now; kept for 7d, with 3 segments of its log\n");
        assert!(said.starts_with(&head), "{said}");
        assert!(said.contains(&format!("0/15ECF68  before  {then}")), "{said}");
        report.inodes = Some(InodesReport { free: 1_200, total: 10_000, history_leaves_percent: 5 });
        assert!(say(&report).ends_with("\n1200 inodes (12 %) are free; below 5 % the oldest snapshots go"));
        report.snapshots.clear();
        report.is_kept = false;
        assert_eq!(say(&report), "main has no history: this file system cannot clone");
    }
}
