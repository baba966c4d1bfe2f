//! The listener hub: one backend for each database that listens in place of all its parked sessions.
//!
//! Nothing is lost and nothing comes twice. A session's channels change hands between its own backend and the hub at a
//! *fence*: a notification of our own that both hear, at the same place among all others. Before a server sleeps a last
//! fence brings in what is on the way; when it wakes, nobody is let in before the hub listens again. When the hub's
//! backend is lost otherwise, its sessions are closed: something may have been lost with it.

mod link;
mod listener;
mod outlet;
mod roll;
mod task;

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nap_model::ids::BranchName;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

pub(crate) use link::{Event, Link, Server, push_quoted};
pub(crate) use listener::{Deaf, Heard, Listener};
use roll::Sink;
use task::{Command, Task};

/// How the name of the fences' channel begins. Sessions of the same role can read the rest while a session is handed over;
/// who listens to it hears fences, and can make none.
pub(crate) const FENCE_CHANNEL_PREFIX: &str = "nap_fence_";

/// The pause between looks whether a hub can be left.
const LEAVE_PAUSE: Duration = Duration::from_millis(5);

/// A hub's backend, for another process.
pub(crate) struct HubLeft {
    pub(crate) stream: OwnedFd,
    pub(crate) will: HubWill,
}

/// Whose it is, and what it has said that nobody has read to its end.
#[derive(Serialize, Deserialize)]
pub(crate) struct HubWill {
    branch: BranchName,
    database: String,
    said: Vec<u8>,
}

/// A database of a branch.
type Key = (BranchName, String);

/// One hub, from outside.
#[derive(Clone)]
struct Hub {
    commands: mpsc::UnboundedSender<Command>,
    /// Whether it has a backend.
    connected: Arc<AtomicBool>,
}

/// All hubs.
pub(crate) struct Hubs {
    /// Makes fences that nobody can guess.
    secret: RandomState,
    last: AtomicU64,
    fence_channel: String,
    hubs: Mutex<HashMap<Key, Hub>>,
    /// What waits for all clients together, in bytes.
    backlog: Arc<AtomicUsize>,
}

/// One fence. Whoever listens to its channel can read it, but only when it has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Fence(u64);

impl Fence {
    /// What is notified.
    pub(crate) fn payload(self) -> String {
        format!("{:016x}", self.0)
    }

    /// The fence that was notified; `None`: somebody else's words.
    pub(crate) fn of(payload: &[u8]) -> Option<Self> {
        u64::from_str_radix(str::from_utf8(payload).ok()?, 16).ok().map(Self)
    }
}

impl Hubs {
    /// `fence_channel`: where the backends listen that somebody has left.
    pub(crate) fn new(fence_channel: Option<String>) -> Arc<Self> {
        let secret = RandomState::new();
        let own = || format!("{FENCE_CHANNEL_PREFIX}{:016x}", secret.hash_one("the channel"));
        let fence_channel = fence_channel.unwrap_or_else(own);
        Arc::new(Self {
            secret,
            last: AtomicU64::default(),
            fence_channel,
            hubs: Mutex::default(),
            backlog: Arc::default(),
        })
    }

    /// The channel of all fences.
    pub(crate) fn fence_channel(&self) -> &str {
        &self.fence_channel
    }

    /// The next one.
    pub(crate) fn fence(&self) -> Fence {
        Fence(self.secret.hash_one(self.last.fetch_add(1, Ordering::Relaxed)))
    }

    /// Listens in a session's place, from the fence on that is the answer: the session waits for it at its own backend.
    pub(crate) fn join(
        self: &Arc<Self>,
        branch: &BranchName,
        database: &str,
        server: Server,
        channels: &[Vec<u8>],
    ) -> (Listener, oneshot::Receiver<Fence>) {
        let (reply, answer) = oneshot::channel();
        let channels = channels.to_vec();
        let join = |id, sink| Command::Join { id, channels, server, sink, reply };
        (self.enter(branch, database, join), answer)
    }

    /// A listener of a hub, which is asked this for it. On the thread that the hub is to live on, if there is none yet.
    fn enter(
        self: &Arc<Self>,
        branch: &BranchName,
        database: &str,
        command: impl FnOnce(u64, Sink) -> Command,
    ) -> Listener {
        let id = self.last.fetch_add(1, Ordering::Relaxed);
        let (sink, deliveries) = Sink::new(&self.backlog);
        let (backlog, outlet) = (sink.backlog(), sink.outlet());
        let key = (branch.clone(), database.to_owned());
        let mut hubs = self.lock();
        let hub = hubs.entry(key.clone()).or_insert_with(|| Task::start(self.clone(), key));
        let _ = hub.commands.send(command(id, sink));
        Listener::new(id, hub.commands.clone(), deliveries, backlog, outlet)
    }

    /// Returns when the hubs of a branch, whose server runs, listen: before that nobody is let in, who could notify.
    pub(crate) async fn listening(&self, branch: &BranchName, server: impl Fn() -> Server) {
        let mut answers = Vec::new();
        for hub in self.of(branch) {
            let (reply, answer) = oneshot::channel();
            let _ = hub.commands.send(Command::Listen { server: server(), reply });
            answers.push(answer);
        }
        for answer in answers {
            // A hub that has ended has nobody to listen for.
            let _ = answer.await;
        }
    }

    /// Brings in what is on the way in a branch, whose server is about to sleep, and lets the hubs' backends go.
    pub(crate) async fn fall_silent(&self, branch: &BranchName) {
        let mut answers = Vec::new();
        for hub in self.of(branch) {
            let (reply, answer) = oneshot::channel();
            let _ = hub.commands.send(Command::FallSilent { reply });
            answers.push(answer);
        }
        for answer in answers {
            let _ = answer.await;
        }
    }

    /// Goes on listening in a session's place, who had been listened for in another process.
    pub(crate) fn inherit(self: &Arc<Self>, branch: &BranchName, database: &str, channels: &[Vec<u8>]) -> Listener {
        let channels = channels.to_vec();
        self.enter(branch, database, |id, sink| Command::Inherit { id, channels, sink })
    }

    /// Goes on with a backend: everybody it listened for is there again. One that nobody needs is let go.
    pub(crate) fn take_up(&self, HubLeft { stream, will }: HubLeft) {
        let HubWill { branch, database, said } = will;
        if let Some(hub) = self.lock().get(&(branch, database)) {
            let _ = hub.commands.send(Command::TakeUp { stream: stream.into(), said });
        }
    }

    /// Ends all hubs and leaves their backends to others, each between two events. Those that are in the middle of a
    /// hand-over at the deadline are lost. Gives back who was listened for to the end, too.
    pub(crate) async fn leave(&self, deadline: Instant) -> (Vec<HubLeft>, HashSet<u64>) {
        let all: Vec<(Key, Hub)> = self.lock().iter().map(|(key, hub)| (key.clone(), hub.clone())).collect();
        let (mut left, mut listened_for) = (Vec::new(), HashSet::new());
        for ((branch, database), hub) in all {
            let task = loop {
                let (reply, answer) = oneshot::channel();
                let _ = hub.commands.send(Command::LeaveAll { reply });
                match answer.await {
                    Ok(task) => break Some(task),
                    Err(_) if Instant::now() >= deadline || hub.commands.is_closed() => break None,
                    Err(_) => sleep(LEAVE_PAUSE).await,
                }
            };
            let Some(task) = task else { continue };
            listened_for.extend(task.listened_for);
            if let Some((stream, said)) = task.link {
                left.push(HubLeft { stream, will: HubWill { branch, database, said } });
            }
        }
        (left, listened_for)
    }

    /// How many backends the hubs of a branch have.
    pub(crate) fn count(&self, branch: &BranchName) -> u32 {
        let connected = self.of(branch).into_iter().filter(|hub| hub.connected.load(Ordering::Relaxed));
        u32::try_from(connected.count()).unwrap_or(u32::MAX)
    }

    fn of(&self, branch: &BranchName) -> Vec<Hub> {
        let hubs = self.lock();
        hubs.iter().filter(|((of, _), _)| of == branch).map(|(_, hub)| hub.clone()).collect()
    }

    /// Takes an idle hub out. Not if somebody has just asked something of it.
    fn retire(&self, key: &Key, commands: &mpsc::UnboundedReceiver<Command>) -> bool {
        let mut hubs = self.lock();
        let idle = commands.is_empty();
        if idle {
            hubs.remove(key);
        }
        idle
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Hub>> {
        self.hubs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
