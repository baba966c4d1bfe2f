//! Who is connected, for everybody who asks. A session writes its state into atomics on its way; only coming, going
//! and asking take the lock.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nap_model::access::Crowd;
use nap_model::guard::Holding;
use nap_model::ids::BranchName;
use nap_model::pin::Pin;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

mod leave;
mod request;

use crate::alarm::Alarm;
pub(crate) use request::{Request, Requests};

/// What a session does, in the words of `pg_stat_activity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum SessionState {
    /// It waits for its server.
    Starting = 0,
    /// It sent something that has not been answered.
    Active = 1,
    /// Between transactions.
    Idle = 2,
    /// In a transaction, with nothing to do.
    IdleInTransaction = 3,
    /// In a failed transaction.
    IdleInFailedTransaction = 4,
    /// Without a backend, until its client sends something.
    Parked = 5,
}

impl SessionState {
    /// From `ReadyForQuery`'s status.
    fn from_ready_status(status: u8) -> Self {
        match status {
            b'T' => SessionState::IdleInTransaction,
            b'E' => SessionState::IdleInFailedTransaction,
            _ => SessionState::Idle,
        }
    }

    fn from_number(number: u8) -> Self {
        match number {
            0 => SessionState::Starting,
            1 => SessionState::Active,
            3 => SessionState::IdleInTransaction,
            4 => SessionState::IdleInFailedTransaction,
            5 => SessionState::Parked,
            _ => SessionState::Idle,
        }
    }
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            SessionState::Starting => "starting",
            SessionState::Active => "active",
            SessionState::Idle => "idle",
            SessionState::IdleInTransaction => "idle in transaction",
            SessionState::IdleInFailedTransaction => "idle in transaction (aborted)",
            SessionState::Parked => "parked",
        })
    }
}

/// One session, as it was when somebody asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// Counts the sessions of this daemon.
    pub id: u64,
    /// Its branch.
    pub branch: BranchName,
    /// Its database, without the branch.
    pub database: String,
    /// Its role, without the branch.
    pub role: String,
    /// Where the client is: an address with port, or `local`.
    pub client: String,
    /// What it does.
    pub state: SessionState,
    /// How long its client has sent nothing but pings.
    pub idle: Duration,
    /// Why it could not be parked when that was last tried.
    pub pin: Option<Pin>,
}

/// What the sessions of a branch do, as of now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quiet {
    /// Those that have a backend, or are about to.
    pub attached: u32,
    /// Of them, those that are not idle.
    pub active: u32,
    /// Of them, those that are idle and pinned.
    pub pinned: u32,
    /// When the last of them became idle; `None`: one is not, or there is none.
    pub since: Option<Instant>,
}

/// The part of a session that others may see.
pub(crate) struct Record {
    id: u64,
    branch: BranchName,
    database: String,
    role: String,
    client: String,
    /// It came over TLS.
    secure: AtomicBool,
    state: AtomicU8,
    /// When the server was last ready after some work, in milliseconds since the registry began.
    worked_ms: AtomicU64,
    epoch: Instant,
    pin: Mutex<Option<Pin>>,
    /// Its backend is being talked to in its stead.
    asked: AtomicBool,
    alarm: Arc<Alarm>,
    pub(crate) requests: Requests,
}

impl Record {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The client sent something. On the way of every message: one load when nothing changes.
    pub(crate) fn active(&self) {
        if self.state.load(Ordering::Relaxed) != SessionState::Active as u8 {
            // Before the alarm is looked at: who armed it looks at this.
            self.state.store(SessionState::Active as u8, Ordering::SeqCst);
            self.alarm.ring();
        }
    }

    /// It is about to be asked for its state: its server must not be frozen in the middle.
    pub(crate) fn begin_asking(&self) {
        self.asked.store(true, Ordering::SeqCst);
        self.alarm.ring();
    }

    /// It has been asked.
    pub(crate) fn end_asking(&self) {
        self.asked.store(false, Ordering::SeqCst);
    }

    /// What is rung when it does something that does not show here.
    pub(crate) fn alarm(&self) -> &Arc<Alarm> {
        &self.alarm
    }

    /// The server waits for the client. Pings are no work.
    pub(crate) fn ready(&self, status: u8, worked: bool) {
        if worked {
            self.worked_ms.store(millis(self.epoch.elapsed()), Ordering::Relaxed);
        }
        self.set(SessionState::from_ready_status(status));
    }

    /// It has no backend any more.
    pub(crate) fn parked(&self) {
        self.set_pin(None);
        self.set(SessionState::Parked);
    }

    /// It has a backend again.
    pub(crate) fn returned(&self) {
        self.worked_ms.store(millis(self.epoch.elapsed()), Ordering::Relaxed);
        self.set(SessionState::Idle);
    }

    /// Whether the server has it in a transaction, failed or not.
    pub(crate) fn is_in_transaction(&self) -> bool {
        matches!(self.state(), SessionState::IdleInTransaction | SessionState::IdleInFailedTransaction)
    }

    /// It came over TLS.
    pub(crate) fn set_secure(&self) {
        self.secure.store(true, Ordering::Relaxed);
    }

    /// `ReadyForQuery`'s status, as long as nothing is under way.
    pub(crate) fn ready_status(&self) -> Option<u8> {
        match self.state() {
            SessionState::Idle => Some(b'I'),
            SessionState::IdleInTransaction => Some(b'T'),
            SessionState::IdleInFailedTransaction => Some(b'E'),
            SessionState::Starting | SessionState::Active | SessionState::Parked => None,
        }
    }

    /// It was in this state in another process, and had been idle for so long.
    pub(crate) fn resumed(&self, status: Option<u8>, idle: Duration) {
        let worked = self.epoch.elapsed().saturating_sub(idle);
        self.worked_ms.store(millis(worked), Ordering::Relaxed);
        self.set(status.map_or(SessionState::Active, SessionState::from_ready_status));
    }

    /// It waits for a backend again.
    pub(crate) fn returns(&self) {
        self.set(SessionState::Starting);
    }

    pub(crate) fn set_pin(&self, pin: Option<Pin>) {
        *self.pin.lock().unwrap_or_else(PoisonError::into_inner) = pin;
    }

    pub(crate) fn pin(&self) -> Option<Pin> {
        *self.pin.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When it last did something.
    pub(crate) fn worked_at(&self) -> Instant {
        self.epoch + Duration::from_millis(self.worked_ms.load(Ordering::Relaxed))
    }

    fn state(&self) -> SessionState {
        SessionState::from_number(self.state.load(Ordering::SeqCst))
    }

    fn set(&self, state: SessionState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    fn info(&self) -> SessionInfo {
        SessionInfo {
            id: self.id,
            branch: self.branch.clone(),
            database: self.database.clone(),
            role: self.role.clone(),
            client: self.client.clone(),
            state: self.state(),
            idle: self.worked_at().elapsed(),
            pin: self.pin(),
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// All sessions.
pub(crate) struct Registry {
    epoch: Instant,
    last_id: AtomicU64,
    records: Mutex<HashMap<u64, Arc<Record>>>,
    alarms: Mutex<HashMap<BranchName, Arc<Alarm>>>,
    left: Notify,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            last_id: AtomicU64::default(),
            records: Mutex::default(),
            alarms: Mutex::default(),
            left: Notify::new(),
        }
    }
}

impl Registry {
    pub(crate) fn add(self: &Arc<Self>, branch: BranchName, database: String, role: String, client: String) -> Entry {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        self.add_as(id, branch, database, role, client)
    }

    /// With the number that it had in another process.
    pub(crate) fn add_as(
        self: &Arc<Self>,
        id: u64,
        branch: BranchName,
        database: String,
        role: String,
        client: String,
    ) -> Entry {
        self.last_id.fetch_max(id, Ordering::Relaxed);
        let record = Arc::new(Record {
            id,
            alarm: self.alarm(&branch),
            branch,
            database,
            role,
            client,
            secure: AtomicBool::default(),
            state: AtomicU8::new(SessionState::Starting as u8),
            worked_ms: AtomicU64::new(millis(self.epoch.elapsed())),
            epoch: self.epoch,
            pin: Mutex::default(),
            asked: AtomicBool::default(),
            requests: Requests::default(),
        });
        self.records.lock().unwrap_or_else(PoisonError::into_inner).insert(id, record.clone());
        Entry { registry: self.clone(), record }
    }

    /// What the sessions of a branch ring when they do something.
    pub(crate) fn alarm(&self, branch: &BranchName) -> Arc<Alarm> {
        let mut alarms = self.alarms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(alarm) = alarms.get(branch) {
            return alarm.clone();
        }
        // Branches come and go: those that nobody uses any more are forgotten.
        alarms.retain(|_, alarm| Arc::strong_count(alarm) > 1);
        alarms.entry(branch.clone()).or_default().clone()
    }

    pub(crate) fn infos(&self) -> Vec<SessionInfo> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let mut infos: Vec<SessionInfo> = records.values().map(|record| record.info()).collect();
        drop(records);
        infos.sort_unstable_by_key(|info| info.id);
        infos
    }

    /// The sessions of a branch.
    fn of(&self, branch: &BranchName) -> Vec<Arc<Record>> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.values().filter(|record| record.branch == *branch).cloned().collect()
    }

    /// How many sessions a branch has.
    pub(crate) fn count(&self, branch: &BranchName) -> usize {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.values().filter(|record| record.branch == *branch).count()
    }

    /// The sessions of a role in a branch, and those in a database of it.
    pub(crate) fn crowds(&self, branch: &BranchName, role: &str, database: &str) -> (Crowd, Crowd) {
        let (mut of_role, mut in_database) = (Crowd::default(), Crowd::default());
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        for record in records.values().filter(|record| record.branch == *branch) {
            let parked = u32::from(record.state() == SessionState::Parked);
            let count = |crowd: &mut Crowd| {
                crowd.sessions += 1;
                crowd.parked += parked;
            };
            if record.role == role {
                count(&mut of_role);
            }
            if record.database == database {
                count(&mut in_database);
            }
        }
        (of_role, in_database)
    }

    /// What the sessions of a branch do.
    pub(crate) fn quiet(&self, branch: &BranchName) -> Quiet {
        let mut quiet = Quiet { attached: 0, active: 0, pinned: 0, since: None };
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        for record in records.values().filter(|record| record.branch == *branch) {
            match record.state() {
                SessionState::Parked => continue,
                SessionState::Starting | SessionState::Active => quiet.active += 1,
                _ if record.asked.load(Ordering::SeqCst) => quiet.active += 1,
                _ => {
                    quiet.pinned += u32::from(record.pin().is_some());
                    quiet.since = quiet.since.max(Some(record.worked_at()));
                }
            }
            quiet.attached += 1;
        }
        quiet.since = quiet.since.filter(|_| quiet.active == 0);
        quiet
    }

    /// Parks the sessions of a branch that can be, and tells what keeps the others. Who has not answered by the
    /// deadline is active. Without `all` nobody is parked in vain: those that were pinned are asked first, and if one
    /// still is the others are left alone.
    pub(crate) async fn park(&self, branch: &BranchName, all: bool, deadline: Instant) -> Holding {
        let (starting, attached): (Vec<_>, Vec<_>) = self
            .of(branch)
            .into_iter()
            .filter(|record| record.state() != SessionState::Parked)
            .partition(|record| record.state() == SessionState::Starting);
        let (pinned, others): (Vec<_>, Vec<_>) = attached.into_iter().partition(|record| record.pin().is_some());
        let mut holding = park_each(&pinned, deadline).await;
        // They wait for a server, and would not answer before they have it.
        holding.active += u32::try_from(starting.len()).unwrap_or(u32::MAX);
        if all || holding == Holding::default() {
            let more = park_each(&others, deadline).await;
            holding.active += more.active;
            holding.pinned += more.pinned;
        }
        holding
    }

    /// Ends a session. Gives back whether there is one of this number.
    pub(crate) fn end(&self, id: u64) -> bool {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.get(&id).map(|record| record.requests.end()).is_some()
    }

    /// Ends the sessions of a branch that have a backend.
    pub(crate) fn end_attached(&self, branch: &BranchName) {
        let attached = |record: &&Arc<Record>| !matches!(record.state(), SessionState::Parked | SessionState::Starting);
        self.of(branch).iter().filter(attached).for_each(|record| record.requests.end());
    }

    /// Ends all sessions of a branch.
    pub(crate) fn end_all(&self, branch: &BranchName) {
        self.of(branch).iter().for_each(|record| record.requests.end());
    }

    /// Whether there is nobody.
    pub(crate) fn is_empty(&self) -> bool {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Waits until a branch has no sessions, or until the deadline, and tells how many it has.
    pub(crate) async fn emptied_of(&self, branch: &BranchName, deadline: Instant) -> usize {
        loop {
            let mut left = std::pin::pin!(self.left.notified());
            left.as_mut().enable();
            let count = self.count(branch);
            if count == 0 || timeout_at(deadline, left).await.is_err() {
                return count;
            }
        }
    }

    /// Waits until nobody is left.
    pub(crate) async fn emptied(&self) {
        loop {
            let mut left = std::pin::pin!(self.left.notified());
            left.as_mut().enable();
            if self.is_empty() {
                return;
            }
            left.await;
        }
    }
}

async fn park_each(records: &[Arc<Record>], deadline: Instant) -> Holding {
    let answers: Vec<_> = records.iter().map(|record| record.requests.park()).collect();
    let mut holding = Holding::default();
    for answer in answers {
        match timeout_at(deadline, answer).await {
            // One that has ended needs nothing any more.
            Ok(Ok(Ok(())) | Err(_)) => {}
            // Who asks for its server to stay awake does not want it frozen either.
            Ok(Ok(Err(Pin::Active | Pin::KeepAwake))) | Err(_) => holding.active += 1,
            Ok(Ok(Err(_))) => holding.pinned += 1,
        }
    }
    holding
}

/// A session's place in the registry.
pub(crate) struct Entry {
    registry: Arc<Registry>,
    record: Arc<Record>,
}

impl Entry {
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.registry.records.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.record.id);
        self.record.requests.close();
        self.registry.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
