//! `nap status`

use clap::Args;
use nap_control::{Answer, Request, StatusReport};
use nap_store::Home;
use nap_store::pool::usage;

use super::sessions;
use crate::command_error::CommandError;
use crate::context::{Context, unexpected};
use crate::neighbour;
use crate::output::words;
use crate::pool_health::complaints;

/// Show the daemon: where it listens, what it runs, who is connected
#[derive(Debug, Args)]
pub(crate) struct Status {}

impl Status {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        match context.ask(&Request::Status)? {
            Answer::Status(report) => context.output.result(&report, || say(&report) + &pool(&context.home)),
            other => Err(unexpected(&other)),
        }
    }
}

/// The pool is looked at by us: what the disk has left, everybody may see.
fn pool(home: &Home) -> String {
    let Some(usage) = home.has_pool().then(|| usage(home).ok()).flatten() else { return String::new() };
    let size = words::bytes;
    let mut text =
        format!("{:<12}{} of {} free\n", "pool", size(usage.free_bytes), size(usage.used_bytes + usage.free_bytes));
    complaints(&usage).iter().for_each(|found| text.push_str(&format!("{:<12}{}\n", "", found.what)));
    text
}

fn say(report: &StatusReport) -> String {
    let directories: Vec<String> = report.socket_directories.iter().map(|dir| dir.display().to_string()).collect();
    let counts = &report.counts;
    let mut branches = format!("{}, {} awake", counts.branches, counts.awake);
    if counts.failed > 0 {
        branches.push_str(&format!(", {} failed", counts.failed));
    }
    let mut sessions = counts.sessions.to_string();
    if counts.waiting > 0 {
        sessions.push_str(&format!(", {} waiting for a server to wake", counts.waiting));
    }
    let postgres: Vec<String> =
        report.postgres.iter().map(|found| format!("{} in {}", found.version, found.bin.display())).collect();
    let mut text = String::new();
    let mut line = |label: &str, value: &str| text.push_str(&format!("{label:<12}{value}\n"));
    line("up", &format!("{} (version {}, PID {})", words::duration(report.uptime_ms), report.version, report.pid));
    line("home", &report.home.display().to_string());
    line("listens on", &format!("{}, port {}", report.listen_addresses.join(", "), report.port));
    line("sockets in", &directories.join(", "));
    if let Some(neighbour) = neighbour::beside(report.port) {
        line("beside us", &neighbour);
    }
    line("PostgreSQL", &postgres.join("; "));
    line("branches", &branches);
    line("sessions", &sessions);
    if let Some(lowered) = &report.max_connections_lowered {
        let why = format!("the limit of open files is {}", lowered.open_files);
        line("", &format!("at most {}, not {} (max_connections): {why}", lowered.to, lowered.set));
    }
    if !report.sessions.is_empty() {
        text.push('\n');
        text.push_str(&sessions::table(&report.sessions));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use nap_control::{Counts, LoweredReport, PostgresReport, SessionReport};
    use nap_model::ids::{BranchName, Major};

    #[test]
    fn the_daemon_in_words() {
        let report = StatusReport {
            version: "0.1.0".into(),
            pid: 4242,
            home: "/home/alice/.local/share/napgres".into(),
            port: 5432,
            listen_addresses: vec!["127.0.0.1".into(), "::1".into()],
            socket_directories: vec!["/var/run/postgresql".into()],
            libpq_socket_missing: None,
            max_connections_lowered: Some(LoweredReport { set: 1_000, to: 186, open_files: 1_024 }),
            uptime_ms: 7_300_000,
            postgres: vec![PostgresReport {
                major: Major(15),
                bin: "/usr/lib/postgresql/15/bin".into(),
                version: "15.14".into(),
            }],
            counts: Counts { branches: 3, awake: 1, failed: 1, sessions: 1, waiting: 2 },
            sessions: vec![SessionReport {
                id: 7,
                branch: BranchName::main(),
                database: Some("shop".into()),
                role: "alice".into(),
                client: "127.0.0.1:50000".into(),
                state: "active".into(),
                idle_ms: 0,
                pin: None,
            }],
        };
        insta::assert_snapshot!(say(&report));
    }
}
