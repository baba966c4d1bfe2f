//! How everybody else speaks to the task that owns a server.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nap_model::access::AccessFacts;
use nap_model::guard::Guard;
use nap_model::ids::BranchName;
use nap_model::state::Reason;
use nap_model::status::ServerStatus;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::admin::AdminError;
use crate::error::{AccessError, SleepError, WakeError};
use crate::live::Live;
use crate::owner::Question;
use crate::sessions::Sessions;
use crate::spec::Policy;

/// How long a look into a server may take before the last one's result is shown.
const LOOK_WITHIN: Duration = Duration::from_secs(1);

/// What the owner of a server is asked.
pub(crate) enum Command {
    /// Somebody wants the server awake for as long as the lease lives.
    Acquire { reply: oneshot::Sender<Result<Lease, WakeError>> },
    /// A lease was dropped.
    Released,
    /// A login that could not be answered because the server went away meanwhile.
    AskAgain(Question),
    /// What is to be known about a login.
    Access { role: String, database: String, reply: oneshot::Sender<Result<AccessFacts, AccessError>> },
    /// Sleep, if no guard stands.
    Sleep { why: Reason, reply: oneshot::Sender<Result<(), SleepError>> },
    /// A session has said whether the server is to stay awake.
    KeepAwake { on: bool },
    /// Stop its processes where they are, if no guard stands and nobody does anything.
    Doze { reply: oneshot::Sender<Result<(), SleepError>> },
    /// Vacuum and analyze what is due, for so long.
    Maintain { budget: Duration, reply: oneshot::Sender<Result<u32, AdminError>> },
    /// Stop and start, whatever the sessions do; those that can be are parked before. A sleeping server goes on sleeping.
    Restart { reply: oneshot::Sender<Result<(), WakeError>> },
    /// Sleep, and stay asleep for as long as the hold lives.
    HoldAsleep { reply: oneshot::Sender<Result<AsleepHold, SleepError>> },
    /// Stay asleep for as long as the hold lives, if it sleeps now.
    HoldIfAsleep { reply: oneshot::Sender<AsleepHold> },
    /// A hold was dropped.
    Unhold,
    /// Why it is not awake yet.
    WhyLate { reply: oneshot::Sender<WakeError> },
    /// What it takes to copy it while it runs.
    Live { reply: oneshot::Sender<Live> },
    /// Look now at what keeps it awake.
    Look { reply: oneshot::Sender<Vec<Guard>> },
    /// Stop for good.
    End { reply: oneshot::Sender<()> },
}

/// The right to a running server. As long as one lives the server does not sleep of itself.
#[derive(Debug)]
pub struct Lease {
    socket: PathBuf,
    superuser: String,
    owner: mpsc::UnboundedSender<Command>,
}

impl Lease {
    pub(crate) fn new(socket: PathBuf, superuser: String, owner: mpsc::UnboundedSender<Command>) -> Self {
        Self { socket, superuser, owner }
    }

    /// A superuser of the server, as far as is known.
    pub fn superuser(&self) -> &str {
        &self.superuser
    }

    /// The server's private socket.
    pub fn socket(&self) -> &PathBuf {
        &self.socket
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let _ = self.owner.send(Command::Released);
    }
}

/// A server that sleeps and must not wake now: clients wait until this is dropped.
#[derive(Debug)]
pub struct AsleepHold {
    owner: mpsc::UnboundedSender<Command>,
}

impl AsleepHold {
    pub(crate) fn new(owner: mpsc::UnboundedSender<Command>) -> Self {
        Self { owner }
    }
}

impl Drop for AsleepHold {
    fn drop(&mut self) {
        let _ = self.owner.send(Command::Unhold);
    }
}

/// One branch's server, from outside.
#[derive(Clone)]
pub struct ServerHandle {
    /// It ends because its branch goes: who waits for it hears that, and not that the daemon ends.
    pub(crate) removed: Arc<AtomicBool>,
    pub(crate) branch: BranchName,
    pub(crate) owner: mpsc::UnboundedSender<Command>,
    pub(crate) status: watch::Receiver<ServerStatus>,
    pub(crate) idle_since: watch::Receiver<Option<Instant>>,
    pub(crate) sessions: Arc<dyn Sessions>,
    pub(crate) policy: watch::Receiver<Policy>,
}

/// Since when nobody has used a server with so many leases; none: somebody does. A lease that no session holds is
/// somebody else's, who needs it now. Unless sessions are to be asked (`ask_sessions`), each of them uses it.
pub(crate) fn unused_since(
    leases: u32,
    idle_since: Option<Instant>,
    ask_sessions: bool,
    sessions: &dyn Sessions,
) -> Option<Instant> {
    if leases == 0 {
        return idle_since;
    }
    let quiet = ask_sessions.then(|| sessions.quiet())?;
    quiet.since.filter(|_| quiet.attached >= leases)
}

impl ServerHandle {
    /// Its state, as of now.
    pub fn status(&self) -> ServerStatus {
        self.status.borrow().clone()
    }

    /// How long nobody has used it, if it runs; none: somebody does, or it does not run.
    pub fn idle_for(&self) -> Option<Duration> {
        let since = (*self.idle_since.borrow()).or_else(|| self.sessions.quiet().since)?;
        Some(since.elapsed())
    }

    /// The server, awake: woken if need be, by one start for all who ask.
    pub async fn awake(&self, deadline: Instant) -> Result<Lease, WakeError> {
        self.wake(deadline).await.map_err(|error| self.or_removed(error))
    }

    async fn wake(&self, deadline: Instant) -> Result<Lease, WakeError> {
        let (reply, mut answer) = oneshot::channel();
        let ending = || WakeError::Ending { branch: self.branch.clone() };
        self.owner.send(Command::Acquire { reply }).map_err(|_| ending())?;
        match tokio::time::timeout_at(deadline, &mut answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(ending())),
            // `answer` lives on: if its end were seen first the wake would be given up, and why it was late forgotten.
            Err(_) => {
                let (reply, why) = oneshot::channel();
                self.owner.send(Command::WhyLate { reply }).map_err(|_| ending())?;
                Err(why.await.unwrap_or_else(|_| ending()))
            }
        }
    }

    /// What is to be known about a login: fresh from a running server, from what was kept of a sleeping one.
    pub async fn access(&self, role: &str, database: &str) -> Result<AccessFacts, AccessError> {
        let (reply, answer) = oneshot::channel();
        let gone =
            || AccessError::Unreadable { branch: self.branch.clone(), cause: "the server's owner has ended".into() };
        let command = Command::Access { role: role.to_owned(), database: database.to_owned(), reply };
        let answer = match self.owner.send(command) {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(gone())),
            Err(_) => Err(gone()),
        };
        answer.map_err(|error| match self.removed.load(Ordering::Relaxed) {
            true => AccessError::Removed { branch: self.branch.clone() },
            false => error,
        })
    }

    /// Puts it to sleep unless guards stand. Returns when it sleeps.
    pub async fn sleep(&self) -> Result<(), SleepError> {
        self.sleep_because(Reason::AskedToSleep).await
    }

    pub(crate) async fn sleep_because(&self, why: Reason) -> Result<(), SleepError> {
        let (reply, answer) = oneshot::channel();
        let _ = self.owner.send(Command::Sleep { why, reply });
        answer.await.unwrap_or(Ok(()))
    }

    /// A session says whether it is to stay awake: one that sleeps only when it is told to (`SleepPolicy::WhenTold`) goes to sleep
    /// once nobody does anything, unless told otherwise meanwhile.
    pub fn keep_awake(&self, on: bool) {
        let _ = self.owner.send(Command::KeepAwake { on });
    }

    /// Freezes it unless guards stand. Returns when it dozes.
    pub async fn doze(&self) -> Result<(), SleepError> {
        let (reply, answer) = oneshot::channel();
        let _ = self.owner.send(Command::Doze { reply });
        answer.await.unwrap_or(Ok(()))
    }

    /// Puts it to sleep unless guards stand, and keeps it asleep.
    pub async fn hold_asleep(&self) -> Result<AsleepHold, SleepError> {
        let (reply, answer) = oneshot::channel();
        let _ = self.owner.send(Command::HoldAsleep { reply });
        let gone = SleepError::Failed {
            branch: self.branch.clone(),
            problem: "it is being removed, or the daemon ends".into(),
        };
        answer.await.unwrap_or(Err(gone))
    }

    /// Keeps it asleep, if it sleeps now and nobody else has it so.
    pub async fn hold_if_asleep(&self) -> Option<AsleepHold> {
        let (reply, answer) = oneshot::channel();
        let _ = self.owner.send(Command::HoldIfAsleep { reply });
        answer.await.ok()
    }

    /// What becomes of it.
    pub fn changes(&self) -> watch::Receiver<ServerStatus> {
        self.status.clone()
    }

    /// What it takes to copy it while it runs: a server that the caller has a lease of, and keeps it. None: it is not awake any more.
    pub async fn live(&self, _lease: &Lease) -> Option<Live> {
        let (reply, answer) = oneshot::channel();
        let _ = self.owner.send(Command::Live { reply });
        answer.await.ok()
    }

    /// Vacuums and analyzes the tables that are due, for so long: of a server that the caller has a lease of. Gives back how many were.
    pub async fn maintain(&self, _lease: &Lease, budget: Duration) -> Result<u32, AdminError> {
        let (reply, answer) = oneshot::channel();
        let _ = self.owner.send(Command::Maintain { budget, reply });
        answer.await.unwrap_or(Ok(0))
    }

    /// Parks the sessions that can be, stops it with the others, and starts it again; a sleeping server is left asleep.
    pub async fn restart(&self) -> Result<(), WakeError> {
        let (reply, answer) = oneshot::channel();
        let _ = self.owner.send(Command::Restart { reply });
        let answer = answer.await.unwrap_or_else(|_| Err(WakeError::Ending { branch: self.branch.clone() }));
        answer.map_err(|error| self.or_removed(error))
    }

    fn or_removed(&self, error: WakeError) -> WakeError {
        match self.removed.load(Ordering::Relaxed) {
            true => WakeError::Removed { branch: self.branch.clone() },
            false => error,
        }
    }

    /// Since when nobody has used it.
    pub(crate) fn unused_since(&self) -> Option<Instant> {
        let leases = self.status.borrow().sessions;
        unused_since(leases, *self.idle_since.borrow(), self.policy.borrow().park, &*self.sessions)
    }

    /// What keeps it awake now. Asked of a sleeping server, its status tells afterwards whether somebody else runs it.
    pub async fn guards(&self) -> Vec<Guard> {
        let (reply, answer) = oneshot::channel();
        let _ = self.owner.send(Command::Look { reply });
        match tokio::time::timeout(LOOK_WITHIN, answer).await {
            Ok(guards) => guards.unwrap_or_default(),
            // A server that does not answer: what was last known of it must do.
            Err(_) => self.status.borrow().guards.clone(),
        }
    }

    /// [`Self::end`], because its branch is being removed.
    pub async fn remove(&self) {
        self.removed.store(true, Ordering::Relaxed);
        self.end().await;
    }

    /// Stops it for good. Returns when no process of it is left.
    pub async fn end(&self) {
        let (reply, answer) = oneshot::channel();
        let _ = self.owner.send(Command::End { reply });
        let _ = answer.await;
    }
}
