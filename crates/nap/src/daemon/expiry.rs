//! Branches with a `ttl` go when that is over, whoever is connected to them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use nap_control::Children;

use super::branch_set::{BranchSet, Entry};

/// The clock on the wall counts, which a machine that slept has moved: it is looked at so often.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// For as long as the daemon is up.
pub(super) async fn remove_in_time(branches: Arc<BranchSet>) {
    let mut changes = branches.count();
    let mut complained = BTreeSet::new();
    loop {
        changes.borrow_and_update();
        let now = Timestamp::now();
        for entry in branches.all().into_iter().filter(|entry| is_due(entry, now)) {
            let (branch, id) = (entry.record.name, entry.record.id);
            // The one before took its time: it may have been given more, or be another one.
            let is_due_still = |now: Entry| now.record.id == id && is_due(&now, Timestamp::now());
            if !branches.entry(&branch).is_some_and(is_due_still) {
                continue;
            }
            // Children that are due themselves may go first; others keep it.
            match branches.remove(&branch, true, Children::Refuse).await {
                Ok(_) => tracing::info!(%branch, "its ttl was over: removed"),
                Err(failure) if complained.insert((branch.clone(), failure.message.clone())) => {
                    tracing::warn!(%branch, why = failure.message, "its ttl is over, and it cannot be removed");
                }
                Err(_) => {}
            }
        }
        let expires: Vec<Timestamp> = branches.all().iter().filter_map(|entry| entry.record.expires).collect();
        let pause = match expires.iter().filter(|at| **at > now).min() {
            Some(next) => Duration::try_from(next.duration_since(Timestamp::now())).unwrap_or_default().min(LOOK_EVERY),
            None if !expires.is_empty() => LOOK_EVERY,
            None => Duration::MAX,
        };
        let _ = tokio::time::timeout(pause, changes.changed()).await;
    }
}

fn is_due(entry: &Entry, now: Timestamp) -> bool {
    !entry.record.protected && entry.record.expires.is_some_and(|at| at <= now)
}
