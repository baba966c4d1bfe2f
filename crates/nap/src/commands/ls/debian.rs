//! As `pg_lsclusters` of Debian's postgresql-common prints clusters: seven columns, one space between, the last as long as it is.

use std::os::unix::fs::MetadataExt as _;

use nap_control::{Answer, BranchReport, Request};
use owo_colors::OwoColorize as _;

use crate::command_error::CommandError;
use crate::context::{Context, unexpected};
use crate::invoker::name_of;

const HEADINGS: [&str; 7] = ["Ver", "Cluster", "Port", "Status", "Owner", "Data directory", "Log file"];
/// What it says where nothing is known.
const UNKNOWN: &str = "<unknown>";

type Line = [String; 7];

pub(super) fn show(branches: &[BranchReport], with_headings: bool, context: &Context) -> Result<(), CommandError> {
    let port = match context.ask(&Request::Status)? {
        Answer::Status(status) => status.port,
        other => return Err(unexpected(&other)),
    };
    let owner = std::fs::metadata(context.home.root()).ok().and_then(|found| name_of(found.uid()));
    let owner = owner.unwrap_or_else(|| UNKNOWN.to_owned());
    let lines = branches.iter().map(|branch| line(branch, port, &owner, context)).collect();
    context.output.result(&branches, || lay_out(lines, with_headings))
}

fn line(branch: &BranchReport, port: u16, owner: &str, context: &Context) -> Line {
    let dir = context.home.branch(&branch.name);
    let status = if branch.status.state.has_processes() { "online" } else { "down" };
    [
        branch.major.to_string(),
        branch.name.to_string(),
        branch.port.unwrap_or(port).to_string(),
        status.to_owned(),
        owner.to_owned(),
        dir.data().display().to_string(),
        dir.server_log().display().to_string(),
    ]
}

/// Sorted by version and name, as there.
fn lay_out(mut lines: Vec<Line>, with_headings: bool) -> String {
    lines.sort();
    let headings = with_headings.then(|| HEADINGS.map(str::to_owned));
    let all: Vec<Line> = headings.into_iter().chain(lines).collect();
    let width = |column: usize| {
        all.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..HEADINGS.len() - 1).map(width).chain([0]).collect();
    let mut text = String::new();
    for (number, line) in all.iter().enumerate() {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let drawn = cells.join(" ");
        match line.get(3).map(String::as_str) {
            _ if with_headings && number == 0 => text.push_str(&drawn),
            Some("online") => text.push_str(&drawn.green().to_string()),
            _ => text.push_str(&drawn.red().to_string()),
        }
        text.push('\n');
    }
    text
}
