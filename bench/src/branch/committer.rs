//! A client that commits in a loop, to see how long it waits for one while a branch is made.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::client::{Session, Target};

type Commits = Arc<Mutex<Vec<(Instant, Instant)>>>;

/// Commits until it is dropped.
pub(super) struct Committer {
    ends: Arc<AtomicBool>,
    commits: Commits,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    pub(super) fn begin(target: &Target) -> Result<Self> {
        let mut session = Session::begin(target)?;
        session.command("create table if not exists commits (number int)")?;
        let (ends, commits) = (Arc::<AtomicBool>::default(), Commits::default());
        let (until, into) = (ends.clone(), commits.clone());
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                let started = Instant::now();
                if let Err(error) = session.command("insert into commits values (1)") {
                    return eprintln!("a commit: {error:#}");
                }
                into.lock().unwrap_or_else(PoisonError::into_inner).push((started, Instant::now()));
            }
        });
        Ok(Self { ends, commits, thread: Some(thread) })
    }

    /// The longest of those that were under way in this time.
    pub(super) fn longest(&self, from: Instant, to: Instant) -> Duration {
        // One may still be.
        while self.last_end().is_none_or(|end| end < to) && self.goes_on() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        let under_way = commits.iter().filter(|(start, end)| *start <= to && *end >= from);
        under_way.map(|(start, end)| *end - *start).max().unwrap_or_default()
    }

    fn last_end(&self) -> Option<Instant> {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner).last().map(|(_, end)| *end)
    }

    fn goes_on(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            eprintln!("the client that commits has panicked");
        }
    }
}
