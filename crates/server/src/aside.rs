//! A server of the daemon's own on a data directory that nobody else has: to recover it, to fill it, to look into it. Clients do
//! not get there, and it ends with whoever started it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use nap_fault::reached;
use nap_model::postmaster_pid::{PostmasterPid, Progress};
use rustix::process::Signal;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::children::{Children, Spawned, nameless_file};
use crate::install::Install;
use crate::last_words::last_words;
use crate::procfs::{is_full, signal};

/// The pause between looks whether it is ready.
const LOOK_PAUSE: Duration = Duration::from_millis(5);
/// On a full disk a server tries its last checkpoint again and again, and ends only when there is space. Nobody waits for that.
const FULL_FOR: Duration = Duration::from_secs(5);
/// Days of log take their time.
const READY_WITHIN: Duration = Duration::from_secs(60 * 60);

/// Where such a server is to run.
#[derive(Debug, Clone)]
pub struct Place {
    /// The data directory.
    pub data: PathBuf,
    /// A directory of its own for its socket.
    pub socket_dir: PathBuf,
    /// Its pg_hba.conf. None: nobody is to connect, and the cluster's own will do.
    pub hba_file: Option<PathBuf>,
}

/// Why such a server did not do what it was for.
#[derive(Debug, thiserror::Error)]
pub enum AsideError {
    /// The program could not be run.
    #[error("cannot run postgres: {0}")]
    NotRun(#[from] io::Error),
    /// It ended, or was not shut down cleanly. What it said.
    #[error("the server ended: {0}")]
    Ended(String),
    /// The same, or it would not end, for want of space. What it said last may be of something else.
    #[error("there is no space left on its file system: {0}")]
    Full(String),
    /// It takes too long.
    #[error("the server was not ready after {} min", READY_WITHIN.as_secs() / 60)]
    Late,
}

/// A server aside. Dropped, it is ended at once.
pub struct Aside {
    running: Running,
    exit: oneshot::Receiver<ExitStatus>,
    said: std::fs::File,
    place: Place,
}

/// A server whose starter has given up is ended at once.
struct Running(i32);

impl Drop for Running {
    fn drop(&mut self) {
        signal(self.0, Signal::QUIT);
    }
}

impl Aside {
    /// Starts one with these settings besides, and waits until it would let clients in.
    pub async fn start(
        children: &Children,
        install: &Install,
        place: Place,
        settings: &[String],
    ) -> Result<Self, AsideError> {
        let said = nameless_file()?;
        let mut command = command(install, &place, settings);
        command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said.try_clone()?);
        let Spawned { pid, exit } = children.spawn(&mut command)?;
        reached("a server aside begins").await;
        let mut aside = Self { running: Running(pid), exit, said, place };
        let begun = Instant::now();
        loop {
            tokio::select! {
                biased;
                _ = &mut aside.exit => return Err(aside.why()),
                () = sleep(LOOK_PAUSE) => {}
            }
            if is_ready(&aside.place.data, pid) {
                reached("a server aside is ready").await;
                return Ok(aside);
            }
            if begun.elapsed() > READY_WITHIN {
                return Err(AsideError::Late);
            }
        }
    }

    /// The directory with its socket.
    pub fn socket_dir(&self) -> &Path {
        &self.place.socket_dir
    }

    /// Shuts it down cleanly.
    pub async fn stop(mut self) -> Result<(), AsideError> {
        signal(self.running.0, Signal::INT);
        let status = loop {
            tokio::select! {
                biased;
                status = &mut self.exit => break status.map_err(|_| AsideError::Late)?,
                () = sleep(FULL_FOR) => {}
            }
            if is_full(&self.place.data) {
                // Dropped, it is ended at once.
                return Err(AsideError::Full(last_words(&text(&self.said))));
            }
        };
        if !status.success() {
            return Err(self.why());
        }
        std::mem::forget(self.running);
        reached("a server aside has ended").await;
        Ok(())
    }

    /// It has ended: the number may be another process's from now on.
    fn why(self) -> AsideError {
        std::mem::forget(self.running);
        let said = last_words(&text(&self.said));
        if is_full(&self.place.data) { AsideError::Full(said) } else { AsideError::Ended(said) }
    }
}

fn command(install: &Install, place: &Place, more: &[String]) -> Command {
    let mut command = Command::new(install.program("postgres"));
    command.arg("-D").arg(&place.data);
    let mut settings = vec![
        crate::launch::own_data(&place.data),
        "external_pid_file=".to_owned(),
        "listen_addresses=".to_owned(),
        crate::launch::socket_setting(&place.socket_dir),
        "unix_socket_permissions=0700".to_owned(),
        format!("port={}", crate::launch::SOCKET_PORT),
    ];
    settings.extend(place.hba_file.iter().map(|file| format!("hba_file={}", file.display())));
    // What its configuration may say of others.
    settings.extend(["archive_mode=off", "synchronous_standby_names=", "primary_conninfo="].map(str::to_owned));
    settings.extend(["max_logical_replication_workers=0", "autovacuum=off"].map(str::to_owned));
    settings.extend(["logging_collector=off", "log_destination=stderr"].map(str::to_owned));
    for setting in settings.iter().chain(more) {
        command.arg("-c").arg(setting);
    }
    command.envs(install.own_libraries().map(|directory| ("LD_LIBRARY_PATH", directory)));
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command
}

fn is_ready(data: &Path, pid: i32) -> bool {
    let text = std::fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    PostmasterPid::parse(&text).is_some_and(|file| file.pid == pid && file.progress == Progress::Ready)
}

fn text(mut said: &std::fs::File) -> String {
    use io::{Read as _, Seek as _};
    let mut bytes = Vec::new();
    let _ = said.rewind().and_then(|()| said.take(1 << 20).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}
