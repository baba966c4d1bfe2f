//! All sessions leave for another process.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::{Record, Registry, SessionState};
use crate::estate::Moved;

/// The pause between looks at a session that is to be ended when it is idle.
const LEAVE_PAUSE: Duration = Duration::from_millis(10);
/// Most need microseconds.
const MOVES_WITHIN: Duration = Duration::from_secs(2);
/// How long those that are ended may take to tell their clients.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(1);

impl Registry {
    /// Has all sessions leave for another process. Who cannot until the deadline is ended, and so is, once it is in no
    /// transaction, who came over TLS.
    pub(crate) async fn leave(&self, deadline: Instant) -> Vec<Moved> {
        let records: Vec<Arc<Record>> =
            self.records.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let (mut secure, plain): (Vec<_>, Vec<_>) =
            records.into_iter().partition(|record| record.secure.load(Ordering::Relaxed));
        // First: while they come to the end of their transactions the others go on, and are not waited for in vain.
        while !secure.is_empty() {
            let late = Instant::now() >= deadline;
            let may_end = |state| matches!(state, SessionState::Idle | SessionState::Parked);
            secure.retain(|record| {
                let ends = late || may_end(record.state());
                if ends {
                    record.requests.end();
                }
                !ends && self.has(record.id)
            });
            if !secure.is_empty() {
                sleep(LEAVE_PAUSE).await;
            }
        }
        let deadline = deadline.max(Instant::now() + MOVES_WITHIN);
        let answers: Vec<_> = plain.into_iter().map(|record| (record.requests.moves(), record)).collect();
        let mut moved = Vec::with_capacity(answers.len());
        for (answer, record) in answers {
            match timeout_at(deadline, answer).await {
                Ok(Ok(session)) => moved.push(session),
                Ok(Err(_)) | Err(_) => record.requests.end(),
            }
        }
        let _ = timeout_at(Instant::now() + LAST_WORDS_WITHIN, self.emptied()).await;
        moved
    }

    fn has(&self, id: u64) -> bool {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&id)
    }
}
