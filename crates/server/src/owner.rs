//! The one task that owns a server's state. It moves only along the table in `nap_model::state`; everybody else asks
//! it through a queue of commands and watches the numbered copies it publishes.
//!
//! What takes time (queueing for a place, starting, settling, stopping) runs as one `job` beside the queue, so that a
//! command is never kept waiting: a client that arrives while the server settles turns it round.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use nap_model::guard::{Guard, Holding, Observation, guards};
use nap_model::lsn::Lsn;
use nap_model::state::{Reason, State, transition};
use nap_model::status::ServerStatus;
use rustix::process::Signal;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::admin::{Admin, Roles};
use crate::error::{AccessError, SleepError, WakeError};
use crate::exit_watch::ExitWatch;
use crate::handle::{AsleepHold, Command, Lease, ServerHandle, unused_since};
use crate::log_end::LogMark;
use crate::slots::Slot;
use crate::spec::{DozePolicy, Policy, ServerSpec, Shared, SleepPolicy};

mod access;
mod commands;
mod doze;
mod lie_down;
mod start;
mod stop;

use access::KnownRoles;
pub(crate) use access::Question;

/// After this many failed starts in a row the pause between them grows no more.
const PAUSE_DOUBLINGS_MAX: u32 = 6;
/// The pause after the first failed start.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// However long that pause has grown, a client that was let in waits no longer than this after the last failure: the cause
/// may have been mended. Who has not been let in does not shorten it.
const PAUSE_FOR_CLIENT: Duration = Duration::from_secs(1);
/// A server that ran this long counts as one that starts well.
const RAN_WELL: Duration = Duration::from_secs(10);
/// How long a server that a guard keeps awake waits for the next look, at most.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// And at least.
const LOOK_AGAIN_LEAST: Duration = Duration::from_millis(100);

/// What a job ended with.
enum Done {
    /// The pause after a failed start is over.
    Paused,
    /// A place among `max_awake`.
    Placed(Slot),
    /// Spawned or adopted, or not.
    Launched(Result<start::Launched, WakeError>),
    /// Takes connections.
    Ready,
    /// May stop, or is frozen, or neither.
    Settled(stop::Settled),
    /// Was thawed for a moment.
    Pulsed(Result<Box<lie_down::Laid>, stop::Settled>),
    /// The roles were read before a stop that did not settle.
    Gathered(Option<Roles>),
    /// No backend is left of a postmaster that was killed.
    Swept,
    /// What was read when the server settled is on disk, as far as it may be.
    Kept,
}

type Job = Pin<Box<dyn Future<Output = Done> + Send>>;

/// The processes of a running server.
struct Running {
    watch: ExitWatch,
    /// Held for as long as there are processes.
    _slot: Slot,
    /// When it became ready.
    ready_at: Option<Instant>,
}

/// Who waits for what.
#[derive(Default)]
struct Queues {
    acquire: Vec<oneshot::Sender<Result<Lease, WakeError>>>,
    restart: Vec<oneshot::Sender<Result<(), WakeError>>>,
    access: Vec<access::Question>,
    sleep: Vec<oneshot::Sender<Result<(), SleepError>>>,
    hold: Vec<oneshot::Sender<Result<AsleepHold, SleepError>>>,
    doze: Vec<oneshot::Sender<Result<(), SleepError>>>,
    end: Vec<oneshot::Sender<()>>,
}

pub(crate) struct Owner {
    spec: ServerSpec,
    shared: Arc<Shared>,
    admin: Arc<Admin>,
    inbox: mpsc::UnboundedReceiver<Command>,
    outbox: mpsc::UnboundedSender<Command>,
    status: watch::Sender<ServerStatus>,
    idle_since: watch::Sender<Option<Instant>>,
    state: State,
    job: Option<Job>,
    running: Option<Running>,
    /// Its processes are stopped, as long as this is there.
    doze: Option<lie_down::Doze>,
    /// Where the WAL ended when it was last laid down to doze.
    checkpointed: Option<Lsn>,
    queues: Queues,
    leases: u32,
    held: bool,
    /// What is known of the roles while no server can be asked.
    roles: KnownRoles,
    /// Read when the server settled; kept on disk once it has stopped at the place in the WAL they belong to.
    settled_roles: Option<Roles>,
    last_seen: Observation,
    /// The sessions that kept it awake when that was last looked at.
    holding: Holding,
    failures: u32,
    /// No start before this.
    not_before: Option<Instant>,
    /// When to settle (awake), or to try again (failed).
    timer: Option<Instant>,
    /// When sessions that stand in the way of a sleep that was asked for are a reason to refuse it.
    deny_at: Option<Instant>,
    /// A place among `max_awake` is queued for.
    queueing: bool,
    /// A restart was asked for while it started, perhaps with the old settings.
    restart_when_ready: bool,
    /// The last session that said something of it since the server woke wants it to sleep.
    told_to_sleep: bool,
    /// Others have it while they copy the server.
    copying: Arc<tokio::sync::Mutex<()>>,
    log_mark: LogMark,
}

impl Owner {
    /// Starts the task.
    pub(crate) fn start(spec: ServerSpec, shared: Arc<Shared>) -> ServerHandle {
        let (outbox, inbox) = mpsc::unbounded_channel();
        let (status, watched) = watch::channel(ServerStatus::asleep(jiff::Timestamp::now().as_millisecond()));
        let (idle_since, idle_watched) = watch::channel(None);
        let log_mark = LogMark::new(spec.places.log.clone());
        let handle = ServerHandle {
            removed: Arc::default(),
            branch: spec.branch.clone(),
            owner: outbox.clone(),
            status: watched,
            idle_since: idle_watched,
            sessions: spec.sessions.clone(),
            policy: spec.policy.clone(),
        };
        let admin = Admin::new(spec.branch.clone(), spec.major, spec.places.socket_dir.clone());
        let owner = Self {
            spec,
            shared,
            admin,
            inbox,
            outbox,
            status,
            idle_since,
            state: State::Asleep,
            job: None,
            running: None,
            doze: None,
            checkpointed: None,
            queues: Queues::default(),
            leases: 0,
            held: false,
            roles: KnownRoles::default(),
            settled_roles: None,
            last_seen: Observation::default(),
            holding: Holding::default(),
            failures: 0,
            not_before: None,
            timer: None,
            deny_at: None,
            queueing: false,
            restart_when_ready: false,
            told_to_sleep: false,
            copying: Arc::default(),
            log_mark,
        };
        tokio::spawn(owner.run());
        handle
    }

    async fn run(mut self) {
        self.look_what_is_there();
        let mut policy = self.spec.policy.clone();
        loop {
            tokio::select! {
                command = self.inbox.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => return,
                },
                done = run_job(&mut self.job) => {
                    self.job = None;
                    self.on_done(done);
                }
                () = ended(&self.running) => self.on_exit(),
                stir = stirred(&mut self.doze) => self.on_stir(stir),
                () = due(self.timer) => self.on_timer(),
                () = due(self.deny_at) => self.deny_for_sessions(),
                () = all_gone(&mut self.queues.acquire), if self.queueing => self.on_nobody_waits(),
                Ok(()) = policy.changed() => self.on_policy_changed(),
            }
            if self.state == State::Asleep && self.job.is_none() && !self.queues.end.is_empty() {
                self.finish();
                return;
            }
        }
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Paused => self.queue_for_place(),
            Done::Placed(slot) => self.on_placed(slot),
            Done::Launched(launched) => self.on_launched(launched),
            Done::Ready => self.on_ready(),
            Done::Settled(settled) => self.on_settled(settled),
            Done::Pulsed(pulsed) => self.on_pulsed(pulsed),
            Done::Gathered(roles) => {
                self.settled_roles = roles;
                self.stop_processes();
            }
            Done::Swept => self.stopped(Reason::Crashed),
            Done::Kept => self.stopped(Reason::Stopped),
        }
    }

    fn on_timer(&mut self) {
        self.timer = None;
        match self.state {
            State::Awake | State::Dozing => self.settle_when_unused(),
            State::Failed => self.begin_wake(Reason::PauseOver),
            _ => {}
        }
    }

    /// The postmaster has ended: whether that was to be expected depends on where we are.
    fn on_exit(&mut self) {
        match self.state {
            // Whoever outlives it must hear that it has gone.
            State::Dozing => self.let_go(),
            _ => self.job = None,
        }
        let clean = self.control().is_some_and(|control| control.clean);
        match self.state {
            State::Waking => {
                self.running = None;
                let problem = "it ended while it started".to_owned();
                self.fail(WakeError::DidNotStart { branch: self.branch(), problem, log_end: self.log_mark.end() });
            }
            State::Stopping if clean => self.keep_roles(),
            State::Stopping => self.sweep(),
            State::Awake | State::Dozing | State::Settling if clean => self.stopped(Reason::StoppedByOther),
            State::Awake | State::Dozing | State::Settling => {
                let ran_well =
                    self.running.as_ref().and_then(|r| r.ready_at).is_some_and(|at| at.elapsed() >= RAN_WELL);
                self.failures = if ran_well { 0 } else { self.failures + 1 };
                self.not_before =
                    Some(Instant::now() + self.pause().min(PAUSE_FOR_CLIENT)).filter(|_| self.failures > 1);
                self.stopped(Reason::Crashed);
            }
            State::Asleep | State::Failed => self.running = None,
        }
    }

    /// Moves along the table. A step that is not in it is a slip of this task; it is logged, and not made.
    fn go(&mut self, reason: Reason) -> bool {
        match transition(self.state, reason) {
            Ok(row) => {
                self.state = row.to;
                // Looks at a guard that goes on standing would fill the log.
                let known_guard = self.last_seen != Observation::default() || self.holding != Holding::default();
                if known_guard && matches!(reason, Reason::Idle | Reason::RoomNeeded | Reason::GuardStands) {
                    tracing::debug!(branch = %self.spec.branch, from = %row.from, to = %row.to, "{}", row.says);
                } else {
                    tracing::info!(branch = %self.spec.branch, from = %row.from, to = %row.to, "{}", row.says);
                }
                self.status.send_modify(|status| {
                    status.state = row.to;
                    status.reason = Some(reason);
                    status.since_unix_ms = jiff::Timestamp::now().as_millisecond();
                });
                self.publish();
                true
            }
            Err(slip) => {
                tracing::error!(branch = %self.spec.branch, %slip, "refused");
                false
            }
        }
    }

    fn publish(&mut self) {
        self.queues.acquire.retain(|waiter| !waiter.is_closed());
        self.queues.access.retain(|question| !question.is_closed());
        let guards = self.guards(true);
        let (sessions, waiting) = (self.leases, self.queues.acquire.len() as u32);
        let pid = self.running.as_ref().map(|running| running.watch.pid());
        self.status.send_modify(|status| {
            status.sequence += 1;
            status.sessions = sessions;
            status.waiting = waiting;
            status.pid = pid;
            status.guards = guards;
        });
    }

    /// What keeps it awake, by what is known without asking it.
    fn guards(&self, of_itself: bool) -> Vec<Guard> {
        if !matches!(self.state, State::Awake | State::Dozing | State::Settling) {
            return Vec::new();
        }
        guards(self.holding, self.policy().sleep.guard(), of_itself, &self.last_seen)
    }

    fn policy(&self) -> Policy {
        let policy = *self.spec.policy.borrow();
        // Told to, it sleeps as soon as nobody does anything.
        if self.is_told_to_sleep() { Policy { sleep: SleepPolicy::After(Duration::ZERO), ..policy } } else { policy }
    }

    fn is_told_to_sleep(&self) -> bool {
        self.told_to_sleep && self.spec.policy.borrow().sleep == SleepPolicy::WhenTold
    }

    fn branch(&self) -> nap_model::ids::BranchName {
        self.spec.branch.clone()
    }

    fn ending(&self) -> bool {
        !self.queues.end.is_empty()
    }

    /// Starts the idle clock, or sets it to when it is worth looking: nobody tells when a session becomes idle.
    fn set_idle_timer(&mut self) {
        if self.state != State::Awake {
            return;
        }
        let idle = self.leases == 0;
        let since = *self.idle_since.borrow();
        let since = idle.then(|| since.unwrap_or_else(Instant::now));
        self.idle_since.send_replace(since);
        // Whoever is active now will not have been idle for so long before that has passed.
        let Policy { sleep, doze, park, .. } = self.policy();
        let now = Instant::now();
        let may_sleep = idle || park;
        // While somebody does something nothing is due, however short the span.
        let later = |span: Duration| now + span.max(LOOK_AGAIN_LEAST);
        let sleep = sleep.span().filter(|_| may_sleep).map(|span| self.sleep_due().unwrap_or(later(span)));
        let doze = match doze {
            DozePolicy::After(span) => Some(self.doze_due().unwrap_or(later(span))),
            DozePolicy::WhenPinned | DozePolicy::Never => None,
        };
        self.timer = sleep.into_iter().chain(doze).min();
        if idle {
            self.shared.slots.nudge();
        }
    }

    /// Since when nobody has used it; none: somebody does.
    fn unused_since(&self) -> Option<Instant> {
        unused_since(self.leases, *self.idle_since.borrow(), self.policy().park, &*self.spec.sessions)
    }

    /// The clock has run out.
    fn settle_when_unused(&mut self) {
        let now = Instant::now();
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        if is_due(self.sleep_due()) {
            self.settle(Reason::Idle);
        } else if self.state == State::Dozing {
            self.timer = self.sleep_due();
        } else if is_due(self.doze_due()) {
            self.settle(Reason::DozeDue);
        } else {
            self.set_idle_timer();
        }
    }

    fn pause(&self) -> Duration {
        PAUSE_FIRST * 2_u32.pow(self.failures.saturating_sub(1).min(PAUSE_DOUBLINGS_MAX))
    }

    fn signal(&self, signal: Signal) {
        if let Some(running) = &self.running {
            // An error means that it has ended, which is reported by itself.
            let _ = running.watch.signal(signal);
        }
    }

    fn socket(&self) -> PathBuf {
        self.spec.places.socket_dir.join(crate::launch::SOCKET_NAME)
    }

    fn finish(&mut self) {
        for waiter in self.queues.acquire.drain(..) {
            let _ = waiter.send(Err(WakeError::Ending { branch: self.spec.branch.clone() }));
        }
        for question in self.queues.access.drain(..) {
            question.refuse(AccessError::Ending { branch: self.spec.branch.clone() });
        }
        for waiter in self.queues.end.drain(..) {
            let _ = waiter.send(());
        }
    }
}

/// Returns when nobody who waits is left. With nobody to begin with it never does: then the wake has other reasons.
async fn all_gone<T>(waiters: &mut [oneshot::Sender<T>]) {
    if waiters.is_empty() {
        std::future::pending::<()>().await;
    }
    for waiter in waiters {
        waiter.closed().await;
    }
}

async fn run_job(job: &mut Option<Job>) -> Done {
    match job {
        Some(job) => job.await,
        None => std::future::pending().await,
    }
}

/// Whoever asks a server something waits no longer then. Never returns for one that goes away instead: that is heard from the connection to it.
async fn until_it_dozes(status: &mut watch::Receiver<ServerStatus>) {
    if status.wait_for(|status| status.state == State::Dozing).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn stirred(doze: &mut Option<lie_down::Doze>) -> lie_down::Stir {
    match doze {
        Some(doze) => doze.stirred().await,
        None => std::future::pending().await,
    }
}

async fn ended(running: &Option<Running>) {
    match running {
        Some(running) => running.watch.ended().await,
        None => std::future::pending().await,
    }
}

async fn due(timer: Option<Instant>) {
    match timer {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
