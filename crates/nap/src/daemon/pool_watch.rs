//! Warns in the log before the pool is full, or the disk below it. To make it larger takes root, which we are not.

use std::collections::BTreeSet;
use std::time::Duration;

use nap_store::Home;
use nap_store::pool::usage;

use crate::pool_health::complaints;

/// A pool fills up in minutes at the fastest.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// For as long as the daemon is up, if its home has a pool. Each thing is said when it begins, not while it lasts.
pub(super) async fn warn_in_time(home: Home) {
    if !home.has_pool() {
        return;
    }
    let mut told = BTreeSet::new();
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let place = home.clone();
        let looked = tokio::task::spawn_blocking(move || usage(&place)).await;
        let Ok(Ok(usage)) = looked.inspect_err(|error| tracing::debug!(%error, "the pool was not looked at")) else {
            continue;
        };
        let found = complaints(&usage);
        told.retain(|kind| found.iter().any(|complaint| complaint.kind == *kind));
        for complaint in found.into_iter().filter(|complaint| told.insert(complaint.kind)) {
            tracing::warn!(cure = complaint.cure, "{}", complaint.what);
        }
    }
}
