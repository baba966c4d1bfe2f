//! Where a server's roles are kept, its log within bounds, its past begins, and its tablespaces are led to.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nap_model::access::AccessSnapshot;
use nap_model::ids::BranchName;
use nap_server::keeper::Keeper;
use nap_store::rotate::{LOG_FILES, LOG_MAX_BYTES, rotate_by_copy_truncate, rotate_by_rename};
use nap_store::{BranchDir, Store, roles, tablespaces};

use super::branch_set::BranchSet;

/// How often the logs of running servers are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Keeps what a branch's server needs kept, in the branch's directory.
pub(super) struct BranchKeeper {
    pub(super) store: Arc<Store>,
    pub(super) branch: BranchName,
    pub(super) dir: BranchDir,
    /// Whether its past is kept, as of now.
    pub(super) log_is_kept: Arc<AtomicBool>,
}

impl Keeper for BranchKeeper {
    fn load_access(&self) -> Option<AccessSnapshot> {
        roles::load_access(&self.dir)
    }

    fn save_access(&self, snapshot: &AccessSnapshot) -> io::Result<()> {
        roles::save_access(&self.dir, snapshot).map_err(io::Error::other)
    }

    fn before_start(&self) {
        if self.log_is_kept.load(Ordering::Relaxed) {
            self.store.begin_history(&self.branch).unwrap_or_else(|error| {
                tracing::warn!(branch = %self.branch, %error, "history: it begins with the next sleep");
            });
        }
        // As they are they are right too, if not for everybody who asks the server where its tablespaces are.
        tablespaces::make_absolute(&self.dir).unwrap_or_else(|error| {
            tracing::warn!(branch = %self.branch, %error, "its tablespaces are not shown by their paths");
        });
        let log = self.dir.server_log();
        if let Err(error) = rotate_by_rename(&log, LOG_MAX_BYTES, LOG_FILES) {
            tracing::warn!(log = %log.display(), %error, "cannot rotate a server's log");
        }
    }
}

/// A server that stays awake for long writes into one open file, which can only be copied and cut.
pub(super) async fn rotate_logs(branches: Arc<BranchSet>) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let logs: Vec<_> = branches.logs_of_running_servers();
        let rotated = tokio::task::spawn_blocking(move || {
            for log in logs {
                if let Err(error) = rotate_by_copy_truncate(&log, LOG_MAX_BYTES, LOG_FILES) {
                    tracing::warn!(log = %log.display(), %error, "cannot rotate a server's log");
                }
            }
        });
        let _ = rotated.await;
    }
}
