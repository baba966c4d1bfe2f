//! All servers of a home.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use nap_model::guard::Guard;
use nap_model::ids::BranchName;
use nap_model::state::{Reason, State};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::children::Children;
use crate::guardian::{Guardian, GuardianCommand};
use crate::handle::ServerHandle;
use crate::owner::Owner;
use crate::slots::Slots;
use crate::spec::{FindInstall, ServerSpec, Shared};

/// How long the fleet waits before it asks again servers that would not make room.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// How long a server that is to make room may take to sleep before the next one is asked too.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The servers, by branch.
pub struct Fleet {
    shared: Arc<Shared>,
    servers: RwLock<BTreeMap<BranchName, ServerHandle>>,
}

impl Fleet {
    /// An empty fleet with room for `max_awake` running servers. `find_install` gives an installation, or the command
    /// that would install it; `guardian` becomes the process that lets frozen servers go on if this one dies.
    pub fn start(
        children: Children,
        max_awake: u32,
        find_install: Box<FindInstall>,
        guardian: Box<GuardianCommand>,
    ) -> Arc<Self> {
        let guardian = Arc::new(Guardian::new(children.clone(), guardian));
        let shared = Arc::new(Shared { children, slots: Slots::new(max_awake), guardian, find_install });
        let fleet = Arc::new(Self { shared, servers: RwLock::default() });
        tokio::spawn(make_room(Arc::downgrade(&fleet), fleet.shared.slots.clone()));
        fleet
    }

    /// Takes a branch's server on. If an earlier daemon left it running it is adopted; if it crashed it recovers now.
    pub fn add(&self, spec: ServerSpec) -> ServerHandle {
        let branch = spec.branch.clone();
        let handle = Owner::start(spec, self.shared.clone());
        self.servers.write().unwrap_or_else(PoisonError::into_inner).insert(branch, handle.clone());
        self.shared.slots.held().send_modify(|_| ());
        handle
    }

    /// Forgets a branch whose server has been ended.
    pub fn remove(&self, branch: &BranchName) -> Option<ServerHandle> {
        let removed = self.servers.write().unwrap_or_else(PoisonError::into_inner).remove(branch);
        self.shared.slots.held().send_modify(|_| ());
        removed
    }

    /// How many servers have a process, of how many.
    pub fn counts(&self) -> (usize, usize) {
        let all = self.servers.read().unwrap_or_else(PoisonError::into_inner).len();
        (*self.shared.slots.held().borrow(), all)
    }

    /// Changes whenever `counts` does.
    pub fn changes(&self) -> watch::Receiver<usize> {
        self.shared.slots.held().subscribe()
    }

    /// One server.
    pub fn get(&self, branch: &BranchName) -> Option<ServerHandle> {
        self.servers.read().unwrap_or_else(PoisonError::into_inner).get(branch).cloned()
    }

    /// All servers.
    pub fn all(&self) -> Vec<(BranchName, ServerHandle)> {
        let servers = self.servers.read().unwrap_or_else(PoisonError::into_inner);
        servers.iter().map(|(name, handle)| (name.clone(), handle.clone())).collect()
    }

    /// Another `max_awake`.
    pub fn resize(&self, max_awake: u32) {
        self.shared.slots.resize(max_awake);
    }

    /// Stops all servers and returns those that did not end by the deadline.
    pub async fn end(&self, deadline: Instant) -> Vec<BranchName> {
        let all = self.all();
        let ends: Vec<_> =
            all.into_iter().map(|(branch, handle)| (branch, tokio::spawn(async move { handle.end().await }))).collect();
        let mut late = Vec::new();
        for (branch, end) in ends {
            if tokio::time::timeout_at(deadline, end).await.is_err() {
                late.push(branch);
            }
        }
        late
    }

    /// The servers that nobody uses and that may sleep of themselves, the longest idle first.
    fn idle_longest_first(&self) -> Vec<ServerHandle> {
        let mut idle: Vec<(Instant, ServerHandle)> = self
            .all()
            .into_iter()
            .filter(|(_, handle)| {
                let status = handle.status.borrow();
                // One that dozes because its sessions are pinned would not sleep.
                let pinned = status.reason == Some(Reason::OnlyPinned);
                let may_sleep = status.state == State::Awake || (status.state == State::Dozing && !pinned);
                may_sleep
                    && !status.guards.iter().any(|guard| matches!(guard, Guard::NeverSleeps | Guard::SleepsWhenTold))
            })
            .filter_map(|(_, handle)| {
                let since = handle.unused_since();
                since.map(|since| (since, handle))
            })
            .collect();
        idle.sort_by_key(|(since, _)| *since);
        idle.into_iter().map(|(_, handle)| handle).collect()
    }
}

/// While wakes queue for places, puts idle servers to sleep, the longest idle first.
async fn make_room(fleet: std::sync::Weak<Fleet>, slots: Arc<Slots>) {
    loop {
        slots.changed().await;
        while slots.queued() > 0 {
            let Some(idle) = fleet.upgrade().map(|fleet| fleet.idle_longest_first()) else { return };
            let left = slots.left_queue();
            let mut made_room = false;
            for server in idle {
                // One that does not answer must not keep the others from making room.
                let asked = tokio::time::timeout(ANSWER_WITHIN, server.sleep_because(Reason::RoomNeeded)).await;
                made_room = matches!(asked, Ok(Ok(())));
                if made_room {
                    break;
                }
            }
            // If room was made the queue moves, and only then is it seen whether more is needed. If not, either a server
            // becomes idle, which nudges, or a guard falls, which nobody tells.
            let ask_again = Instant::now() + ASK_AGAIN;
            while slots.left_queue() == left && tokio::time::timeout_at(ask_again, slots.changed()).await.is_ok() {
                if !made_room && fleet.upgrade().is_some_and(|fleet| !fleet.idle_longest_first().is_empty()) {
                    break;
                }
            }
        }
        if fleet.strong_count() == 0 {
            return;
        }
    }
}
