//! `nap ls`

use clap::Args;
use nap_control::{Answer, BranchReport, DiskReport, Request};
use nap_model::state::{Reason, State};
use owo_colors::{AnsiColors, OwoColorize as _};

use crate::command_error::CommandError;
use crate::commands::doctor::branches::foreign;
use crate::context::{Context, unexpected};
use crate::output::{table, tree, words};

mod debian;

/// List the branches as a tree: their state, and what keeps them awake
#[derive(Debug, Default, Args)]
pub(crate) struct Ls {
    /// As Debian's pg_lsclusters lists clusters, for scripts that read that
    #[arg(long)]
    debian: bool,
    /// Without the line of headings
    #[arg(long, requires = "debian")]
    no_header: bool,
    /// Show what each takes of the disk, too: alone, and shared with others or among its own snapshots
    #[arg(long, conflicts_with = "debian")]
    disk: bool,
}

impl Ls {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        match context.ask(&Request::List { disk: self.disk })? {
            Answer::Branches(branches) if self.debian => debian::show(&branches, !self.no_header, context),
            Answer::Branches(branches) => {
                context.output.result(&branches, || table(&branches, self.disk, terminal_width()))
            }
            other => Err(unexpected(&other)),
        }
    }
}

/// How wide the terminal is; none: it is none, and nothing is cut.
fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|width| *width > 0)
}

/// The reasons are cut to no fewer letters than these: then lines are broken by the terminal.
const BECAUSE_LEAST_CHARS: usize = 20;

/// The table, its reasons cut so that it fits.
fn table(branches: &[BranchReport], disk: bool, width: Option<usize>) -> String {
    let rows = tree::rows(branches);
    let whole = lay_out(&rows, disk, usize::MAX);
    let widest = whole.lines().map(|line| line.chars().count()).max().unwrap_or_default();
    let drawn = match width.filter(|width| widest > *width) {
        None => whole,
        Some(width) => {
            let longest = rows.iter().map(|row| because(row.branch).chars().count()).max().unwrap_or_default();
            lay_out(&rows, disk, longest.saturating_sub(widest - width).max(BECAUSE_LEAST_CHARS))
        }
    };
    let mut lines = drawn.lines();
    let header = lines.next().unwrap_or_default();
    let column = header.find(STATE).unwrap_or_default();
    let coloured = lines.zip(&rows).map(|(line, row)| colour(line, column, row.branch.status.state) + "\n");
    std::iter::once(format!("{header}\n")).chain(coloured).collect()
}

fn lay_out(rows: &[tree::Row<'_>], disk: bool, because_max: usize) -> String {
    let columns = ["BRANCH", STATE, "SESSIONS", "BECAUSE", "BRANCHED AT", "AGE", "USED", "TTL", "PG"];
    let of_disk: &[&str] = if disk { &["OWN", "SHARED"] } else { &[] };
    let mut table = table::with_header(columns.iter().chain(of_disk).copied());
    for tree::Row { stem, branch } in rows {
        let default = if branch.default { " *" } else { "" };
        let mut row = vec![
            format!("{stem}{}{default}", branch.name),
            state(branch),
            sessions(branch),
            words::cut(&because(branch), because_max),
            branch.branched_at.map_or_else(|| "-".to_owned(), |at| at.to_string()),
            words::since_text(&branch.created),
            branch.last_used.as_deref().map_or_else(|| "-".to_owned(), |at| format!("{} ago", words::since_text(at))),
            ttl(branch),
            branch.major.to_string(),
        ];
        if disk {
            let bytes = |of: fn(&DiskReport) -> u64| {
                branch.disk.as_ref().map_or_else(|| "?".into(), |disk| words::bytes(of(disk)))
            };
            row.extend([bytes(|disk| disk.own_bytes), bytes(|disk| disk.shared_bytes)]);
        }
        table.add_row(row);
    }
    table::text(table)
}

/// The heading of the state's column, which says where it begins.
const STATE: &str = "STATE";

/// Colours the state's word in its column. It is done after the table is laid out, so that the colour has no width; what
/// stands before the column is one column wide, letter by letter.
fn colour(line: &str, column: usize, state: State) -> String {
    let colour = match state {
        State::Asleep => return line.to_owned(),
        State::Awake => AnsiColors::Green,
        State::Dozing => AnsiColors::Cyan,
        State::Waking | State::Settling | State::Stopping => AnsiColors::Yellow,
        State::Failed => AnsiColors::Red,
    };
    let at = line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
    let (before, cell) = line.split_at(at);
    match cell.strip_prefix(state.to_string().as_str()) {
        Some(after) => format!("{before}{}{after}", state.color(colour)),
        None => line.to_owned(),
    }
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

/// How long it stays.
fn ttl(branch: &BranchReport) -> String {
    if branch.shows.is_some() {
        return "read-only, until its sessions end".to_owned();
    }
    match &branch.expires {
        Some(at) if branch.protected => format!("protected, {}", words::until_text(at)),
        None if branch.protected => "protected".to_owned(),
        Some(at) => words::until_text(at),
        None => "-".to_owned(),
    }
}

/// Why it is in this state, where that says more than the state itself.
fn because(branch: &BranchReport) -> String {
    let status = &branch.status;
    if let Some(pid) = foreign(status) {
        return format!("PID {pid}, a server that Napgres did not start, has its data directory");
    }
    match status.state {
        State::Failed => gist(status.failure.as_deref().unwrap_or("did not start")),
        State::Awake | State::Dozing | State::Settling if !status.guards.is_empty() => {
            status.guards.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        }
        State::Asleep if status.failure.is_some() => gist(status.failure.as_deref().unwrap_or_default()),
        State::Awake => format!("sleeps when idle for {}", branch.sleep_after),
        State::Asleep | State::Waking | State::Dozing | State::Settling | State::Stopping => {
            reason(status.state, status.reason)
        }
    }
}

/// What the log said of the last transition; an ordinary sleep needs no words.
fn reason(state: State, reason: Option<Reason>) -> String {
    let Some(reason) = reason.filter(|reason| *reason != Reason::Stopped) else { return String::new() };
    let row = nap_model::state::TRANSITIONS.iter().find(|row| row.to == state && row.reason == reason);
    row.map(|row| row.says.to_owned()).unwrap_or_default()
}

/// PostgreSQL's own last word, if it had one, else the first line; `nap logs` has the rest.
fn gist(failure: &str) -> String {
    let fatal = failure.lines().rev().find_map(|line| line.find("FATAL:").and_then(|at| line.get(at..)));
    words::printable(fatal.or_else(|| failure.lines().next()).unwrap_or_default())
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
        branches[2].status.state = State::Failed;
        branches[2].status.reason = Some(Reason::StartFailed);
        branches[2].status.failure = Some("did not start\nx [7] FATAL:  could not load file\nx [7] LOG:  down".into());
        branches[3].status.state = State::Awake;
        branches[3].status.reason = Some(Reason::Ready);
        let drawn = anstream::adapter::strip_str(&table(&branches, false, None)).to_string();
        insta::assert_snapshot!(drawn);
    }

    #[test]
    fn reasons_are_cut_only_to_the_width_of_a_terminal() {
        let mut branches = [tree::tests::branch("main", None)];
        let failure = nap_server::error::WakeError::Foreign { branch: branches[0].name.clone(), pid: 4711 };
        branches[0].status.failure = Some(failure.to_string());
        let whole = "PID 4711, a server that Napgres did not start, has its data directory";
        assert!(table(&branches, false, None).contains(whole));
        assert!(table(&branches, false, Some(300)).contains(whole));
        let cut = table(&branches, false, Some(80));
        assert!(cut.contains("PID 4711, a server"), "{cut}");
        assert!(cut.contains('…'), "{cut}");
        assert!(cut.lines().all(|line| line.chars().count() <= 80), "{cut}");
    }

    #[test]
    fn colour_takes_no_room() {
        let line = "└─ awake  awake for 2 h  2";
        let coloured = colour(line, 10, State::Awake);
        assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), line);
        assert!(coloured.starts_with("└─ awake  \u{1b}["), "the state has it, not the name: {coloured:?}");
        assert_eq!(colour("awake  asleep", 7, State::Asleep), "awake  asleep");
    }

    #[test]
    fn a_branch_may_be_called_after_a_state() {
        let mut branches = [tree::tests::branch("main", None), tree::tests::branch("awake", Some("main"))];
        let drawn = table(&branches, false, None);
        assert_eq!(anstream::adapter::strip_str(&drawn).to_string(), drawn, "all are asleep");
        branches[1].status.state = State::Failed;
        let drawn = table(&branches, false, None);
        let line = drawn.lines().nth(2).unwrap();
        assert!(line.starts_with("└─ awake  \u{1b}[31mfailed\u{1b}[39m"), "{line:?}");
    }
}
