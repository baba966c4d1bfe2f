//! What the owner of a server publishes for everybody else to watch.

use serde::{Deserialize, Serialize};

use crate::guard::Guard;
use crate::state::{Reason, State};

/// A numbered copy of a server's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Counts every change, so that two copies can be told apart.
    pub sequence: u64,
    /// The state.
    pub state: State,
    /// What led to it; `None` until something has.
    pub reason: Option<Reason>,
    /// Milliseconds since 1970 when it came to this state, for showing only.
    pub since_unix_ms: i64,
    /// The postmaster, while there is one.
    pub pid: Option<i32>,
    /// Sessions of the gateway that hold it awake.
    pub sessions: u32,
    /// Clients that wait for it to wake.
    pub waiting: u32,
    /// What keeps it from sleeping now (as of the last look).
    pub guards: Vec<Guard>,
    /// Why the last start failed, with the end of the server's log.
    pub failure: Option<String>,
    /// How often it was started since the daemon runs.
    pub wakes: u64,
}

impl ServerStatus {
    /// A server that has not moved yet.
    pub fn asleep(since_unix_ms: i64) -> Self {
        Self {
            sequence: 0,
            state: State::Asleep,
            reason: None,
            since_unix_ms,
            pid: None,
            sessions: 0,
            waiting: 0,
            guards: Vec::new(),
            failure: None,
            wakes: 0,
        }
    }
}
