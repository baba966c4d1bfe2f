//! Why a server cannot be had now.

use std::borrow::Cow;

use nap_model::client_error::{ClientError, sqlstate};
use nap_model::guard::Guard;
use nap_model::ids::{BranchName, Major};
use nap_model::state::State;

const REMOVED: &str = "`nap ls` shows the branches that stay.";
const STOP_FOREIGN: &str = "Stop that server (pg_ctl stop), then connect again.";

/// Why a server did not wake.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WakeError {
    /// The postmaster ended before it was ready; the end of its log is in `log_end`.
    #[error("the server of branch \"{branch}\" did not start: {problem}")]
    DidNotStart {
        /// Which branch.
        branch: BranchName,
        /// In a few words.
        problem: String,
        /// The last lines of the server's log since it was spawned.
        log_end: String,
    },
    /// It still starts (recovers, or waits for a place), but the client's time is over.
    #[error("the server of branch \"{branch}\" was not ready in time")]
    Late {
        /// Which branch.
        branch: BranchName,
        /// The last lines of the server's log since it was spawned.
        log_end: String,
    },
    /// It is being cloned or removed, and must sleep meanwhile.
    #[error("branch \"{branch}\" is being copied and could not be woken in time")]
    Held {
        /// Which branch.
        branch: BranchName,
    },
    /// All places of `max_awake` are taken by servers in use.
    #[error("too many servers are awake: branch \"{branch}\" found no place in time")]
    NoPlace {
        /// Which branch.
        branch: BranchName,
    },
    /// Somebody runs a server of their own on this data directory.
    #[error("the data directory of branch \"{branch}\" is in use by a server that Napgres did not start (PID {pid})")]
    Foreign {
        /// Which branch.
        branch: BranchName,
        /// That server's postmaster.
        pid: i32,
    },
    /// The branch's major is not there (any more).
    #[error("PostgreSQL {major}, which branch \"{branch}\" needs, is not installed")]
    NotInstalled {
        /// Which branch.
        branch: BranchName,
        /// Its major.
        major: Major,
        /// The command that installs it here.
        cure: String,
    },
    /// The daemon ends.
    #[error("branch \"{branch}\" is being shut down")]
    Ending {
        /// Which branch.
        branch: BranchName,
    },
    /// The branch goes for good.
    #[error("branch \"{branch}\" is being removed")]
    Removed {
        /// Which branch.
        branch: BranchName,
    },
}

impl ClientError for WakeError {
    fn sqlstate(&self) -> &'static str {
        match self {
            WakeError::DidNotStart { .. } | WakeError::Late { .. } | WakeError::NotInstalled { .. } => {
                sqlstate::SYSTEM_ERROR
            }
            WakeError::NoPlace { .. } => sqlstate::TOO_MANY_CONNECTIONS,
            WakeError::Foreign { .. } | WakeError::Held { .. } => sqlstate::OBJECT_IN_USE,
            WakeError::Ending { .. } => sqlstate::ADMIN_SHUTDOWN,
            WakeError::Removed { .. } => sqlstate::INVALID_CATALOG_NAME,
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            WakeError::DidNotStart { log_end, .. } | WakeError::Late { log_end, .. } if !log_end.is_empty() => {
                Some(format!("The end of the server's log:\n{log_end}"))
            }
            _ => None,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            WakeError::DidNotStart { branch, .. } => {
                format!("`nap logs {branch}` shows more. It is tried again when the next client connects.").into()
            }
            WakeError::Late { branch, .. } => format!(
                "It goes on starting. `nap logs {branch}` shows how far it is; wake_timeout sets how long clients wait."
            )
            .into(),
            WakeError::Held { .. } => "Try again when the copy is made.".into(),
            WakeError::NoPlace { .. } => {
                "Raise max_awake (`nap config set max_awake=N`), or disconnect clients of other branches.".into()
            }
            WakeError::Foreign { .. } => STOP_FOREIGN.into(),
            WakeError::NotInstalled { cure, .. } => format!("Install it: {cure}").into(),
            WakeError::Removed { .. } => REMOVED.into(),
            WakeError::Ending { .. } => return None,
        })
    }
}

/// Why what is known of roles and databases cannot be told. Clients that are not authenticated yet see this, so it
/// says nothing of what is in the server's log.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AccessError {
    /// The server cannot be asked.
    #[error("the roles of branch \"{branch}\" cannot be read now")]
    Unreadable {
        /// Which branch.
        branch: BranchName,
        /// For the daemon's log only.
        cause: String,
    },
    /// Somebody runs a server of their own on this data directory.
    #[error("the data directory of branch \"{branch}\" is in use by a server that Napgres did not start (PID {pid})")]
    Foreign {
        /// Which branch.
        branch: BranchName,
        /// That server's postmaster.
        pid: i32,
    },
    /// The daemon ends.
    #[error("branch \"{branch}\" is being shut down")]
    Ending {
        /// Which branch.
        branch: BranchName,
    },
    /// The branch goes for good.
    #[error("branch \"{branch}\" is being removed")]
    Removed {
        /// Which branch.
        branch: BranchName,
    },
}

impl ClientError for AccessError {
    fn sqlstate(&self) -> &'static str {
        match self {
            AccessError::Unreadable { .. } => sqlstate::SYSTEM_ERROR,
            AccessError::Foreign { .. } => sqlstate::OBJECT_IN_USE,
            AccessError::Ending { .. } => sqlstate::ADMIN_SHUTDOWN,
            AccessError::Removed { .. } => sqlstate::INVALID_CATALOG_NAME,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            AccessError::Unreadable { branch, .. } => format!("`nap ls` and `nap logs {branch}` show why.").into(),
            AccessError::Foreign { .. } => STOP_FOREIGN.into(),
            AccessError::Removed { .. } => REMOVED.into(),
            AccessError::Ending { .. } => return None,
        })
    }
}

/// Why a server was not put to sleep.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SleepError {
    /// Guards stand.
    #[error("branch \"{branch}\" is in use: {}", list(.guards))]
    Guarded {
        /// Which branch.
        branch: BranchName,
        /// What stands in the way.
        guards: Vec<Guard>,
    },
    /// Only a server that is awake can doze.
    #[error("the server of branch \"{branch}\" is {state}: only one that is awake can doze")]
    NotAwake {
        /// Which branch.
        branch: BranchName,
        /// What it is.
        state: State,
    },
    /// It could not be looked into, or did not stop as it should.
    #[error("the server of branch \"{branch}\" could not be put to sleep: {problem}")]
    Failed {
        /// Which branch.
        branch: BranchName,
        /// In a few words.
        problem: String,
    },
}

fn list(guards: &[Guard]) -> String {
    guards.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
