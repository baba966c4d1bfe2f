//! From asleep to awake: queue for a place, look what is there, spawn, wait until ready.

use std::time::Duration;

use nap_model::postmaster_pid::Progress;
use nap_model::state::{Reason, State};
use tokio::time::Instant;

use super::{Done, Owner, PAUSE_FOR_CLIENT, Running};
use crate::error::WakeError;
use crate::exit_watch::ExitWatch;
use crate::ready::{self, Notifications};
use crate::slots::Slot;
use crate::spec::{ServerSpec, Shared};
use crate::takeover::{self, Found};

/// How long a server stays that was started though nobody had been let in: long enough for the login that is under way.
const UNUSED_SLEEPS_AFTER: Duration = Duration::from_secs(2);

/// A server that was spawned or taken over.
pub(super) struct Launched {
    watch: ExitWatch,
    slot: Slot,
    notifications: Notifications,
}

impl Owner {
    /// At the daemon's start: adopts what an earlier daemon left, recovers what crashed, reads roles that are not known.
    pub(super) fn look_what_is_there(&mut self) {
        self.load_roles();
        let places = &self.spec.places;
        if let Found::Ours { watch, progress } = takeover::look(&places.data, &places.socket_dir) {
            let notifications = Notifications::bind(&places.socket_dir);
            match notifications {
                Ok(notifications) => return self.adopt(watch, progress, notifications),
                Err(error) => tracing::error!(branch = %self.spec.branch, %error, "cannot watch a running server"),
            }
        }
        if self.valid_roles().is_none() {
            self.begin_wake(self.why_read_roles());
        } else {
            // A home may have a thousand sleeping branches: what a login needs is read again then.
            self.forget_roles();
        }
    }

    /// Whoever looks at a sleeping server is told if somebody else runs it, and one that was started with our own
    /// command line (`pg_ctl restart` does that) is taken over.
    pub(super) fn look_behind_our_back(&mut self) {
        if self.job.is_some() || self.held || self.ending() {
            return;
        }
        let places = &self.spec.places;
        let failure = match takeover::look(&places.data, &places.socket_dir) {
            Found::Foreign { pid } => Some(format!("a server that Napgres did not start runs (PID {pid})")),
            Found::Ours { .. } => return self.look_what_is_there(),
            Found::Nothing | Found::Leftovers(_) => None,
        };
        self.status.send_if_modified(|status| {
            let differs = status.failure != failure;
            status.failure = failure;
            differs
        });
    }

    fn adopt(&mut self, watch: ExitWatch, progress: Progress, notifications: Notifications) {
        let slot = self.shared.slots.take_over();
        if progress == Progress::Stopping {
            self.running = Some(Running { watch, _slot: slot, ready_at: None });
            self.go(Reason::AdoptedStopping);
            return self.stop_processes();
        }
        // One that shuts down was never frozen by us.
        let stopped = crate::procfs::Directory::of(&self.spec.places.data).map_or(0, crate::freeze::thaw_all);
        if stopped > 0 {
            tracing::info!(branch = %self.spec.branch, stopped, "found frozen, left by an earlier daemon: it goes on");
        }
        // As long as its control file says that it was shut down it has let nobody in, and what is kept still holds.
        self.remember_roles_for_wake();
        self.go(Reason::AdoptedStarting);
        self.on_launched(Ok(Launched { watch, slot, notifications }));
    }

    pub(super) fn begin_wake(&mut self, reason: Reason) {
        if self.held || !self.go(reason) {
            return;
        }
        self.timer = None;
        self.remember_roles_for_wake();
        match self.not_before.take() {
            None => self.queue_for_place(),
            Some(at) => {
                self.job = Some(Box::pin(async move {
                    tokio::time::sleep_until(at).await;
                    Done::Paused
                }));
            }
        }
    }

    pub(super) fn queue_for_place(&mut self) {
        self.queueing = true;
        let slots = self.shared.slots.clone();
        self.job = Some(Box::pin(async move { Done::Placed(slots.take().await) }));
    }

    /// Who waited for it has gone while it queued. Whoever else wants it will say so.
    pub(super) fn on_nobody_waits(&mut self) {
        self.publish();
        if self.status.borrow().reason == Some(Reason::ClientArrived) && self.queues.restart.is_empty() {
            self.queueing = false;
            self.job = None;
            self.go(Reason::NobodyWaits);
            self.after_sleep();
        }
    }

    /// Why a client that has waited long enough has no server.
    pub(super) fn why_late(&self) -> WakeError {
        let branch = self.branch();
        if self.held {
            WakeError::Held { branch }
        } else if self.queueing {
            WakeError::NoPlace { branch }
        } else {
            WakeError::Late { branch, log_end: self.log_mark.end() }
        }
    }

    pub(super) fn on_placed(&mut self, slot: Slot) {
        self.queueing = false;
        self.log_mark.set();
        self.job = Some(Box::pin(launch(self.shared.clone(), Target::of(&self.spec), slot)));
    }

    pub(super) fn on_launched(&mut self, launched: Result<Launched, WakeError>) {
        match launched {
            Ok(Launched { watch, slot, notifications }) => {
                let (data, pid) = (self.spec.places.data.clone(), watch.pid());
                self.running = Some(Running { watch, _slot: slot, ready_at: None });
                self.status.send_modify(|status| status.wakes += 1);
                self.publish();
                self.job = Some(Box::pin(async move {
                    ready::ready(&notifications, &data, pid).await;
                    Done::Ready
                }));
            }
            Err(error) => self.fail(error),
        }
    }

    pub(super) fn on_ready(&mut self) {
        if let Some(running) = &mut self.running {
            running.ready_at = Some(Instant::now());
        }
        self.status.send_modify(|status| status.failure = None);
        self.idle_since.send_replace(None);
        self.told_to_sleep = false;
        let woken_for = self.status.borrow().reason;
        self.go(Reason::Ready);
        self.forget_roles();
        if std::mem::take(&mut self.restart_when_ready) {
            return self.begin_stop(Reason::AskedToRestart);
        }
        for waiter in std::mem::take(&mut self.queues.acquire) {
            self.grant(waiter);
        }
        for waiter in self.queues.restart.drain(..) {
            let _ = waiter.send(Ok(()));
        }
        self.on_questions();
        self.set_idle_timer();
        self.sleep_soon_if_woken_by_itself(woken_for);
        self.publish();
        self.take_up_sleep_requests();
    }

    /// A server that was started to recover or to be asked for its roles, and that nobody uses, has no reason to stay
    /// for the whole of `sleep_after`.
    fn sleep_soon_if_woken_by_itself(&mut self, woken_for: Option<Reason>) {
        use Reason::{NeedsRecovery, PauseOver, RolesStale, RolesUnknown};
        if matches!(woken_for, Some(NeedsRecovery | PauseOver | RolesStale | RolesUnknown)) {
            let soon = Instant::now() + UNUSED_SLEEPS_AFTER;
            self.timer = self.timer.map(|timer| timer.min(soon));
        }
    }

    /// The server did not start. Who waited is told; a pause begins.
    pub(super) fn fail(&mut self, mut error: WakeError) {
        self.running = None;
        self.explain(&mut error);
        let reason =
            if matches!(error, WakeError::Foreign { .. }) { Reason::ForeignServer } else { Reason::StartFailed };
        self.failures += 1;
        tracing::error!(branch = %self.spec.branch, failures = self.failures, %error, "did not wake");
        self.go(reason);
        let log_end = nap_model::client_error::ClientError::detail(&error).map(|detail| format!("\n{detail}"));
        let failure = format!("{error}{}", log_end.unwrap_or_default());
        self.status.send_modify(|status| status.failure = Some(failure));
        let now = Instant::now();
        // Who waits for it is not kept waiting for long; what goes on by itself grows ever rarer.
        self.not_before = Some(now + self.pause().min(PAUSE_FOR_CLIENT));
        for waiter in self.queues.acquire.drain(..) {
            let _ = waiter.send(Err(error.clone()));
        }
        for waiter in self.queues.restart.drain(..) {
            let _ = waiter.send(Err(error.clone()));
        }
        self.answer_after_failure(&error);
        // Nobody can be let in, and so nobody could have it tried again: it is tried again by itself. Not so after a server
        // that somebody else runs: who stops that one must not find ours in its place.
        let by_itself = reason != Reason::ForeignServer && self.valid_roles().is_none();
        self.timer = by_itself.then(|| now + self.pause());
        self.publish();
        self.take_up_sleep_requests();
    }

    /// Adds what the server said and, for a disk so full that it could not even say anything, that.
    fn explain(&self, error: &mut WakeError) {
        let WakeError::DidNotStart { problem, log_end, .. } = error else { return };
        if log_end.is_empty() {
            *log_end = self.log_mark.end();
        }
        if crate::procfs::is_full(&self.spec.places.data) {
            problem.push_str(" (the file system of its data directory is full)");
        }
    }

    pub(super) fn state_is_quiet(&self) -> bool {
        matches!(self.state, State::Asleep | State::Failed)
    }
}

/// What `launch` needs of the spec, to live in a future of its own.
struct Target {
    branch: nap_model::ids::BranchName,
    major: nap_model::ids::Major,
    places: crate::spec::Places,
    keeper: std::sync::Arc<dyn crate::keeper::Keeper>,
}

impl Target {
    fn of(spec: &ServerSpec) -> Self {
        Self {
            branch: spec.branch.clone(),
            major: spec.major,
            places: spec.places.clone(),
            keeper: spec.keeper.clone(),
        }
    }

    fn did_not_start(&self, problem: String) -> WakeError {
        WakeError::DidNotStart { branch: self.branch.clone(), problem, log_end: String::new() }
    }
}

async fn launch(shared: std::sync::Arc<Shared>, target: Target, slot: Slot) -> Done {
    let adopted = clear_the_way(&target).await;
    if matches!(adopted, Ok(None)) {
        let keeper = target.keeper.clone();
        let _ = tokio::task::spawn_blocking(move || keeper.before_start()).await;
    }
    // Nothing is awaited from here on: a job that is dropped must not leave a server that nobody knows of.
    Done::Launched(adopted.and_then(|adopted| match adopted {
        Some(watch) => Ok(Launched { watch, slot, notifications: bind(&target)? }),
        None => spawn(&shared, &target, slot),
    }))
}

/// Makes sure that nothing holds the data directory; a server of ours that runs after all is taken over.
async fn clear_the_way(target: &Target) -> Result<Option<ExitWatch>, WakeError> {
    let (data, socket_dir) = (&target.places.data, &target.places.socket_dir);
    match look(target).await {
        Found::Ours { watch, .. } => return Ok(Some(watch)),
        Found::Foreign { pid } => return Err(WakeError::Foreign { branch: target.branch.clone(), pid }),
        Found::Leftovers(pids) => takeover::end_leftovers(data, &pids).await,
        Found::Nothing => {}
    }
    takeover::clear_stale_files(data, socket_dir)
        .map_err(|error| target.did_not_start(format!("what a dead server left cannot be removed: {error}")))?;
    Ok(None)
}

/// Mostly there is no pid file, and nothing more to look at. If there is one, all of /proc is.
async fn look(target: &Target) -> Found {
    if !target.places.data.join("postmaster.pid").exists() {
        return Found::Nothing;
    }
    let (data, socket_dir) = (target.places.data.clone(), target.places.socket_dir.clone());
    let looked = tokio::task::spawn_blocking(move || takeover::look(&data, &socket_dir)).await;
    looked.unwrap_or(Found::Nothing)
}

fn bind(target: &Target) -> Result<Notifications, WakeError> {
    Notifications::bind(&target.places.socket_dir)
        .map_err(|error| target.did_not_start(format!("its private socket directory cannot be used: {error}")))
}

fn spawn(shared: &Shared, target: &Target, slot: Slot) -> Result<Launched, WakeError> {
    let install = (shared.find_install)(target.major).map_err(|cure| WakeError::NotInstalled {
        branch: target.branch.clone(),
        major: target.major,
        cure,
    })?;
    let notifications = bind(target)?;
    let notify = ready::notify_path(&target.places.socket_dir);
    let spawned = crate::launch::command(&install, &target.branch, &target.places, &notify)
        .and_then(|mut command| shared.children.spawn(&mut command))
        .map_err(|error| target.did_not_start(format!("it cannot be spawned: {error}")))?;
    let watch =
        ExitWatch::open(spawned.pid).map_err(|error| target.did_not_start(format!("it ended at once: {error}")))?;
    Ok(Launched { watch, slot, notifications })
}
