//! Counting what is taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

#[derive(Debug, Default)]
struct Taken {
    count: AtomicU32,
    given_back: Notify,
}

/// Counts what is taken. The limit is said at each taking, so that a reload counts from the next one on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counter(Arc<Taken>);

/// One place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Taken>);

impl Counter {
    pub(crate) fn take(&self, limit: u32) -> Option<Permit> {
        let more = |taken: u32| (taken < limit).then(|| taken + 1);
        self.0.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Permit(self.0.clone()))
    }

    /// Waits for a place to be given back. Enabled before a place is looked for, it misses none.
    pub(super) fn given_back(&self) -> Notified<'_> {
        self.0.given_back.notified()
    }

    pub(super) fn is_unused(&self) -> bool {
        self.0.count.load(Ordering::Relaxed) == 0
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
        self.0.given_back.notify_waiters();
    }
}
