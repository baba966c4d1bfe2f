//! How many clients there may be, and how long they may take.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nap_model::client_error::{ClientError, sqlstate};
use nap_model::ids::BranchName;
use nap_model::settings::Settings;
use tokio::sync::watch;

/// Places for unauthenticated connections beside half of `max_connections`, so that a small limit still lets a few
/// log in at once.
const UNAUTHENTICATED_BESIDES: u32 = 16;
/// Connections beyond every limit that are still read, for a cancel request or to say why they are refused. Each
/// lives for seconds at most and costs one startup packet.
const OVERFLOW_MAX: u32 = 64;
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
    #[error("sorry, too many clients are logging in already")]
    Unauthenticated { limit: u32 },
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
            LimitReached::Unauthenticated { limit } => {
                let hint = format!(
                    "At most {limit} clients (half of max_connections and {UNAUTHENTICATED_BESIDES}) may be logging in; \
                     try again, or raise it with `nap config set max_connections=N`."
                );
                return Some(hint.into());
            }
            LimitReached::Branch { limit, .. } => ("max_connections_per_branch", limit),
            LimitReached::Waiting { limit } => ("max_waiting_clients", limit),
        };
        Some(format!("The setting {setting} is {limit}; `nap config set {setting}=N` changes it.").into())
    }
}

/// Counts what is taken. The limit is said at each taking, so that a reload counts from the next one on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counter(Arc<AtomicU32>);

/// One place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit(Arc<AtomicU32>);

impl Counter {
    pub(crate) fn take(&self, limit: u32) -> Option<Permit> {
        let more = |taken: u32| (taken < limit).then(|| taken + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Permit(self.0.clone()))
    }

    fn is_unused(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a fresh connection gets.
#[derive(Debug)]
pub(crate) enum Admission {
    /// A place, and the right to log in.
    Place { _connection: Permit, unauthenticated: Option<Permit> },
    /// It may send a cancel request; anything else is refused for this reason.
    Overflow { _place: Permit, reached: LimitReached },
}

impl Admission {
    /// It has proved who it is, and makes room for the next that has to.
    pub(crate) fn authenticated(&mut self) {
        if let Admission::Place { unauthenticated, .. } = self {
            unauthenticated.take();
        }
    }
}

/// All places of the gateway.
pub(crate) struct Places {
    limits: watch::Receiver<Limits>,
    connections: Counter,
    unauthenticated: Counter,
    overflow: Counter,
    waiting: Counter,
    branches: Mutex<HashMap<BranchName, Counter>>,
}

impl Places {
    pub(crate) fn new(limits: watch::Receiver<Limits>) -> Self {
        Self {
            limits,
            connections: Counter::default(),
            unauthenticated: Counter::default(),
            overflow: Counter::default(),
            waiting: Counter::default(),
            branches: Mutex::default(),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        *self.limits.borrow()
    }

    /// `None`: not even its startup packet can be read.
    pub(crate) fn admit(&self) -> Option<Admission> {
        let max_connections = self.limits().max_connections;
        let max_unauthenticated = (max_connections / 2).saturating_add(UNAUTHENTICATED_BESIDES);
        let reached = match self.unauthenticated.take(max_unauthenticated) {
            None => LimitReached::Unauthenticated { limit: max_unauthenticated },
            Some(unauthenticated) => match self.connections.take(max_connections) {
                Some(connection) => {
                    return Some(Admission::Place { _connection: connection, unauthenticated: Some(unauthenticated) });
                }
                None => LimitReached::Connections { limit: max_connections },
            },
        };
        Some(Admission::Overflow { _place: self.overflow.take(OVERFLOW_MAX)?, reached })
    }

    /// A place in a branch that exists.
    pub(crate) fn enter(&self, branch: &BranchName) -> Result<Permit, LimitReached> {
        let limit = self.limits().max_connections_per_branch;
        let mut branches = self.branches.lock().unwrap_or_else(PoisonError::into_inner);
        if !branches.contains_key(branch) {
            // Branches come and go: those without connections need no counter.
            branches.retain(|_, counter| !counter.is_unused());
        }
        let counter = branches.entry(branch.clone()).or_default();
        counter.take(limit).ok_or_else(|| LimitReached::Branch { branch: branch.clone(), limit })
    }

    /// Whether nobody holds a place of any kind.
    #[cfg(test)]
    pub(crate) fn are_free(&self) -> bool {
        let branches = self.branches.lock().unwrap_or_else(PoisonError::into_inner);
        let all = [&self.connections, &self.unauthenticated, &self.overflow, &self.waiting];
        all.into_iter().chain(branches.values()).all(Counter::is_unused)
    }

    /// A place among those that wait for a server.
    pub(crate) fn wait(&self) -> Result<Permit, LimitReached> {
        let limit = self.limits().max_waiting_clients;
        self.waiting.take(limit).ok_or(LimitReached::Waiting { limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(max_connections: u32) -> (watch::Sender<Limits>, Places) {
        let limits = Limits { max_connections, ..Limits::from(&Settings::default()) };
        let (sender, receiver) = watch::channel(limits);
        (sender, Places::new(receiver))
    }

    fn is_place(admission: Option<&Admission>) -> bool {
        matches!(admission, Some(Admission::Place { .. }))
    }

    #[test]
    fn beyond_the_limit_a_few_are_still_read_and_told_why() {
        let (_limits, places) = places(2);
        let held: Vec<_> = (0..2).map(|_| places.admit()).collect();
        assert!(held.iter().all(|admission| is_place(admission.as_ref())));
        let over: Vec<_> = (0..OVERFLOW_MAX).map(|_| places.admit()).collect();
        for admission in &over {
            let Some(Admission::Overflow { reached, .. }) = admission else { panic!("{admission:?}") };
            assert_eq!(*reached, LimitReached::Connections { limit: 2 });
            assert!(reached.hint().unwrap().contains("`nap config set max_connections=N`"));
        }
        assert!(places.admit().is_none());
        drop(held);
        assert!(is_place(places.admit().as_ref()), "a place that was left is free again");
    }

    #[test]
    fn the_unauthenticated_cannot_take_every_place() {
        let (_limits, places) = places(100);
        let held: Vec<_> = (0..66).map(|_| places.admit()).collect();
        assert!(held.iter().all(|admission| is_place(admission.as_ref())));
        assert!(matches!(
            places.admit(),
            Some(Admission::Overflow { reached: LimitReached::Unauthenticated { limit: 66 }, .. })
        ));
    }

    #[test]
    fn a_reload_counts_from_the_next_taking_on() {
        let (limits, places) = places(1);
        let _held = places.admit();
        assert!(!is_place(places.admit().as_ref()));
        limits.send_modify(|limits| limits.max_connections = 2);
        assert!(is_place(places.admit().as_ref()));
    }

    #[test]
    fn branches_are_counted_apart() {
        let (limits, places) = places(10);
        limits.send_modify(|limits| limits.max_connections_per_branch = 1);
        let one = "one".parse().unwrap();
        let held = places.enter(&one).unwrap();
        assert_eq!(places.enter(&one).unwrap_err().to_string(), "too many connections for branch \"one\"",);
        let _other = places.enter(&"two".parse().unwrap()).unwrap();
        assert!(places.enter(&one).is_err(), "a counter in use is not swept");
        drop(held);
        places.enter(&one).unwrap();
    }
}
