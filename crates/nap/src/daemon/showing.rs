//! Moments of the past that clients have open (`nap.at`): each a branch that nobody can write to, made when the first client
//! asks for it, shared by those who ask for the same, and removed after the last.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use nap_control::{Children, Failure, FailureKind};
use nap_gateway::{Opened, Refusal};
use nap_model::access::AccessFacts;
use nap_model::client_error::{ClientError, sqlstate};
use nap_model::ids::{BranchId, BranchName};
use nap_model::moment::Moment;
use tokio::sync::{mpsc, oneshot};

use super::branch_set::BranchSet;

/// How many there may be at once: each is a server.
const OPEN_MAX: usize = 64;
/// How many requests may wait to be looked at.
const INBOX: usize = 64;
/// Somebody may have found one by its name, or come with the sessions of another daemon: it is looked at so often.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Those that a daemon before has left, if no session comes with them.
const FIRST_LOOK: Duration = Duration::from_secs(10);

/// Why a moment was not opened, for the client.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
struct NotOpened {
    sqlstate: &'static str,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
}

impl ClientError for NotOpened {
    fn sqlstate(&self) -> &'static str {
        self.sqlstate
    }

    fn detail(&self) -> Option<String> {
        self.detail.clone()
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        self.hint.clone().map(Cow::Owned)
    }
}

impl NotOpened {
    fn new(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self { sqlstate, message: message.into(), detail: None, hint: None }
    }
}

impl From<Failure> for NotOpened {
    fn from(failure: Failure) -> Self {
        let sqlstate = match failure.kind {
            FailureKind::Usage | FailureKind::NotFound => sqlstate::INVALID_PARAMETER_VALUE,
            FailureKind::Conflict => sqlstate::OBJECT_IN_USE,
            _ => sqlstate::SYSTEM_ERROR,
        };
        let detail = Some(failure.cause.join(": ")).filter(|detail| !detail.is_empty());
        Self { sqlstate, message: failure.message, detail, hint: failure.hint }
    }
}

/// Held by each session that has a moment open.
#[derive(Debug)]
struct Lease {
    branch: BranchName,
    /// Told when the last one has gone.
    closed: mpsc::UnboundedSender<BranchName>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let _ = self.closed.send(self.branch.clone());
    }
}

/// Which moment of which branch, as it was written: `-1h` of a pool's connections is one moment, for as long as one is open.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    branch: BranchName,
    /// Which one of that name, and since when it is what it is: another state is another branch's.
    id: BranchId,
    created: Timestamp,
    written: String,
}

type Answer = Result<Arc<Lease>, NotOpened>;

struct Ask {
    key: Key,
    moment: Moment,
    answer: oneshot::Sender<Answer>,
}

/// Where moments are asked for.
pub(super) struct Showing {
    inbox: mpsc::Sender<Ask>,
    branches: Arc<BranchSet>,
}

impl Showing {
    /// For as long as the daemon is up.
    pub(super) fn start(branches: Arc<BranchSet>) -> Self {
        let (inbox, asked) = mpsc::channel(INBOX);
        let (closed, gone) = mpsc::unbounded_channel();
        let (made, done) = mpsc::unbounded_channel();
        let shown = Shown { branches: branches.clone(), closed, made, open: HashMap::new() };
        tokio::spawn(shown.serve(asked, gone, done));
        Self { inbox, branches }
    }

    /// Opens one. A time without a zone is one of this machine.
    pub(super) async fn open(&self, branch: &BranchName, at: &str) -> Result<Opened, Refusal> {
        let refused = |error: NotOpened| Box::new(error) as Refusal;
        let closing = || refused(NotOpened::new(sqlstate::ADMIN_SHUTDOWN, "Napgres is shutting down"));
        let moment = Moment::parse(at, Timestamp::now(), &TimeZone::system())
            .map_err(|error| refused(NotOpened::new(sqlstate::INVALID_PARAMETER_VALUE, format!("nap.at: {error}"))))?;
        if moment.is_to_come(Timestamp::now()) {
            let message = format!("nap.at: {moment} is still to come");
            return Err(refused(NotOpened::new(sqlstate::INVALID_PARAMETER_VALUE, message)));
        }
        let Some(record) = self.branches.entry(branch).map(|entry| entry.record) else {
            let message = format!("branch \"{branch}\" does not exist");
            return Err(refused(NotOpened::new(sqlstate::INVALID_CATALOG_NAME, message)));
        };
        let (id, created) = (record.id, record.created);
        let key = Key { branch: branch.clone(), id, created, written: at.trim().to_owned() };
        let (answer, answered) = oneshot::channel();
        self.inbox.send(Ask { key, moment, answer }).await.map_err(|_| closing())?;
        let lease = answered.await.map_err(|_| closing())?.map_err(refused)?;
        Ok(Opened { branch: lease.branch.clone(), hold: Box::new(lease) })
    }
}

/// One that is open, or is to be.
enum Moments {
    Making(Vec<oneshot::Sender<Answer>>),
    Open(BranchName, Weak<Lease>),
}

/// The one owner of all of them.
struct Shown {
    branches: Arc<BranchSet>,
    closed: mpsc::UnboundedSender<BranchName>,
    made: mpsc::UnboundedSender<(Key, Result<BranchName, Failure>)>,
    open: HashMap<Key, Moments>,
}

impl Shown {
    async fn serve(
        mut self,
        mut asked: mpsc::Receiver<Ask>,
        mut gone: mpsc::UnboundedReceiver<BranchName>,
        mut done: mpsc::UnboundedReceiver<(Key, Result<BranchName, Failure>)>,
    ) {
        let mut look = tokio::time::interval_at(tokio::time::Instant::now() + FIRST_LOOK, LOOK_EVERY);
        loop {
            tokio::select! {
                ask = asked.recv() => match ask {
                    Some(ask) => self.ask(ask),
                    None => return,
                },
                Some((key, made)) = done.recv() => self.tell(key, made),
                Some(branch) = gone.recv() => self.close(branch),
                _ = look.tick() => self.look(),
            }
        }
    }

    fn ask(&mut self, Ask { key, moment, answer }: Ask) {
        let shown = self.branches.all().into_iter().filter(|entry| entry.record.shows.is_some()).count();
        let making = self.open.values().filter(|moment| matches!(moment, Moments::Making(_))).count();
        let is_full = shown + making >= OPEN_MAX;
        match self.open.get_mut(&key) {
            Some(Moments::Making(waiting)) => return waiting.push(answer),
            Some(Moments::Open(name, lease)) => {
                if let (Some(lease), Some(_)) = (lease.upgrade(), self.branches.entry(name)) {
                    let _ = answer.send(Ok(lease));
                    return;
                }
            }
            None if is_full => {
                let message = format!("{OPEN_MAX} moments of the past are open already");
                let hint = Some("Each goes with its last session: `nap sessions` shows them.".to_owned());
                let _ = answer.send(Err(NotOpened { hint, ..NotOpened::new(sqlstate::TOO_MANY_CONNECTIONS, message) }));
                return;
            }
            None => {}
        }
        let (branches, made, written) = (self.branches.clone(), self.made.clone(), moment.to_string());
        self.open.insert(key.clone(), Moments::Making(vec![answer]));
        tokio::spawn(async move {
            let shown = branches.show_past(&key.branch, moment, written).await;
            let _ = made.send((key, shown));
        });
    }

    fn tell(&mut self, key: Key, made: Result<BranchName, Failure>) {
        let Some(Moments::Making(waiting)) = self.open.remove(&key) else { return };
        let answer = made.map_err(NotOpened::from).map(|branch| {
            let lease = Arc::new(Lease { branch: branch.clone(), closed: self.closed.clone() });
            self.open.insert(key, Moments::Open(branch, Arc::downgrade(&lease)));
            lease
        });
        for waits in waiting {
            // Who has gone meanwhile lets go of it.
            let _ = waits.send(answer.clone());
        }
    }

    fn close(&mut self, branch: BranchName) {
        self.open.retain(|_, moment| !matches!(moment, Moments::Open(name, _) if *name == branch));
        let branches = self.branches.clone();
        tokio::spawn(async move {
            // Those that were branched from it are whole without it. A session that knows its name keeps it.
            // A slot that somebody made in it holds nothing worth keeping; a session does.
            let force = branches.gateway().is_some_and(|gateway| gateway.count(&branch) == 0);
            if let Err(failure) = branches.remove(&branch, force, Children::Keep).await {
                tracing::debug!(%branch, why = failure.message, "a moment of the past stays open");
            }
        });
    }

    /// Those that nobody holds.
    fn look(&mut self) {
        let shown = self.branches.all().into_iter().filter(|entry| entry.record.shows.is_some());
        let is_open = |name: &BranchName| {
            self.open.values().any(|moment| matches!(moment, Moments::Open(open, _) if open == name))
        };
        // What has just been made has no holder yet.
        if self.open.values().any(|moment| matches!(moment, Moments::Making(_))) {
            return;
        }
        let left: Vec<BranchName> = shown.map(|entry| entry.record.name).filter(|name| !is_open(name)).collect();
        left.into_iter().for_each(|branch| self.close(branch));
    }
}

/// Roles whose members can do on the machine what the servers' user can.
const MIGHTY: [&str; 3] = ["pg_execute_server_program", "pg_read_server_files", "pg_write_server_files"];

/// Who was mightier then than today would be so again, and not only in that moment: a superuser can run programs.
pub(super) fn refuse_mightier(role: &str, then: &AccessFacts, now: &AccessFacts) -> Result<(), Refusal> {
    let is_superuser = |facts: &AccessFacts| facts.role.as_ref().is_some_and(|role| role.superuser);
    let may = |facts: &AccessFacts, what: &str| is_superuser(facts) || facts.member_of.iter().any(|of| of == what);
    let is_mightier =
        (is_superuser(then) && !is_superuser(now)) || MIGHTY.iter().any(|what| may(then, what) && !may(now, what));
    if !is_mightier {
        return Ok(());
    }
    let message = format!("role \"{role}\" had rights then that it has no longer");
    Err(Box::new(NotOpened::new(sqlstate::INVALID_AUTHORIZATION_SPECIFICATION, message)))
}
