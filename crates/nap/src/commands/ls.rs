//! `nap ls`

use clap::Args;
use comfy_table::{Table, presets};
use nap_control::{Answer, BranchReport, Request};
use nap_model::state::{Reason, State};
use owo_colors::{AnsiColors, OwoColorize as _};

use crate::command_error::CommandError;
use crate::context::{Context, unexpected};
use crate::output::{tree, words};

/// List the branches as a tree: their state, and what keeps them awake
#[derive(Debug, Default, Args)]
pub(crate) struct Ls {}

impl Ls {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        match context.ask(&Request::List)? {
            Answer::Branches(branches) => context.output.result(&branches, || table(&branches)),
            other => Err(unexpected(&other)),
        }
    }
}

fn table(branches: &[BranchReport]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    // The daemon need not know sizes.
    let sized = branches.iter().any(|branch| branch.size_bytes.is_some());
    let header = ["BRANCH", "STATE", "SESSIONS", "BECAUSE", "AGE", "PG"].into_iter().chain(sized.then_some("SIZE"));
    table.set_header(header);
    for tree::Row { stem, branch } in tree::rows(branches) {
        let default = if branch.default { " *" } else { "" };
        let size = || branch.size_bytes.map(words::bytes).unwrap_or_default();
        let cells = [
            format!("{stem}{}{default}", branch.name),
            state(branch),
            sessions(branch),
            because(branch),
            words::since_text(&branch.created),
            branch.major.to_string(),
        ];
        table.add_row(cells.into_iter().chain(sized.then(size)));
    }
    // The first column's own left padding would push the tree off the margin.
    if let Some(column) = table.column_mut(0) {
        column.set_padding((0, 1));
    }
    table.to_string().lines().map(|line| colour(line.trim_end()) + "\n").collect()
}

/// Whether a state's word stands in the line: colour is added after the table is laid out, so that it has no width.
fn colour(line: &str) -> String {
    let colours = [
        (State::Awake, AnsiColors::Green),
        (State::Waking, AnsiColors::Yellow),
        (State::Settling, AnsiColors::Yellow),
        (State::Stopping, AnsiColors::Yellow),
        (State::Failed, AnsiColors::Red),
    ];
    for (state, colour) in colours {
        let padded = format!(" {state} ");
        if let Some((before, after)) = line.split_once(&padded) {
            return format!("{before} {} {after}", state.color(colour));
        }
    }
    line.to_owned()
}

fn state(branch: &BranchReport) -> String {
    let status = &branch.status;
    // A branch that has not moved since the daemon started has no time to tell.
    if status.reason.is_none() {
        return status.state.to_string();
    }
    format!("{} for {}", status.state, words::since(status.since_unix_ms))
}

fn sessions(branch: &BranchReport) -> String {
    match (branch.status.sessions, branch.status.waiting) {
        (0, 0) => "-".to_owned(),
        (sessions, 0) => sessions.to_string(),
        (sessions, waiting) => format!("{sessions} + {waiting} waiting"),
    }
}

/// Why it is in this state, where that says more than the state itself.
fn because(branch: &BranchReport) -> String {
    let status = &branch.status;
    match status.state {
        State::Failed => gist(status.failure.as_deref().unwrap_or("did not start")),
        State::Awake | State::Settling if !status.guards.is_empty() => {
            status.guards.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        }
        State::Asleep if status.failure.is_some() => gist(status.failure.as_deref().unwrap_or_default()),
        State::Awake if status.sessions > 0 => words::count(u64::from(status.sessions), "session", "sessions"),
        State::Awake => format!("sleeps when idle for {}", branch.sleep_after),
        State::Asleep | State::Waking | State::Settling | State::Stopping => reason(status.state, status.reason),
    }
}

/// What the log said of the last transition; an ordinary sleep needs no words.
fn reason(state: State, reason: Option<Reason>) -> String {
    let Some(reason) = reason.filter(|reason| *reason != Reason::Stopped) else { return String::new() };
    let row = nap_model::state::TRANSITIONS.iter().find(|row| row.to == state && row.reason == reason);
    row.map(|row| row.says.to_owned()).unwrap_or_default()
}

/// A failure's table entry; `nap logs` has the rest.
const BECAUSE_MAX_CHARS: usize = 60;

/// PostgreSQL's own last word, if it had one, else the first line.
fn gist(failure: &str) -> String {
    let fatal = failure.lines().rev().find_map(|line| line.find("FATAL:").and_then(|at| line.get(at..)));
    let line = words::printable(fatal.or_else(|| failure.lines().next()).unwrap_or_default());
    match line.char_indices().nth(BECAUSE_MAX_CHARS) {
        Some((at, _)) => format!("{}…", line.get(..at).unwrap_or_default()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nap_model::guard::Guard;

    #[test]
    fn the_table_tells_what_keeps_a_branch_awake() {
        let ago = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(125);
        let mut branches = [("main", None), ("dev", Some("main")), ("broken", Some("main")), ("idle", Some("dev"))]
            .map(|(name, parent)| {
                let mut branch = tree::tests::branch(name, parent);
                branch.created = ago.to_string();
                branch.status.since_unix_ms = ago.as_millisecond();
                branch
            });
        branches[0].status.state = State::Awake;
        branches[0].status.reason = Some(Reason::Ready);
        branches[0].status.sessions = 2;
        branches[0].status.guards = vec![Guard::Sessions(2), Guard::BaseBackups(1)];
        branches[0].size_bytes = Some(42 << 20);
        branches[2].status.state = State::Failed;
        branches[2].status.reason = Some(Reason::StartFailed);
        branches[2].status.failure = Some("did not start\nx [7] FATAL:  could not load file\nx [7] LOG:  down".into());
        branches[3].status.state = State::Awake;
        branches[3].status.reason = Some(Reason::Ready);
        let drawn = anstream::adapter::strip_str(&table(&branches)).to_string();
        insta::assert_snapshot!(drawn);
    }

    #[test]
    fn colour_takes_no_room() {
        let line = "main *  awake for 2 h  2";
        assert_eq!(anstream::adapter::strip_str(&colour(line)).to_string(), line);
        assert_ne!(colour(line), line);
        assert_eq!(colour("dev  asleep"), "dev  asleep");
    }
}
