//! What came with the snapshot that a branch was made of, and is not its own, is deleted some time after it was made: neither the
//! branch nor its first client waits for that, and a branch that is thrown away soon never pays for it.

use std::sync::Arc;
use std::time::Duration;

use super::branch_set::BranchSet;

const LOOK_EVERY: Duration = Duration::from_secs(30);
/// For as long as the daemon is up.
pub(super) async fn drop_in_time(branches: Arc<BranchSet>) {
    let mut changes = branches.count();
    loop {
        changes.borrow_and_update();
        let pause = if drop_those_of_age(&branches).await { LOOK_EVERY } else { Duration::MAX };
        let _ = tokio::time::timeout(pause, changes.changed()).await;
    }
}

/// Whether any have to wait.
async fn drop_those_of_age(branches: &Arc<BranchSet>) -> bool {
    let mut some_wait = false;
    for record in branches.all().into_iter().map(|entry| entry.record) {
        let is_young = record.is_young();
        let (store, branch) = (branches.store().clone(), record.name);
        if !store.has_discarded(&branch) {
            continue;
        }
        if is_young {
            some_wait = true;
            continue;
        }
        let name = branch.clone();
        let dropped = tokio::task::spawn_blocking(move || store.drop_discarded(&name)).await;
        // It may have gone meanwhile, or have another name.
        if let Ok(Err(error)) = dropped {
            tracing::info!(%branch, %error, "could not delete all that it has of its parent's log");
            some_wait = true;
        }
    }
    some_wait
}
