//! Control by NOTIFY: what the sessions of one role say on the channel `nap` is done. Any role may notify, so this is off
//! unless a setting names the role; whatever anybody else says there is ignored and logged.
//!
//! A database is listened to as long as a session of the gateway has a backend in it. A notification tells the backend it
//! comes from, and the gateway knows whose session that is, or was a moment ago: `psql -c "NOTIFY nap, 'sleep'"` is gone
//! when it is heard.

mod task;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nap_model::ids::BranchName;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use crate::backend::Backend;
use crate::branches::Branches;
use crate::hub::{Hubs, Server};
use crate::route::Replication;
use crate::session::Identity;
use task::Task;

/// What is listened to.
pub(crate) const CHANNEL: &str = "nap";
/// A session is not held up for longer by what it may never use.
const LISTENS_WITHIN: Duration = Duration::from_secs(2);
/// What a session said last is heard long before. Process ids do not come again so soon.
const REMEMBERED: Duration = Duration::from_secs(10);

/// A database of a branch.
type Key = (BranchName, String);

/// Everybody who listens for control.
#[derive(Default)]
pub(crate) struct Controls(Mutex<HashMap<Key, Control>>);

/// Where the listening stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Not yet tried.
    Begins,
    Listens,
    /// The server lets it not. It is tried again.
    Deaf,
}

/// One database.
struct Control {
    backends: HashMap<i32, Speaker>,
    phase: watch::Receiver<Phase>,
    /// Told when the last of them has left.
    emptied: Arc<Notify>,
}

impl Control {
    fn is_empty(&self) -> bool {
        self.backends.values().all(|speaker| speaker.left.is_some())
    }
}

/// Whose session a backend serves.
struct Speaker {
    role: String,
    left: Option<Instant>,
}

/// A session that has a backend in a database that is listened to.
pub(crate) struct Attendance {
    controls: Arc<Controls>,
    key: Key,
    pid: i32,
}

impl Drop for Attendance {
    fn drop(&mut self) {
        self.controls.leave(&self.key, self.pid);
    }
}

impl Controls {
    /// A session has got this backend, and its client has not heard of it yet: what it notifies will be heard.
    pub(crate) async fn attend<B: Branches>(
        self: &Arc<Self>,
        (branches, hubs): (&Arc<B>, &Arc<Hubs>),
        identity: &Identity,
        backend: &Backend,
    ) -> Option<Attendance> {
        branches.control_role(&identity.branch)?;
        let pid = backend.key.as_ref().filter(|_| identity.replication == Replication::No)?.pid;
        let key = (identity.branch.clone(), identity.database.clone());
        let mut phase = {
            let mut all = self.lock();
            let control = all.entry(key.clone()).or_insert_with(|| {
                let server = Server::of_backend(backend, identity.major);
                let (told, phase) = watch::channel(Phase::Begins);
                let emptied = Arc::<Notify>::default();
                Task::start(self, branches, hubs, (key.clone(), server), (told, emptied.clone()));
                Control { backends: HashMap::new(), phase, emptied }
            });
            control.backends.insert(pid, Speaker { role: identity.role.clone(), left: None });
            control.phase.clone()
        };
        let _ = timeout(LISTENS_WITHIN, phase.wait_for(|phase| *phase != Phase::Begins)).await;
        Some(Attendance { controls: self.clone(), key, pid })
    }

    fn leave(&self, key: &Key, pid: i32) {
        let mut all = self.lock();
        let Some(control) = all.get_mut(key) else { return };
        let now = Instant::now();
        if let Some(speaker) = control.backends.get_mut(&pid) {
            speaker.left = Some(now);
        }
        control.backends.retain(|_, speaker| speaker.left.is_none_or(|left| now < left + REMEMBERED));
        if control.is_empty() {
            control.emptied.notify_one();
        }
    }

    /// Whose session this backend serves, or did until a moment ago.
    fn role_of(&self, key: &Key, pid: i32) -> Option<String> {
        let all = self.lock();
        all.get(key)?.backends.get(&pid).map(|speaker| speaker.role.clone())
    }

    /// Whether nobody is there to be listened to.
    fn is_empty(&self, key: &Key) -> bool {
        self.lock().get(key).is_none_or(Control::is_empty)
    }

    /// Forgets a database in which nobody is left. Whether it did.
    fn retire(&self, key: &Key) -> bool {
        let mut all = self.lock();
        let empty = all.get(key).is_none_or(Control::is_empty);
        if empty {
            all.remove(key);
        }
        empty
    }

    /// How many backends listen in a branch.
    pub(crate) fn count(&self, branch: &BranchName) -> u32 {
        let phases = self.phases(branch);
        let listening = phases.iter().filter(|phase| *phase.borrow() == Phase::Listens);
        u32::try_from(listening.count()).unwrap_or(u32::MAX)
    }

    /// Waits until nobody listens in a branch any more, whose sessions have all left.
    pub(crate) async fn fall_silent(&self, branch: &BranchName) {
        for mut phase in self.phases(branch) {
            // Its end is the end of the task.
            while phase.changed().await.is_ok() {}
        }
    }

    fn phases(&self, branch: &BranchName) -> Vec<watch::Receiver<Phase>> {
        let all = self.lock();
        all.iter().filter(|((of, _), _)| of == branch).map(|(_, control)| control.phase.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Control>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
