//! `nap sessions`

use clap::Args;
use nap_control::{Answer, Request, SessionReport};
use nap_model::ids::BranchName;

use crate::command_error::CommandError;
use crate::complete;
use crate::context::{Context, unexpected};
use crate::output::{table, words};

/// Show who is connected, what each session does, and what keeps it from being parked
///
/// A session that does nothing is parked when its server goes to sleep: its client stays connected and does not
/// notice. PINNED BY says what of a session would be lost by that, as of the last try; its server dozes then.
#[derive(Debug, Args)]
pub(crate) struct Sessions {
    /// The branch [default: all branches]
    #[arg(add = complete::branch())]
    branch: Option<BranchName>,
    /// Park the idle ones now, as far as nothing is lost by it
    #[arg(long)]
    park: bool,
    /// End the session of this number, as pg_terminate_backend does
    #[arg(long, value_name = "SESSION", conflicts_with_all = ["branch", "park"])]
    end: Option<u64>,
}

impl Sessions {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        if let Some(id) = self.end {
            context.ask(&Request::EndSession { id })?;
            return context.output.done("ended");
        }
        let request = match self.park {
            true => Request::ParkSessions { branch: self.branch },
            false => Request::Sessions { branch: self.branch },
        };
        match context.ask(&request)? {
            Answer::Sessions(sessions) => context.output.result(&sessions, || say(&sessions)),
            other => Err(unexpected(&other)),
        }
    }
}

fn say(sessions: &[SessionReport]) -> String {
    match sessions.is_empty() {
        true => "no sessions\n".to_owned(),
        false => table(sessions),
    }
}

/// One line for each session.
pub(super) fn table(sessions: &[SessionReport]) -> String {
    let mut table =
        table::with_header(["SESSION", "BRANCH", "DATABASE", "ROLE", "CLIENT", "STATE", "IDLE", "PINNED BY"]);
    for session in sessions {
        let is_idle = session.state.starts_with("idle") || session.state == "parked";
        table.add_row([
            session.id.to_string(),
            session.branch.to_string(),
            session.database.as_deref().map_or_else(|| "(replication)".to_owned(), words::printable),
            words::printable(&session.role),
            session.client.clone(),
            session.state.clone(),
            if is_idle { words::duration(session.idle_ms) } else { String::new() },
            session.pin.map(|pin| pin.to_string()).unwrap_or_default(),
        ]);
    }
    table::text(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nap_model::pin::Pin;

    #[test]
    fn who_is_connected_and_why_it_is_not_parked() {
        let session = |id, state: &str, pin| SessionReport {
            id,
            branch: BranchName::main(),
            database: Some("shop".into()),
            role: "alice".into(),
            client: "127.0.0.1:50000".into(),
            state: state.into(),
            idle_ms: 61_000,
            pin,
        };
        let sessions =
            [session(1, "parked", None), session(2, "idle", Some(Pin::TemporaryObjects)), session(3, "active", None)];
        insta::assert_snapshot!(say(&sessions), @r"
        SESSION  BRANCH  DATABASE  ROLE   CLIENT           STATE   IDLE   PINNED BY
        1        main    shop      alice  127.0.0.1:50000  parked  1 min
        2        main    shop      alice  127.0.0.1:50000  idle    1 min  temporary objects
        3        main    shop      alice  127.0.0.1:50000  active
        ");
        assert_eq!(say(&[]), "no sessions\n");
    }
}
