//! What `nap`'s commands ask of the daemon.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use nap_control::{
    Answer, CloneMethod, ConfigChange, ConfigReport, CreatedReport, Failure, FailureKind, Handler, LoweredReport,
    Reply, Request, SESSIONS_SHOWN_MAX, TakenReport,
};
use nap_gateway::{ESTATE_FORMAT, Estate, Gateway};
use nap_model::client_error::ClientError;
use nap_model::ids::BranchName;
use nap_model::moment::Moment;
use nap_model::snapshot_name::SnapshotName;
use nap_model::state::State;
use nap_server::error::{SleepError, WakeError};
use nap_store::NewSnapshot;
use tokio::sync::watch;
use tokio::time::Instant;
use toml_edit::DocumentMut;

use super::branch_set::change::{sleep_failure, store_failure};
use super::branch_set::create::Made;
use super::branch_set::{BranchSet, Entry};
use super::config::Config;
use super::installs::Installs;
use super::sessions::PARK_WITHIN;
use super::succession::{self, Belongings};
use super::systemd::Systemd;
use super::timed_work::TimedWork;
use super::tls::ServerTls;
use crate::branch_names::DEFAULT_BRANCH_CURE;
use crate::commands::config::value_text;

mod in_out;
mod report;

use report::session_report;

/// How long sessions may take to get to a place where they can be left: between two messages, both ways. TLS cannot be left,
/// and those sessions may take so long to end their transactions.
const LEAVE_WITHIN: Duration = Duration::from_secs(10);

/// How long the files of all branches may be looked at.
const LOOKED_AT_WITHIN: Duration = Duration::from_secs(30);

/// Answers requests.
pub(super) struct ControlApi {
    pub(super) branches: Arc<BranchSet>,
    pub(super) gateway: Arc<Gateway<BranchSet>>,
    pub(super) config: Config,
    pub(super) tls: Arc<ServerTls>,
    pub(super) installs: Arc<Installs>,
    pub(super) started: Instant,
    pub(super) stop: watch::Sender<bool>,
    /// Why there is no socket in libpq's default directory.
    pub(super) libpq_socket_missing: Option<String>,
    /// What the limit of open files makes of max_connections.
    pub(super) max_connections_lowered: watch::Receiver<Option<LoweredReport>>,
    /// What goes on to another program with the sessions.
    pub(super) belongings: Belongings,
    /// Whether it logs to where somebody reads.
    pub(super) foreground: bool,
    /// Where the commands come in.
    pub(super) control_socket: OwnedFd,
    pub(super) timed_work: Arc<TimedWork>,
    /// One at a time.
    pub(super) replacing: tokio::sync::Mutex<()>,
}

impl ControlApi {
    fn named(&self, branch: Option<BranchName>) -> Result<Entry, Failure> {
        match branch {
            Some(name) => self.branches.existing(&name),
            None => {
                let default = self.config.get().default_branch;
                self.branches.existing(&default).map_err(|failure| failure.hint(DEFAULT_BRANCH_CURE))
            }
        }
    }

    async fn wake(&self, branch: Option<BranchName>) -> Reply {
        let entry = self.named(branch)?;
        let patience = self.config.get().wake_timeout.0.unwrap_or(Duration::from_secs(60));
        entry.server.awake(Instant::now() + patience).await.map_err(wake_failure)?;
        Ok(Answer::Done)
    }

    async fn sleep(&self, branch: Option<BranchName>) -> Reply {
        let entry = self.named(branch)?;
        entry.server.sleep().await.map_err(|error| {
            let hint = match entry.server.status().state {
                State::Dozing => "it dozes instead; `nap sessions` shows which sessions those are",
                _ => "`nap ls` shows what keeps it awake",
            };
            self.branches.not_asleep(&entry, error).hint(hint)
        })?;
        Ok(Answer::Done)
    }

    async fn doze(&self, branch: Option<BranchName>) -> Reply {
        let entry = self.named(branch)?;
        entry.server.doze().await.map_err(|error| match &error {
            SleepError::NotAwake { .. } => sleep_failure(error).hint("`nap wake` wakes it"),
            _ => sleep_failure(error).hint("`nap ls` shows what keeps it awake"),
        })?;
        Ok(Answer::Done)
    }

    /// One branch, or all that run.
    async fn restart(&self, branch: Option<BranchName>) -> Reply {
        let entries = match branch {
            Some(name) => vec![self.branches.existing(&name)?],
            None => self.branches.all(),
        };
        let restarts: Vec<_> =
            entries.into_iter().map(|entry| tokio::spawn(async move { entry.server.restart().await })).collect();
        for restart in restarts {
            restart.await.map_err(|error| Failure::failed(error.to_string()))?.map_err(wake_failure)?;
        }
        Ok(Answer::Done)
    }

    /// All branches at once: one whose server does not answer must not hold up the others.
    async fn list(&self, disk: bool) -> Reply {
        let reports = self.branches.all().into_iter().map(|entry| self.branch_report(entry));
        let mut reports = join_all(reports).await;
        if disk {
            // One after the other: the disk is one.
            let until = std::time::Instant::now() + LOOKED_AT_WITHIN;
            for report in &mut reports {
                report.disk = self.branches.disk_use(&report.name, until).await;
            }
        }
        Ok(Answer::Branches(reports))
    }

    async fn create(
        &self,
        name: String,
        from: Option<BranchName>,
        at: Option<String>,
        settings: &[(String, String)],
    ) -> Reply {
        let begun = Instant::now();
        let name: BranchName = name.parse().map_err(|error| Failure::from_error(FailureKind::Usage, &error))?;
        let parent = self.named(from)?.record.name;
        let moment = at.as_deref().map(moment).transpose()?;
        let made = self.branches.create(name, &parent, moment, &given(settings)).await?;
        self.tls.take_on_branch().await;
        self.created(made, begun).await
    }

    async fn reset(&self, name: &BranchName, keep_as: Option<BranchName>) -> Reply {
        let begun = Instant::now();
        let keeps = keep_as.is_some();
        let made = self.branches.reset(name, keep_as).await?;
        if keeps {
            self.tls.take_on_branch().await;
        }
        self.created(made, begun).await
    }

    async fn restore(&self, name: &BranchName, at: &str, keep_as: BranchName) -> Reply {
        let begun = Instant::now();
        let made = self.branches.restore(name, moment(at)?, keep_as).await?;
        self.tls.take_on_branch().await;
        self.created(made, begun).await
    }

    async fn created(&self, made: Made, begun: Instant) -> Reply {
        let Made { new, parent_in_use, pause, subscriptions_disabled } = made;
        let record = new.branch.record;
        Ok(Answer::Created(CreatedReport {
            lsn: record.branched_at.unwrap_or(nap_model::lsn::Lsn(0)),
            parent: record.parent.unwrap_or_else(|| record.name.clone()),
            method: method(new.cloned.method),
            bytes: new.cloned.bytes,
            files: new.cloned.files,
            duration_ms: milliseconds(begun.elapsed()),
            parent_in_use,
            pause_us: pause.map(microseconds),
            prepared_transactions: new.prepared,
            subscriptions_disabled,
            connection: self.connection(Some(record.name.clone()), None, false).await?,
            name: record.name,
        }))
    }

    async fn take_snapshot(&self, branch: Option<BranchName>, name: SnapshotName) -> Reply {
        let begun = Instant::now();
        let branch = self.named(branch)?.record.name;
        let (NewSnapshot { snapshot, cloned }, pause) = self.branches.snapshot(&branch, name.clone()).await?;
        Ok(Answer::Snapshot(TakenReport {
            branch,
            name,
            lsn: snapshot.lsn,
            method: method(cloned.method),
            bytes: cloned.bytes,
            files: cloned.files,
            duration_ms: milliseconds(begun.elapsed()),
            pause_us: pause.map(microseconds),
        }))
    }

    /// The default branch stays the default under its new name.
    async fn rename(&self, name: &BranchName, to: BranchName) -> Reply {
        let is_default = self.config.get().default_branch == *name;
        self.branches.rename(name, to.clone()).await?;
        self.tls.take_on_branch().await;
        if is_default {
            nap_store::config::set(self.config.home(), "default_branch", Some(to.as_str())).map_err(store_failure)?;
            return self.reload().await;
        }
        Ok(Answer::Done)
    }

    fn set_branch(&self, branch: &BranchName, settings: &[(String, String)]) -> Reply {
        let settings = given(settings);
        self.branches.set(branch, &settings)?;
        let change = |(name, value): (&str, _)| ConfigChange { name: name.to_owned(), value, at_restart: false };
        Ok(Answer::Config(ConfigReport { changes: settings.into_iter().map(change).collect() }))
    }

    /// Of one branch, or all.
    fn sessions(&self, branch: Option<&BranchName>) -> Answer {
        let sessions = self.gateway.sessions().into_iter();
        let wanted = sessions.filter(|session| branch.is_none_or(|branch| session.branch == *branch));
        Answer::Sessions(wanted.take(SESSIONS_SHOWN_MAX).map(session_report).collect())
    }

    async fn park_sessions(&self, branch: Option<BranchName>) -> Reply {
        let branches = match &branch {
            Some(name) => vec![self.branches.existing(name)?.record.name],
            None => self.branches.names_now(),
        };
        let deadline = Instant::now() + PARK_WITHIN;
        // A server that is frozen would not answer what its sessions are asked.
        let dozing = branches.iter().filter_map(|branch| self.branches.entry(branch));
        let dozing = dozing.filter(|entry| entry.server.status().state == State::Dozing);
        let _awake = join_all(dozing.map(|entry| async move { entry.server.awake(deadline).await })).await;
        join_all(branches.iter().map(|branch| self.gateway.park(branch, true, deadline))).await;
        Ok(self.sessions(branch.as_ref()))
    }

    fn end_session(&self, id: u64) -> Reply {
        if self.gateway.end_session(id) {
            return Ok(Answer::Done);
        }
        Err(Failure::new(FailureKind::NotFound, format!("there is no session {id}")).hint("`nap sessions` shows all"))
    }

    /// Goes on as another program. Comes back only if that fails.
    async fn replace(&self, program: &Path, format: u32) -> Reply {
        if format != ESTATE_FORMAT {
            return Err(Failure::new(
                FailureKind::Conflict,
                "the two versions are too far apart to hand sessions over",
            )
            .hint("`nap down` and `nap up` start the new one; sessions end"));
        }
        let Ok(_one) = self.replacing.try_lock() else {
            return Err(Failure::new(FailureKind::Conflict, "the daemon is being replaced already"));
        };
        self.refuse_at_work()?;
        // What the next program would refuse, or do otherwise, is found out while there is still this one.
        if let Answer::Config(ConfigReport { changes }) = self.reload().await?
            && let Some(change) = changes.first()
        {
            let message = format!("{} was changed, which waits for the next start", change.name);
            return Err(Failure::new(FailureKind::Conflict, message).hint("`nap down` and `nap up`, or set it back"));
        }
        rustix::fs::access(program, rustix::fs::Access::EXEC_OK)
            .map_err(|error| Failure::failed(format!("cannot run {}", program.display())).caused_by(&error))?;
        tracing::info!(program = %program.display(), "leaves everything to another program");
        let (home, estate) = (self.config.home(), self.leave().await?);
        let failed = succession::pack(&self.belongings.lock, &self.belongings.kept, &estate)
            .and_then(|packed| succession::go_on_as(program, home, self.foreground, packed));
        self.gateway.take_up(estate).await;
        let Err(error) = failed;
        tracing::error!(%error, "goes on as before");
        Err(Failure::failed(format!("cannot run {}", program.display())).caused_by(&error))
    }

    /// What would be cut off.
    fn refuse_at_work(&self) -> Result<(), Failure> {
        if self.timed_work.is_under_way() {
            return Err(Failure::new(FailureKind::Conflict, "the work of a wake_at is under way")
                .hint("`nap logs --daemon` says when it is done"));
        }
        if self.branches.is_making() {
            return Err(Failure::new(FailureKind::Conflict, "a branch is being made").hint("try again when it is done"));
        }
        Ok(())
    }

    async fn leave(&self) -> Result<Estate, Failure> {
        let mut estate = self.gateway.leave(Instant::now() + LEAVE_WITHIN).await;
        // That took its time, in which commands went on coming.
        if let Err(failure) = self.refuse_at_work() {
            self.gateway.take_up(estate).await;
            return Err(failure);
        }
        if let Ok(control_socket) = self.control_socket.try_clone() {
            estate.add_listener(control_socket);
        }
        Ok(estate)
    }

    /// Leaves everything to the daemon that systemd is about to start. Returns only if nothing comes of that.
    pub(super) async fn leave_to_the_next(&self, systemd: &Systemd) {
        let Ok(_one) = self.replacing.try_lock() else { return };
        let ready = match self.refuse_at_work() {
            Ok(()) => self.reload().await.map(drop),
            refused => refused,
        };
        let estate = match ready {
            Ok(()) => self.leave().await,
            Err(failure) => Err(failure),
        };
        let mut estate = match estate {
            Ok(estate) => estate,
            Err(failure) => return tracing::error!(%failure, "sessions end with the restart"),
        };
        self.belongings.leave_kept_out(&mut estate);
        let stored = match succession::pack(&self.belongings.lock, &[], &estate) {
            Ok(packed) => systemd.store(&packed).await,
            Err(error) => Err(error),
        };
        match stored {
            Ok(()) => {
                tracing::info!(sessions = estate.sessions(), "leaves everything to the next daemon");
                // Nothing is undone: servers, sockets and their files are the next one's.
                std::process::exit(0);
            }
            Err(error) => tracing::error!(%error, "sessions end with the restart"),
        }
        self.gateway.take_up(estate).await;
    }

    /// Settings that wait for the next start are told with the value that the file has for them.
    async fn reload(&self) -> Reply {
        let file = self.config.home().nap_toml();
        let waiting = self.config.reload().map_err(|error| {
            Failure::failed(format!("{} cannot be used; the settings are as before", file.display()))
                .caused_by(&error)
                .hint("correct the file, then `nap config check`")
        })?;
        self.branches.reload_rules().await?;
        self.tls.load().await?;
        let text = nap_store::config::text(self.config.home()).map_err(store_failure)?;
        let document: DocumentMut = text.parse().unwrap_or_default();
        let change = |name: &&str| ConfigChange {
            name: (*name).to_owned(),
            value: value_text(&document, name),
            at_restart: true,
        };
        Ok(Answer::Config(ConfigReport { changes: waiting.iter().map(change).collect() }))
    }
}

impl Handler for ControlApi {
    async fn handle(&self, request: Request) -> Reply {
        match request {
            Request::Status => Ok(Answer::Status(self.status())),
            Request::List { disk } => self.list(disk).await,
            Request::Wake { branch } => self.wake(branch).await,
            Request::Sleep { branch } => self.sleep(branch).await,
            Request::Doze { branch } => self.doze(branch).await,
            Request::Restart { branch } => self.restart(branch).await,
            Request::CreateBranch { name, from, at, settings } => self.create(name, from, at, &settings).await,
            Request::TakeSnapshot { branch, name } => self.take_snapshot(branch, name).await,
            Request::RemoveSnapshot { branch, name } => {
                let branch = self.named(branch)?.record.name;
                self.branches.remove_snapshot(&branch, name).await.map(|()| Answer::Done)
            }
            Request::History { branch } => self.history(branch).await,
            Request::RemoveBranch { name, force, children } => {
                Ok(Answer::Removed(self.branches.remove(&name, force, children).await?))
            }
            Request::ResetBranch { name, keep_as } => self.reset(&name, keep_as).await,
            Request::RestoreBranch { name, at, keep_as } => self.restore(&name, &at, keep_as).await,
            Request::RenameBranch { name, to } => self.rename(&name, to).await,
            Request::Import { source, name, ignore_hba, pg } => self.import(source, name, ignore_hba, pg).await,
            Request::Export { branch, database, to, format } => self.export(branch, database, to, format).await,
            Request::SetBranch { name, settings } => self.set_branch(&name, &settings),
            Request::Connection { branch, database } => {
                Ok(Answer::Connection(self.connection(branch, database, true).await?))
            }
            Request::Sessions { branch } => {
                if let Some(branch) = &branch {
                    self.branches.existing(branch)?;
                }
                Ok(self.sessions(branch.as_ref()))
            }
            Request::ParkSessions { branch } => self.park_sessions(branch).await,
            Request::EndSession { id } => self.end_session(id),
            Request::ReloadConfig => self.reload().await,
            Request::Replace { program, format } => self.replace(&program, format).await,
            Request::Down => {
                self.stop.send_replace(true);
                Ok(Answer::Done)
            }
        }
    }
}

fn method(method: nap_store::CloneMethod) -> CloneMethod {
    match method {
        nap_store::CloneMethod::Snapshot => CloneMethod::Snapshot,
        nap_store::CloneMethod::Reflink => CloneMethod::Reflink,
        nap_store::CloneMethod::Copy => CloneMethod::Copy,
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Whoever asks has turned it into something that means the same everywhere.
fn moment(text: &str) -> Result<Moment, Failure> {
    let now = jiff::Timestamp::now();
    let moment = Moment::parse(text, now, &jiff::tz::TimeZone::UTC);
    match moment.map_err(|error| Failure::from_error(FailureKind::Usage, &error))? {
        moment if moment.is_to_come(now) => {
            Err(Failure::new(FailureKind::Usage, format!("{moment} is still to come"))
                .hint("it is a moment of the past"))
        }
        moment => Ok(moment),
    }
}

/// An empty value is none.
fn given(settings: &[(String, String)]) -> Vec<(&str, Option<String>)> {
    let value = |value: &str| Some(value.to_owned()).filter(|value| !value.is_empty());
    settings.iter().map(|(name, text)| (name.as_str(), value(text))).collect()
}

pub(super) fn wake_failure(error: WakeError) -> Failure {
    let kind = match &error {
        WakeError::Late { .. } | WakeError::NoPlace { .. } => FailureKind::TimedOut,
        WakeError::Foreign { .. } | WakeError::Held { .. } => FailureKind::Conflict,
        WakeError::Removed { .. } => FailureKind::NotFound,
        _ => FailureKind::Failed,
    };
    let mut failure = Failure::from_error(kind, &error);
    failure.cause.extend(error.detail());
    failure.hint = error.hint().map(Into::into);
    failure
}
