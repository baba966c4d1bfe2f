//! Who is connected, for everybody who asks. A session writes its state into atomics on its way; only coming, going
//! and asking take the lock.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nap_model::ids::BranchName;
use tokio::sync::Notify;

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
}

/// The part of a session that others may see.
pub(crate) struct Record {
    id: u64,
    branch: BranchName,
    database: String,
    role: String,
    client: String,
    state: AtomicU8,
}

impl Record {
    /// The client sent something. On the way of every message: one load when nothing changes.
    pub(crate) fn active(&self) {
        if self.state.load(Ordering::Relaxed) != SessionState::Active as u8 {
            self.set(SessionState::Active);
        }
    }

    /// The server waits for the client.
    pub(crate) fn ready(&self, status: u8) {
        self.set(SessionState::from_ready_status(status));
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
            state: SessionState::from_number(self.state.load(Ordering::Relaxed)),
        }
    }
}

/// All sessions.
#[derive(Default)]
pub(crate) struct Registry {
    last_id: AtomicU64,
    records: Mutex<HashMap<u64, Arc<Record>>>,
    left: Notify,
}

impl Registry {
    pub(crate) fn add(self: &Arc<Self>, branch: BranchName, database: String, role: String, client: String) -> Entry {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let record =
            Arc::new(Record { id, branch, database, role, client, state: AtomicU8::new(SessionState::Starting as u8) });
        self.records.lock().unwrap_or_else(PoisonError::into_inner).insert(id, record.clone());
        Entry { registry: self.clone(), record }
    }

    pub(crate) fn infos(&self) -> Vec<SessionInfo> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let mut infos: Vec<SessionInfo> = records.values().map(|record| record.info()).collect();
        drop(records);
        infos.sort_unstable_by_key(|info| info.id);
        infos
    }

    fn is_empty(&self) -> bool {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
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
        self.registry.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_session_shows_from_coming_to_going() {
        let registry = Arc::new(Registry::default());
        let entry = registry.add(BranchName::main(), "shop".into(), "al".into(), "local".into());
        let state = || registry.infos().first().map(|info| info.state.to_string());
        assert_eq!(state().unwrap(), "starting");
        entry.record().ready(b'I');
        assert_eq!(state().unwrap(), "idle");
        entry.record().active();
        assert_eq!(state().unwrap(), "active");
        entry.record().ready(b'T');
        assert_eq!(state().unwrap(), "idle in transaction");
        entry.record().ready(b'E');
        assert_eq!(state().unwrap(), "idle in transaction (aborted)");
        let waiting = tokio::spawn({
            let registry = registry.clone();
            async move { registry.emptied().await }
        });
        tokio::task::yield_now().await;
        drop(entry);
        waiting.await.unwrap();
        assert!(registry.infos().is_empty());
    }
}
