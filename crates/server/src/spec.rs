//! What is needed to run a server, and how it is to behave.

use std::sync::Arc;
use std::time::Duration;

use nap_model::guard::{Guard, Observation};
use nap_model::ids::{BranchName, Major};
use tokio::sync::watch;

use crate::children::Children;
use crate::guardian::Guardian;
use crate::install::Install;
use crate::keeper::Keeper;
pub use crate::launch::{OURS, Ours, Places};
use crate::sessions::Sessions;
use crate::slots::Slots;

/// What is needed to run one branch's server.
pub struct ServerSpec {
    /// The branch.
    pub branch: BranchName,
    /// Its PostgreSQL major.
    pub major: Major,
    /// Where its things are.
    pub places: Places,
    /// What keeps its roles and log.
    pub keeper: Arc<dyn Keeper>,
    /// Its sessions.
    pub sessions: Arc<dyn Sessions>,
    /// How it is to behave; may change at any time.
    pub policy: watch::Receiver<Policy>,
}

/// How a server is to behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// When it goes to sleep of itself.
    pub sleep: SleepPolicy,
    /// When it dozes.
    pub doze: DozePolicy,
    /// Whether idle sessions are parked: otherwise every session keeps it awake.
    pub park: bool,
    /// Whether enabled subscriptions and unused replication slots keep it awake.
    pub replication_guard: bool,
    /// How long settling may vacuum and analyze.
    pub maintenance_budget: Duration,
    /// How long a fast shutdown may take before it becomes an immediate one.
    pub shutdown_timeout: Duration,
}

impl Policy {
    /// What was seen, without what is not to keep it awake.
    pub(crate) fn heeded(&self, seen: Observation) -> Observation {
        match self.replication_guard {
            true => seen,
            false => Observation { subscriptions: 0, replication_slots: 0, ..seen },
        }
    }
}

/// When a server goes to sleep of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SleepPolicy {
    /// So long after it was last used.
    After(Duration),
    /// Once a session has told it to.
    WhenTold,
    /// Never.
    Never,
}

impl SleepPolicy {
    /// How long after it was last used, if that is what counts.
    pub(crate) fn span(self) -> Option<Duration> {
        if let Self::After(span) = self { Some(span) } else { None }
    }

    /// What keeps it from sleeping by the clock.
    pub(crate) fn guard(self) -> Option<Guard> {
        match self {
            Self::After(_) => None,
            Self::WhenTold => Some(Guard::SleepsWhenTold),
            Self::Never => Some(Guard::NeverSleeps),
        }
    }
}

/// When a server dozes of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DozePolicy {
    /// When it is to sleep, and pinned sessions are all that keeps it from that.
    WhenPinned,
    /// So long after it was last used; and when pinned sessions keep it from sleeping.
    After(Duration),
    /// Never: pinned sessions keep it awake.
    Never,
}

/// Finds the installation of a major, looking again each time it is missing.
pub type FindInstall = dyn Fn(Major) -> Result<Install, String> + Send + Sync;

/// What all servers share.
pub(crate) struct Shared {
    pub(crate) children: Children,
    pub(crate) slots: Arc<Slots>,
    pub(crate) guardian: Arc<Guardian>,
    pub(crate) find_install: Box<FindInstall>,
}
