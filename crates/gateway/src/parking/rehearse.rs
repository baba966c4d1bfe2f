//! The rehearsal: before a state counts as one that can be restored, another backend gets it and is asked the same.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nap_model::pin::Pin;
use nap_wire::extended::terminate;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::ask::{Asked, Subject, ask};
use super::libraries::loaded;
use super::replay::replay;
use super::state::State;
use crate::backend::{Backend, begin};
use crate::branches::Awake;

/// From connecting to the last answer.
const REHEARSE_WITHIN: Duration = Duration::from_secs(10);
/// So many at once: a pool's sessions are asked together, and mostly have the same state.
const AT_ONCE_MAX: usize = 2;
/// So many rehearsals are remembered; then they begin anew.
const REMEMBERED_MAX: usize = 10_000;

/// What came of a rehearsal: the libraries that a backend has which was given this state, or that it did not come out
/// the same.
type Outcome = Option<Arc<BTreeSet<String>>>;

/// The rehearsals of all sessions, by branch, startup packet and state.
pub(crate) struct Rehearsals {
    hasher: RandomState,
    known: Mutex<HashMap<u64, Outcome>>,
    turns: Semaphore,
}

impl Default for Rehearsals {
    fn default() -> Self {
        Self { hasher: RandomState::new(), known: Mutex::default(), turns: Semaphore::new(AT_ONCE_MAX) }
    }
}

impl Rehearsals {
    fn key(&self, socket: &Path, packet: &[u8], state: &State) -> u64 {
        self.hasher.hash_one((socket, packet, state))
    }

    fn get(&self, key: u64) -> Option<Outcome> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    fn remember(&self, key: u64, outcome: Outcome) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(key, outcome);
    }
}

/// Makes sure that a session with this state can be given another backend.
pub(crate) async fn rehearse(
    rehearsals: &Rehearsals,
    backend: &Backend,
    (packet, minor): (&[u8], u16),
    subject: &Subject<'_>,
    asked: &Asked,
) -> Result<(), Pin> {
    let key = rehearsals.key(&backend.socket, packet, &asked.state);
    // Whoever had the turn before may have rehearsed the same.
    let turn = if rehearsals.get(key).is_none() { rehearsals.turns.acquire().await.ok() } else { None };
    let outcome = match rehearsals.get(key) {
        Some(outcome) => outcome,
        None => {
            let tried = timeout(REHEARSE_WITHIN, attempt(&backend.socket, packet, minor, subject, asked)).await;
            // A backend that could not be had says nothing about the state.
            let outcome = tried.ok().flatten().ok_or(Pin::NotAsked)?;
            rehearsals.remember(key, outcome.clone());
            outcome
        }
    };
    drop(turn);
    let known = outcome.ok_or(Pin::NotRestored)?;
    let pid = backend.key.as_ref().map(|key| key.pid).ok_or(Pin::NotAsked)?;
    let own = loaded(pid).map_err(|_| Pin::NotAsked)?;
    if own.is_subset(&known) { Ok(()) } else { Err(Pin::Library) }
}

async fn attempt(socket: &Path, packet: &[u8], minor: u16, subject: &Subject<'_>, asked: &Asked) -> Option<Outcome> {
    let awake = Awake { socket: socket.to_owned(), superuser: String::new(), hold: Box::new(()) };
    let mut other = begin(awake, packet, minor, true).await.ok()?;
    if !other.ready {
        return None;
    }
    let outcome = compare(&mut other, subject, asked).await;
    let mut farewell = Vec::new();
    terminate(&mut farewell);
    let _ = other.stream.write_all(&farewell).await;
    Some(outcome)
}

async fn compare(other: &mut Backend, subject: &Subject<'_>, asked: &Asked) -> Outcome {
    let Asked { state, .. } = asked;
    if let Err(error) = replay(&mut other.stream, state, &mut other.reported).await {
        tracing::debug!(%error, "a state cannot be restored");
        return None;
    }
    let subject = Subject { unnamed: state.unnamed.as_deref(), ..subject.clone() };
    let again = ask(&mut other.stream, &subject, &mut Vec::new(), async {}).await.ok()?;
    if again.state != *state {
        tracing::debug!(restored = ?again.state, wanted = ?state, "a state comes back as another one");
        return None;
    }
    loaded(other.key.as_ref()?.pid).ok().map(Arc::new)
}
