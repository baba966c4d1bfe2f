//! What is to be known about a login, without waking a server for it.
//!
//! While a server runs it is asked. While it sleeps, what was read when it settled is valid exactly as long as the
//! control file names the checkpoint it was kept with: any other means that somebody else ran the server.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use nap_model::access::{AccessFacts, AccessSnapshot};
use nap_model::pg_control::PgControl;
use nap_model::state::{Reason, State};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Owner, until_it_dozes};
use crate::admin::{Admin, AdminError, Roles};
use crate::error::{AccessError, WakeError};
use crate::handle::Command;

/// How far a shutdown checkpoint may stand behind the place where the WAL stood before the roles were read: alignment
/// and a page's long header (`SizeOfXLogLongPHD`, 40 bytes) come between. Whatever changes a role writes more.
const NOTHING_WRITTEN_BYTES: u64 = 40;

/// How long a login is asked about again while the server it is about dies or shuts down. Clients have their own,
/// mostly shorter, `authentication_timeout`.
const ASK_FOR: Duration = Duration::from_secs(60);
/// The pause before a login is asked about again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// A login that is asked about.
pub(crate) struct Question {
    role: String,
    database: String,
    asked: Instant,
    reply: oneshot::Sender<Result<AccessFacts, AccessError>>,
}

impl Question {
    pub(super) fn new(
        role: String,
        database: String,
        reply: oneshot::Sender<Result<AccessFacts, AccessError>>,
    ) -> Self {
        Self { role, database, asked: Instant::now(), reply }
    }

    /// Nobody waits for the answer any more.
    pub(super) fn is_closed(&self) -> bool {
        self.reply.is_closed()
    }

    pub(super) fn refuse(self, error: AccessError) {
        let _ = self.reply.send(Err(error));
    }

    fn answer(self, snapshot: &AccessSnapshot) {
        let facts = snapshot.facts(&self.role, &self.database);
        let _ = self.reply.send(Ok(facts));
    }
}

/// What is known of the roles while no server can be asked.
#[derive(Default)]
pub(super) struct KnownRoles {
    snapshot: Option<Arc<AccessSnapshot>>,
    /// Whether `snapshot` was valid when the server began to wake; nobody has been let in since.
    valid_for_wake: bool,
}

impl Owner {
    /// The head of the control file; `None` if it cannot be read.
    pub(super) fn control(&self) -> Option<PgControl> {
        let mut bytes = [0; PgControl::BYTES];
        let path = self.spec.places.data.join("global/pg_control");
        File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).ok()?;
        PgControl::parse(&bytes).ok()
    }

    /// The kept roles, if they are still those of the cluster.
    pub(super) fn valid_roles(&mut self) -> Option<Arc<AccessSnapshot>> {
        let control = self.control().filter(|control| control.clean)?;
        self.load_roles();
        self.roles.snapshot.clone().filter(|snapshot| {
            snapshot.checkpoint == control.checkpoint
                && snapshot.system_identifier == control.system_identifier
                && snapshot.memberships.is_some()
        })
    }

    /// Brings what is kept on disk to mind. Stale or not, it names the superusers better than a guess does.
    pub(super) fn load_roles(&mut self) {
        if self.roles.snapshot.is_none() {
            self.roles.snapshot = self.spec.keeper.load_access().map(Arc::new);
            if let Some(snapshot) = &self.roles.snapshot {
                self.admin.learn(snapshot);
            }
        }
    }

    /// Called when a wake begins.
    pub(super) fn remember_roles_for_wake(&mut self) {
        self.roles.valid_for_wake = self.valid_roles().is_some();
    }

    /// Called when the server takes connections: from now on it is asked.
    pub(super) fn forget_roles(&mut self) {
        self.roles = KnownRoles::default();
    }

    /// Called when it is frozen: they cannot change before it goes on.
    pub(super) fn know_roles(&mut self, snapshot: AccessSnapshot) {
        self.roles = KnownRoles { snapshot: Some(Arc::new(snapshot)), valid_for_wake: false };
    }

    pub(super) fn on_question(&mut self, question: Question) {
        if self.ending() {
            return question.refuse(AccessError::Ending { branch: self.branch() });
        }
        match self.state {
            State::Awake | State::Settling => self.ask_server(question),
            State::Waking => match self.roles.snapshot.clone().filter(|_| self.roles.valid_for_wake) {
                Some(snapshot) => question.answer(&snapshot),
                None => self.queues.access.push(question),
            },
            // It goes on for a moment, in which somebody may change them.
            State::Dozing if self.doze.is_none() => self.queues.access.push(question),
            // Nobody who has not been let in thaws it: what was read when it lay down cannot have changed.
            State::Dozing => match self.roles.snapshot.clone() {
                Some(snapshot) => question.answer(&snapshot),
                None => {
                    self.thaw(Reason::RolesAsked);
                    self.ask_server(question);
                }
            },
            State::Stopping => self.queues.access.push(question),
            State::Asleep => match self.valid_roles() {
                Some(snapshot) => question.answer(&snapshot),
                None => {
                    self.queues.access.push(question);
                    self.begin_wake(self.why_read_roles());
                }
            },
            State::Failed => match self.valid_roles() {
                Some(snapshot) => question.answer(&snapshot),
                None => self.ask_at_next_try(question),
            },
        }
    }

    /// Takes up what had to wait for another state.
    pub(super) fn on_questions(&mut self) {
        for question in std::mem::take(&mut self.queues.access) {
            self.on_question(question);
        }
    }

    /// Nobody can be let in without it. One that fails is tried again by itself, and then this is answered; one that
    /// somebody else runs is only looked at, which costs nothing.
    fn ask_at_next_try(&mut self, question: Question) {
        self.queues.access.push(question);
        if self.timer.is_none() {
            self.begin_wake(Reason::PauseOver);
        }
    }

    /// Why the server is started though nobody has been let in.
    pub(super) fn why_read_roles(&self) -> Reason {
        match self.control() {
            Some(control) if control.clean && self.roles.snapshot.is_none() => Reason::RolesUnknown,
            Some(control) if control.clean => Reason::RolesStale,
            _ => Reason::NeedsRecovery,
        }
    }

    /// A try failed: who waits for it to be told of roles is answered now, one way or the other.
    pub(super) fn answer_after_failure(&mut self, error: &WakeError) {
        let known = self.valid_roles();
        for question in std::mem::take(&mut self.queues.access) {
            match (&known, error) {
                (Some(snapshot), _) => question.answer(snapshot),
                (None, WakeError::Foreign { branch, pid }) => {
                    question.refuse(AccessError::Foreign { branch: branch.clone(), pid: *pid });
                }
                (None, _) => question.refuse(self.no_access("its server does not start")),
            }
        }
    }

    pub(super) fn no_access(&self, cause: &str) -> AccessError {
        AccessError::Unreadable { branch: self.branch(), cause: cause.to_owned() }
    }

    /// A server that dies while it is asked gives no answer; then the question comes back to us, who know by then
    /// what became of the server.
    fn ask_server(&self, question: Question) {
        let (admin, branch, owner) = (self.admin.clone(), self.branch(), self.outbox.clone());
        let mut status = self.status.subscribe();
        tokio::spawn(async move {
            let asked = tokio::select! {
                asked = ask_twice(&admin, &question) => asked,
                // It was frozen, and answers no more; we can.
                () = until_it_dozes(&mut status) => {
                    let _ = owner.send(Command::AskAgain(question));
                    return;
                }
            };
            match asked {
                Ok(facts) => drop(question.reply.send(Ok(facts))),
                Err(error) if error.may_pass() && question.asked.elapsed() < ASK_FOR => {
                    tracing::debug!(%branch, %error, "the server went away while it was asked for its roles");
                    tokio::time::sleep(ASK_AGAIN_AFTER).await;
                    if !question.reply.is_closed() {
                        let _ = owner.send(Command::AskAgain(question));
                    }
                }
                Err(error) => {
                    tracing::warn!(%branch, %error, "the server does not tell its roles");
                    question.refuse(AccessError::Unreadable { branch, cause: error.to_string() });
                }
            }
        });
    }

    /// Keeps the roles that were read when the server settled, if it has stopped with nothing written since.
    pub(super) fn keep_roles(&mut self) {
        self.running = None;
        let Some(snapshot) = self.roles_at_shutdown() else { return self.stopped(Reason::Stopped) };
        let (keeper, branch) = (self.spec.keeper.clone(), self.branch());
        self.job = Some(Box::pin(async move {
            // It is written durably, which may take a disk its time.
            let kept = tokio::task::spawn_blocking(move || keeper.save_access(&snapshot)).await;
            if let Err(error) = kept.unwrap_or_else(|panic| Err(std::io::Error::other(panic))) {
                tracing::warn!(%branch, %error, "cannot keep its roles; they are read anew at the next login");
            }
            super::Done::Kept
        }));
    }

    fn roles_at_shutdown(&mut self) -> Option<AccessSnapshot> {
        let Roles { before, mut snapshot } = self.settled_roles.take()?;
        let control = self.control().filter(|control| control.clean)?;
        let written = control.checkpoint.0.checked_sub(before.0);
        if written.is_none_or(|bytes| bytes > NOTHING_WRITTEN_BYTES) {
            tracing::info!(branch = %self.spec.branch, written_bytes = written.unwrap_or_default(), "something was written while it shut down: its roles are read anew at the next login");
            return None;
        }
        snapshot.checkpoint = control.checkpoint;
        Some(snapshot)
    }
}

/// The kept connection may have died unnoticed a moment ago, so a broken one is tried once more with a new one.
async fn ask_twice(admin: &Arc<Admin>, question: &Question) -> Result<AccessFacts, AdminError> {
    match admin.facts(&question.role, &question.database).await {
        Err(error) if error.is_broken_connection() => {
            admin.close().await;
            admin.facts(&question.role, &question.database).await
        }
        answer => answer,
    }
}
