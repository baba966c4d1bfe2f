//! From awake to asleep: settle, stop, keep what must be known of a sleeping server.

use std::sync::Arc;
use std::time::Duration;

use nap_model::guard::{Guard, Holding, Observation, guards};
use nap_model::state::{Reason, State};
use rustix::process::Signal;
use tokio::time::Instant;

use super::lie_down::{Bed, Laid, lie_down};
use super::{Done, LOOK_AGAIN, LOOK_AGAIN_LEAST, Owner};
use crate::admin::{Admin, AdminError, Roles};
use crate::error::SleepError;
use crate::handle::AsleepHold;
use crate::sessions::Sessions;
use crate::spec::{DozePolicy, Policy};

/// A backend whose client has just gone needs a moment to notice.
pub(super) const LAST_BACKEND_LEAVES: Duration = Duration::from_millis(500);
/// How long the last notifications may take to come in: milliseconds.
const SILENT_WITHIN: Duration = Duration::from_secs(5);
/// The pause between looks while it leaves.
pub(super) const LOOK_PAUSE: Duration = Duration::from_millis(5);
/// How long reading the roles may hold up a shutdown that does not settle.
const GATHER_WITHIN: Duration = Duration::from_secs(2);
/// How long sessions may take to be parked for a restart: who asked for it does not wait for long.
const PARK_FOR_RESTART_WITHIN: Duration = Duration::from_secs(5);
/// How long an immediate shutdown may take before the postmaster is killed.
const QUIT_WITHIN: Duration = Duration::from_secs(5);

/// What settling came to.
pub(super) enum Settled {
    /// It may stop; these are its roles.
    Yes(Box<Roles>),
    /// Sessions keep their backends.
    Held(Holding),
    /// Guards stand.
    Guarded(Observation, Vec<Guard>),
    /// It could not be looked into.
    Failed(AdminError),
    /// It is frozen.
    Laid(Box<Laid>),
    /// A session did something while it was being frozen.
    Spoke,
    /// Its processes did not stop, or nobody would have let them go on.
    NotFrozen(String),
}

impl Owner {
    pub(super) fn settle(&mut self, reason: Reason) {
        let dozed = self.state == State::Dozing;
        if dozed {
            self.let_go();
        }
        if !self.go(reason) {
            return;
        }
        self.job = Some(match (reason, self.bed()) {
            (Reason::DozeDue | Reason::AskedToDoze, Some(bed)) => {
                Box::pin(async move { Done::Settled(lie_down(bed, Reason::Unused).await) })
            }
            (_, bed) => {
                let policy = self.policy();
                // A doze makes no room for another server; but one that tried in vain dozes on.
                let may_doze = dozed || (policy.doze != DozePolicy::Never && reason != Reason::RoomNeeded);
                // Who waits for a place, or for a clone, does not wait for maintenance.
                let is_awaited = reason == Reason::RoomNeeded || !self.queues.hold.is_empty();
                let budget = if is_awaited { Duration::ZERO } else { policy.maintenance_budget };
                Box::pin(settle(Settling {
                    admin: self.admin.clone(),
                    sessions: self.spec.sessions.clone(),
                    bed: bed.filter(|_| may_doze),
                    policy,
                    of_itself: reason != Reason::AskedToSleep,
                    budget,
                }))
            }
        });
    }

    pub(super) fn on_settled(&mut self, settled: Settled) {
        match settled {
            Settled::Yes(roles) => {
                // Sessions that were parked have given their leases back; who came instead is served first.
                while let Ok(command) = self.inbox.try_recv() {
                    self.on_command(command);
                }
                if self.state != State::Settling {
                    return;
                }
                if self.leases > 0 {
                    return self.stay_for_sessions(Holding { active: self.leases, pinned: 0 });
                }
                self.last_seen = Observation::default();
                self.holding = Holding::default();
                self.settled_roles = Some(*roles);
                self.go(Reason::Settled);
                self.stop_processes();
            }
            Settled::Guarded(seen, standing) => {
                if seen != self.last_seen {
                    let guards: Vec<String> = standing.iter().map(ToString::to_string).collect();
                    tracing::info!(branch = %self.spec.branch, guards = guards.join(", "), "may not sleep");
                }
                self.last_seen = seen;
                self.stay_awake();
                let branch = self.branch();
                self.deny_sleep(|| SleepError::Guarded { branch: branch.clone(), guards: standing.clone() });
            }
            Settled::Held(holding) => self.stay_for_sessions(holding),
            Settled::Laid(laid) => self.on_laid(*laid),
            Settled::Spoke => self.on_spoken(),
            Settled::NotFrozen(problem) => self.on_not_frozen(problem),
            Settled::Failed(error) => {
                tracing::warn!(branch = %self.spec.branch, %error, "cannot settle");
                self.stay_awake();
                let (branch, problem) = (self.branch(), error.to_string());
                self.deny_sleep(|| SleepError::Failed { branch: branch.clone(), problem: problem.clone() });
            }
        }
    }

    pub(super) fn stay_for_sessions(&mut self, holding: Holding) {
        if holding != self.holding {
            let Holding { active, pinned } = holding;
            tracing::info!(branch = %self.spec.branch, active, pinned, "sessions keep it awake");
        }
        self.holding = holding;
        self.stay_awake();
        let (branch, standing) = (self.branch(), self.guards(false));
        self.deny_sleep(|| SleepError::Guarded { branch: branch.clone(), guards: standing.clone() });
    }

    fn stay_awake(&mut self) {
        self.stay_awake_because(Reason::GuardStands);
    }

    pub(super) fn stay_awake_because(&mut self, reason: Reason) {
        self.go(reason);
        // Looked at again soon: what stands in the way ends without telling us.
        let Policy { sleep, doze, .. } = self.policy();
        let doze_after = if let DozePolicy::After(span) = doze { Some(span) } else { None };
        // Told to sleep, it hears of what changes: a session says so, or leaves.
        let sleep_after = if self.is_told_to_sleep() { Some(LOOK_AGAIN) } else { sleep.span() };
        let span = sleep_after.into_iter().chain(doze_after).min();
        let again = span.map(|span| span.clamp(LOOK_AGAIN_LEAST, LOOK_AGAIN));
        self.timer = again.map(|pause| Instant::now() + pause);
    }

    /// The sessions that stood in the way stayed.
    pub(super) fn deny_for_sessions(&mut self) {
        let (branch, standing) = (self.branch(), guards(self.holding_now(), None, false, &self.last_seen));
        self.deny_sleep(|| SleepError::Guarded { branch: branch.clone(), guards: standing.clone() });
    }

    pub(super) fn deny_sleep(&mut self, error: impl Fn() -> SleepError) {
        self.deny_at = None;
        for waiter in self.queues.sleep.drain(..).chain(self.queues.doze.drain(..)) {
            let _ = waiter.send(Err(error()));
        }
        for waiter in self.queues.hold.drain(..) {
            let _ = waiter.send(Err(error()));
        }
    }

    /// Stops without settling: sessions, if there are any, get 57P01 from PostgreSQL; at a restart those that can be are
    /// parked before, and notice nothing. The roles are read first if that
    /// goes quickly, so that the next login need not start the server to read them.
    pub(super) fn begin_stop(&mut self, reason: Reason) {
        let readable = matches!(self.state, State::Awake | State::Dozing | State::Settling);
        if self.state == State::Dozing {
            self.let_go();
        }
        if !self.go(reason) {
            return;
        }
        self.timer = None;
        if self.running.is_none() {
            self.job = None;
            self.queueing = false;
            return self.stopped(Reason::Stopped);
        }
        if !readable {
            return self.stop_processes();
        }
        let admin = self.admin.clone();
        let parks = reason == Reason::AskedToRestart && self.policy().park;
        let sessions = parks.then(|| self.spec.sessions.clone());
        self.job = Some(Box::pin(async move {
            if let Some(sessions) = sessions {
                let _ = tokio::time::timeout(PARK_FOR_RESTART_WITHIN, park_all(&*sessions, &admin)).await;
            }
            let roles = tokio::time::timeout(GATHER_WITHIN, admin.settle()).await;
            Done::Gathered(roles.ok().and_then(Result::ok))
        }));
    }

    /// Fast shutdown (SIGINT; SIGTERM would be a smart one that waits for sessions), and what follows if it takes too
    /// long. The end itself is seen by the watch on the postmaster.
    pub(super) fn stop_processes(&mut self) {
        let (admin, timeout) = (self.admin.clone(), self.policy().shutdown_timeout);
        self.signal(Signal::INT);
        let Some(pidfd) = self.running.as_ref().and_then(|running| running.watch.try_clone().ok()) else { return };
        let branch = self.branch();
        self.job = Some(Box::pin(async move {
            admin.close().await;
            tokio::time::sleep(timeout).await;
            tracing::warn!(%branch, "fast shutdown takes too long: immediate shutdown");
            let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::QUIT);
            tokio::time::sleep(QUIT_WITHIN).await;
            tracing::warn!(%branch, "immediate shutdown takes too long: killing the postmaster");
            let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
            std::future::pending().await
        }));
    }

    /// The postmaster died before its shutdown was done, and busy backends outlive it. Whoever asked for a stop is
    /// told only when they are gone too: nothing of a server outlives the daemon's end.
    pub(super) fn sweep(&mut self) {
        self.running = None;
        let data = self.spec.places.data.clone();
        self.job = Some(Box::pin(async move {
            let left = crate::procfs::postgres_processes_in(&data);
            if !left.is_empty() {
                crate::takeover::end_leftovers(&data, &left).await;
            }
            Done::Swept
        }));
    }

    /// No postmaster is left.
    pub(super) fn stopped(&mut self, reason: Reason) {
        self.running = None;
        if reason != Reason::Crashed {
            self.failures = 0;
        }
        self.timer = None;
        self.last_seen = Observation::default();
        self.holding = Holding::default();
        self.idle_since.send_replace(None);
        self.settled_roles = None;
        self.checkpointed = None;
        self.go(reason);
        let (branch, state) = (self.branch(), self.state);
        for waiter in self.queues.doze.drain(..) {
            let _ = waiter.send(Err(SleepError::NotAwake { branch: branch.clone(), state }));
        }
        let admin = self.admin.clone();
        tokio::spawn(async move { admin.close().await });
        self.after_sleep();
    }

    /// Asleep: takes up whatever waited for that.
    pub(super) fn after_sleep(&mut self) {
        self.publish();
        if self.ending() {
            return;
        }
        self.take_up_sleep_requests();
        if self.held {
            return;
        }
        if !self.queues.acquire.is_empty() {
            self.begin_wake(Reason::ClientArrived);
        } else if !self.queues.restart.is_empty() {
            self.begin_wake(Reason::AskedToWake);
        } else if self.control().is_none_or(|control| !control.clean) {
            self.begin_wake(Reason::NeedsRecovery);
        }
        self.on_questions();
    }

    /// Answers who asked for sleep, if it sleeps; brings it there, if it is awake.
    pub(super) fn take_up_sleep_requests(&mut self) {
        if self.queues.sleep.is_empty() && self.queues.hold.is_empty() {
            return;
        }
        if self.state_is_quiet() {
            self.deny_at = None;
            if self.state == State::Failed {
                self.go(Reason::AskedToSleep);
                self.timer = None;
            }
            for waiter in self.queues.sleep.drain(..) {
                let _ = waiter.send(Ok(()));
            }
            // One at a time: the next gets its turn when this one is dropped.
            if !self.held && !self.queues.hold.is_empty() {
                let waiter = self.queues.hold.remove(0);
                self.held = true;
                let _ = waiter.send(Ok(AsleepHold::new(self.outbox.clone())));
            }
        } else if matches!(self.state, State::Awake | State::Dozing) {
            if self.leases > 0 && !self.policy().park {
                // A session whose client has just gone is still on its way out.
                self.deny_at.get_or_insert(Instant::now() + LAST_BACKEND_LEAVES);
            } else {
                self.deny_at = None;
                self.settle(Reason::AskedToSleep);
            }
        }
    }
}

/// Parks all that can be, and ends the others. When nobody is left, what is on the way to listeners comes in.
async fn park_all(sessions: &dyn Sessions, admin: &Arc<Admin>) {
    if sessions.park(true).await != Holding::default() {
        sessions.end_attached();
    }
    let patience = Instant::now() + LAST_BACKEND_LEAVES;
    while let Ok(seen) = admin.observe().await {
        if seen.other_client_backends <= sessions.listening() {
            return sessions.fall_silent().await;
        }
        // Somebody who came past the gateway, or a backend that does not end: then listeners are told.
        if Instant::now() >= patience {
            return;
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// How it is to settle.
struct Settling {
    admin: Arc<Admin>,
    sessions: Arc<dyn Sessions>,
    policy: Policy,
    of_itself: bool,
    /// It is laid there to doze if pinned sessions are all that keeps it from sleeping.
    bed: Option<Bed>,
    /// For maintenance.
    budget: Duration,
}

async fn settle(settling: Settling) -> Done {
    Done::Settled(settling.settle().await.unwrap_or_else(|settled| settled))
}

impl Settling {
    async fn settle(mut self) -> Result<Settled, Settled> {
        if self.policy.park {
            self.park().await?;
        }
        let Self { admin, sessions, .. } = &self;
        self.look().await?;
        if !self.budget.is_zero() {
            // What autovacuum would have done must not keep a server from sleeping.
            match admin.maintain(self.budget).await {
                Ok(0) => {}
                Ok(tables) => {
                    tracing::info!(tables, "vacuumed or analyzed before sleep");
                    self.look().await?;
                }
                Err(error) => tracing::warn!(%error, "no maintenance before sleep"),
            }
        }
        // Before the roles are read: a fence is written to the WAL.
        if tokio::time::timeout(SILENT_WITHIN, sessions.fall_silent()).await.is_err() {
            tracing::warn!("notifications are still on the way: who waits for them is told that they may be lost");
        }
        admin.settle().await.map(|roles| Settled::Yes(Box::new(roles))).map_err(Settled::Failed)
    }

    async fn park(&mut self) -> Result<(), Settled> {
        let patience = Instant::now() + LAST_BACKEND_LEAVES;
        loop {
            let holding = self.sessions.park(false).await;
            if holding == Holding::default() {
                return Ok(());
            }
            // One whose client has just gone is still on its way out.
            if holding.pinned > 0 || Instant::now() >= patience {
                return Err(match self.bed.take() {
                    Some(bed) if holding.active == 0 => lie_down(bed, Reason::OnlyPinned).await,
                    _ => Settled::Held(holding),
                });
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Whether anything stands in the way but sessions.
    async fn look(&self) -> Result<(), Settled> {
        no_guard_stands(&self.admin, || self.sessions.listening(), &self.policy, self.of_itself).await
    }
}

/// Whether anything stands in the way but the gateway's sessions, which have so many backends (`ours`). One that has just
/// left is waited for.
pub(super) async fn no_guard_stands(
    admin: &Arc<Admin>,
    ours: impl Fn() -> u32,
    policy: &Policy,
    of_itself: bool,
) -> Result<(), Settled> {
    let patience = Instant::now() + LAST_BACKEND_LEAVES;
    loop {
        let mut seen = policy.heeded(admin.observe().await.map_err(Settled::Failed)?);
        seen.other_client_backends = seen.other_client_backends.saturating_sub(ours());
        let standing = guards(Holding::default(), policy.sleep.guard(), of_itself, &seen);
        let only_leaving = standing.iter().all(|guard| matches!(guard, Guard::OtherClients(_)));
        if standing.is_empty() {
            return Ok(());
        }
        if !only_leaving || Instant::now() >= patience {
            return Err(Settled::Guarded(seen, standing));
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}
