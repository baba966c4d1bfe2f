//! How many clients there may be, and how long they may take.

mod counter;
mod places;
mod shares;

pub(crate) use counter::Permit;
pub(crate) use places::{Admission, Applicant, Places};
#[cfg(test)]
pub(crate) use shares::Share;

use std::borrow::Cow;
use std::time::Duration;

use nap_model::client_error::{ClientError, sqlstate};
use nap_model::ids::BranchName;
use nap_model::settings::Settings;

/// Settings refuse a timeout of `never`; this stands in for one all the same, so that nothing is ever unbounded.
const TIMEOUT_FALLBACK: Duration = Duration::from_secs(60);

/// The bounds of the gateway, as the settings of the same names have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From accept to authenticated.
    pub authentication_timeout: Duration,
    /// From authenticated to a server that answers.
    pub wake_timeout: Duration,
    /// Connections in all.
    pub max_connections: u32,
    /// Authenticated connections of one branch.
    pub max_connections_per_branch: u32,
    /// Clients that wait for servers.
    pub max_waiting_clients: u32,
    /// The longest startup packet.
    pub max_startup_packet_bytes: u32,
}

impl From<&Settings> for Limits {
    fn from(settings: &Settings) -> Self {
        Self {
            authentication_timeout: settings.authentication_timeout.0.unwrap_or(TIMEOUT_FALLBACK),
            wake_timeout: settings.wake_timeout.0.unwrap_or(TIMEOUT_FALLBACK),
            max_connections: settings.max_connections,
            max_connections_per_branch: settings.max_connections_per_branch,
            max_waiting_clients: settings.max_waiting_clients,
            max_startup_packet_bytes: settings.max_startup_packet_bytes,
        }
    }
}

/// No place is left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LimitReached {
    #[error("sorry, too many clients already")]
    Connections { limit: u32 },
    #[error("canceling authentication to make room for another client")]
    MadeRoom { limit: u32 },
    #[error("too many connections for branch \"{branch}\"")]
    Branch { branch: BranchName, limit: u32 },
    #[error("too many clients wait for servers to wake")]
    Waiting { limit: u32 },
}

impl ClientError for LimitReached {
    fn sqlstate(&self) -> &'static str {
        sqlstate::TOO_MANY_CONNECTIONS
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let (setting, limit) = match self {
            LimitReached::Connections { limit } => ("max_connections", limit),
            LimitReached::MadeRoom { limit } => {
                let hint = format!(
                    "All places (max_connections is {limit}) are taken; the oldest connections that have not logged in \
                     give way. Try again, or raise it with `nap config set max_connections=N`."
                );
                return Some(hint.into());
            }
            LimitReached::Branch { limit, .. } => ("max_connections_per_branch", limit),
            LimitReached::Waiting { limit } => ("max_waiting_clients", limit),
        };
        Some(format!("The setting {setting} is {limit}; `nap config set {setting}=N` changes it.").into())
    }
}
