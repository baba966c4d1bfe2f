//! `wake_at`: work at its time in branches that sleep. A server is woken for it as for a client, and sleeps again as usual.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Zoned;
use nap_model::ids::BranchName;
use nap_model::settings::Settings;
use nap_model::state::State;
use nap_server::children::Children;
use nap_server::handle::Lease;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::branch_set::{BranchSet, Entry};
use super::config::Config;
use super::installs::Installs;

/// More at once would be in each other's way, and in that of clients.
const AT_ONCE: usize = 2;
/// Schedules know no seconds.
const LOOK_EVERY_S: i64 = 60;
/// Maintenance at its time may take longer than before a sleep.
const MAINTENANCE_MAX: Duration = Duration::from_secs(60 * 60);
/// One that hangs must not keep the others from their turn for ever.
const FILE_MAX: Duration = Duration::from_secs(12 * 60 * 60);
/// Of what psql said, so much is logged: its end.
const SAID_MAX_BYTES: usize = 2_000;

/// Who looks at the clock.
pub(super) struct TimedWork {
    pub(super) branches: Arc<BranchSet>,
    pub(super) config: Config,
    pub(super) installs: Arc<Installs>,
    pub(super) children: Children,
    under_way: Mutex<BTreeSet<BranchName>>,
    places: Semaphore,
}

/// Why work was not done, or not to its end.
#[derive(Debug, thiserror::Error)]
enum NotDone {
    #[error("{0}")]
    NotAwake(#[from] nap_server::error::WakeError),
    #[error("{0}")]
    NotMaintained(#[from] nap_server::admin::AdminError),
    #[error("cannot read wake_sql {}: {error}", .file.display())]
    NoFile { file: PathBuf, error: std::io::Error },
    #[error("cannot run psql: {0}")]
    NoPsql(String),
    #[error("{} was ended after {} h", .file.display(), FILE_MAX.as_secs() / 3_600)]
    Late { file: PathBuf },
    #[error("{} ended with {status}: {said}", .file.display())]
    Failed { file: PathBuf, status: std::process::ExitStatus, said: String },
}

impl TimedWork {
    pub(super) fn new(
        branches: Arc<BranchSet>,
        config: Config,
        installs: Arc<Installs>,
        children: Children,
    ) -> Arc<Self> {
        let (under_way, places) = (Mutex::default(), Semaphore::new(AT_ONCE));
        Arc::new(Self { branches, config, installs, children, under_way, places })
    }

    /// Looks once a minute. What fell into a time in which the machine was asleep is done once, when it is awake again.
    pub(super) async fn run(self: Arc<Self>) {
        let mut since = Zoned::now();
        loop {
            let second = since.timestamp().as_second().rem_euclid(LOOK_EVERY_S);
            tokio::time::sleep(Duration::from_secs((LOOK_EVERY_S - second).unsigned_abs())).await;
            let (now, settings) = (Zoned::now(), self.config.get());
            for entry in self.branches.all() {
                if entry.record.settings.wake_at.as_ref().unwrap_or(&settings.wake_at).is_due(&since, &now) {
                    self.begin(entry);
                }
            }
            since = now;
        }
    }

    /// Whether something is being done, or waits for its turn.
    pub(super) fn is_under_way(&self) -> bool {
        !self.under_way().is_empty()
    }

    fn under_way(&self) -> std::sync::MutexGuard<'_, BTreeSet<BranchName>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(self: &Arc<Self>, entry: Entry) {
        let branch = entry.record.name.clone();
        if !self.under_way().insert(branch.clone()) {
            tracing::warn!(%branch, "wake_at: the work before is still under way, this time is left out");
            return;
        }
        let this = self.clone();
        tokio::spawn(async move {
            let _place = this.places.acquire().await;
            match this.work(&entry).await {
                Ok(done) => tracing::info!(%branch, "wake_at: {done}"),
                Err(error) => tracing::error!(%branch, "wake_at: {error}"),
            }
            this.under_way().remove(&branch);
        });
    }

    /// What was done, in words.
    async fn work(&self, entry: &Entry) -> Result<String, NotDone> {
        let settings = self.config.get();
        let slept = entry.server.status().state == State::Asleep;
        let patience = settings.wake_timeout.0.unwrap_or(Duration::from_secs(60));
        let lease = entry.server.awake(Instant::now() + patience).await?;
        let done = match self.sql_file(entry, &settings) {
            Some(file) => self.run_file(entry, &file, &lease).await,
            None => match entry.server.maintain(&lease, MAINTENANCE_MAX).await {
                Ok(1) => Ok("1 table vacuumed or analyzed".to_owned()),
                Ok(tables) => Ok(format!("{tables} tables vacuumed or analyzed")),
                Err(error) => Err(error.into()),
            },
        };
        drop(lease);
        // Nobody else would tell it to.
        if slept && entry.sleeps_when_told() {
            let _ = entry.server.sleep().await;
        }
        done
    }

    fn sql_file(&self, entry: &Entry, settings: &Settings) -> Option<PathBuf> {
        let file = entry.record.settings.wake_sql.as_ref().or(settings.wake_sql.as_ref())?;
        Some(self.config.home().root().join(file))
    }

    /// psql reads it to its end, or to the first error.
    async fn run_file(&self, entry: &Entry, file: &Path, lease: &Lease) -> Result<String, NotDone> {
        let unreadable = |error| NotDone::NoFile { file: file.to_owned(), error };
        File::open(file).map_err(unreadable)?;
        let install = self.installs.of(entry.record.major).map_err(NotDone::NoPsql)?;
        let log = entry.dir.wake_sql_log();
        let no_psql = |error: std::io::Error| NotDone::NoPsql(error.to_string());
        // The one who cuts it when it has grown long counts on that it is written at its end.
        let said = File::options().create(true).append(true).mode(0o600).open(&log).map_err(no_psql)?;
        said.set_len(0).map_err(no_psql)?;
        let mut psql = Command::new(install.program("psql"));
        psql.args(["-X", "-w", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-U", lease.superuser(), "-f"]).arg(file);
        psql.env("PGHOST", lease.socket().parent().unwrap_or(Path::new("/")));
        psql.env("PGPORT", "5432").env("PGAPPNAME", "wake_sql");
        psql.env("PGOPTIONS", format!("-c nap.branch={}", entry.record.name));
        psql.current_dir(self.config.home().root()).stdin(Stdio::null());
        psql.stdout(said.try_clone().map_err(no_psql)?).stderr(said);
        let begun = Instant::now();
        let child = self.children.spawn(&mut psql).map_err(no_psql)?;
        let Ok(ended) = tokio::time::timeout(FILE_MAX, child.exit).await else {
            if let Some(pid) = rustix::process::Pid::from_raw(child.pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
            return Err(NotDone::Late { file: file.to_owned() });
        };
        let status = ended.map_err(|_| NotDone::NoPsql("nobody tells how it ended".into()))?;
        if !status.success() {
            return Err(NotDone::Failed { file: file.to_owned(), status, said: end_of(&log) });
        }
        Ok(format!("{} took {:.1} s", file.display(), begun.elapsed().as_secs_f64()))
    }
}

/// The last that psql complained of, or else the end of what was said: in one line.
fn end_of(log: &Path) -> String {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(SAID_MAX_BYTES as u64)))?;
        let mut bytes = Vec::new();
        file.take(SAID_MAX_BYTES as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let said = read().unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let complaint = said.rfind("psql:").and_then(|at| said.get(at..)).unwrap_or(&said);
    complaint.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
