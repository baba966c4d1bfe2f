//! Keeps the past of a branch: its log as it appears, and a snapshot after each sleep that wrote something.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nap_model::ids::BranchName;
use nap_model::span::Span;
use nap_model::state::State;
use nap_server::handle::ServerHandle;
use nap_server::procfs;
use nap_store::{Home, Store, StoreError};
use tokio::sync::watch;

use super::log_watch::LogWatch;

/// How often the log is looked at where nothing tells that something appears.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the servers are started with whose log can be kept.
const SETTING: &str = "wal_recycle=off";

/// Who keeps one branch's past.
pub(super) struct Historian {
    pub(super) store: Arc<Store>,
    pub(super) branch: BranchName,
    /// How far back, and how much of its log in GB, as of now.
    pub(super) history: watch::Receiver<(Span, u32)>,
    /// Whether its servers are to leave their segments alone.
    pub(super) log_is_kept: Arc<AtomicBool>,
}

impl Historian {
    /// How far back; none: nothing is kept.
    fn span(&self) -> Option<Span> {
        Some(self.history.borrow().0).filter(|span| span.0 != Some(Duration::ZERO))
    }

    /// Whether there is anything to do: for the next start of its server.
    pub(super) fn look(&self) -> bool {
        let keeps = self.span().is_some() && self.store.keeps_history();
        self.log_is_kept.store(keeps, Ordering::Relaxed);
        keeps
    }

    /// To the end of its server's owner.
    pub(super) async fn follow(self, server: ServerHandle) {
        let mut status = server.changes();
        let mut has_run = false;
        loop {
            let (state, pid) = {
                let status = status.borrow_and_update();
                (status.state, status.pid)
            };
            if state == State::Asleep {
                // Before its next start.
                if self.look() && std::mem::take(&mut has_run) {
                    self.take_snapshot(&server).await;
                }
            } else if state.has_processes() {
                has_run = true;
            }
            let changed = match self.watch(state, pid) {
                None => status.changed().await,
                Some(watch) => {
                    self.keep_log().await;
                    loop {
                        tokio::select! {
                            changed = status.changed() => {
                                // Sessions come and go: it is the same server.
                                let goes_on = status.borrow().pid == pid && status.borrow().state.has_processes();
                                if changed.is_err() || !goes_on {
                                    break changed;
                                }
                            }
                            () = appeared(&watch) => self.keep_log().await,
                        }
                    }
                }
            };
            if changed.is_err() {
                return;
            }
        }
    }

    /// Something to wait for, if the server runs and its log is to be kept.
    fn watch(&self, state: State, pid: Option<i32>) -> Option<Option<LogWatch>> {
        // One that was started without would write segments again that have a second link.
        let leaves_segments = || pid.and_then(procfs::command_line).is_some_and(|line| line.contains(SETTING));
        if !state.has_processes() || !self.log_is_kept.load(Ordering::Relaxed) || !leaves_segments() {
            return None;
        }
        let home: &Home = self.store.home();
        let watch = LogWatch::begin(&home.branch(&self.branch).data().join("pg_wal"));
        Some(watch.inspect_err(|error| tracing::debug!(branch = %self.branch, %error, "its log is not watched")).ok())
    }

    async fn keep_log(&self) {
        let (store, branch) = (self.store.clone(), self.branch.clone());
        let max_bytes = u64::from(self.history.borrow().1) << 30;
        let kept = tokio::task::spawn_blocking(move || {
            let linked = store.keep_log(&branch)?;
            if linked > 0 { Ok((store.bound_history(&branch, max_bytes)?, store.bound_inodes()?)) } else { Ok((0, 0)) }
        });
        let Some((gone, gone_for_inodes)) = self.told(kept.await, "its log cannot be kept") else { return };
        if gone > 0 {
            tracing::warn!(branch = %self.branch, gone, "history: as much of its log is kept as history_max_gb allows, and it begins later now");
        }
        if gone_for_inodes > 0 {
            tracing::warn!(gone = gone_for_inodes, "history: few inodes are free, and it begins later now");
        }
    }

    async fn take_snapshot(&self, server: &ServerHandle) {
        let Some(hold) = server.hold_if_asleep().await else { return };
        let (store, branch, span) = (self.store.clone(), self.branch.clone(), self.span());
        let taken = tokio::task::spawn_blocking(move || store.take_snapshot(&branch)).await;
        drop(hold);
        let Some(Some(snapshot)) = self.told(taken, "no snapshot was taken") else { return };
        tracing::debug!(branch = %self.branch, lsn = %snapshot.lsn, "a snapshot was taken");
        let (store, branch, span) = (self.store.clone(), self.branch.clone(), span.and_then(|span| span.0));
        let thinned = tokio::task::spawn_blocking(move || store.thin_history(&branch, span)).await;
        self.told(thinned, "old snapshots stay");
    }

    fn told<T>(&self, done: Result<Result<T, StoreError>, tokio::task::JoinError>, what: &str) -> Option<T> {
        match done {
            Ok(Ok(done)) => Some(done),
            // It is being removed, or made anew.
            Ok(Err(StoreError::NoSuchBranch { .. } | StoreError::NotAsleep(_))) => None,
            Ok(Err(error)) => {
                tracing::warn!(branch = %self.branch, %error, "history: {what}");
                None
            }
            Err(panic) => {
                tracing::error!(branch = %self.branch, %panic, "history: {what}");
                None
            }
        }
    }
}

async fn appeared(watch: &Option<LogWatch>) {
    match watch {
        Some(watch) => {
            if watch.appeared().await.is_err() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        None => tokio::time::sleep(LOOK_EVERY).await,
    }
}
