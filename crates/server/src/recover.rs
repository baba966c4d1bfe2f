//! Recovery to a moment of the past, of files that no other server has: a server runs on them for as long as that takes, lets
//! nobody in, and is shut down.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nap_model::postmaster_pid::{PostmasterPid, Progress};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use crate::children::{Children, Spawned, nameless_file};
use crate::install::Install;

/// The pause between looks whether it is done.
const LOOK_PAUSE: Duration = Duration::from_millis(5);
/// Days of log take their time.
const DONE_WITHIN: Duration = Duration::from_secs(60 * 60);
/// So much of what it said is told.
const LAST_LINES: usize = 8;

/// What is to be recovered.
#[derive(Debug, Clone)]
pub struct Past {
    /// The data directory, with `recovery.signal`.
    pub data: PathBuf,
    /// A directory of its own for its socket, which nobody connects to.
    pub socket_dir: PathBuf,
    /// The directory with the log.
    pub log: PathBuf,
    /// `recovery_target_…` and its value; none: to the end of the log.
    pub target: Option<(&'static str, String)>,
    /// What stands at the target belongs to it.
    pub inclusive: bool,
}

/// Why it was not recovered.
#[derive(Debug, thiserror::Error)]
pub enum NotRecovered {
    /// The program could not be run.
    #[error("cannot run postgres: {0}")]
    NotRun(#[from] io::Error),
    /// There is nothing at or behind the target.
    #[error("the log ends before it")]
    EndsBefore,
    /// It ended otherwise.
    #[error("recovery failed: {0}")]
    Failed(String),
    /// It takes too long.
    #[error("recovery was not done after {} min", DONE_WITHIN.as_secs() / 60)]
    Late,
}

/// Recovers it, up to its target, as the beginning of a timeline of its own.
pub async fn recover(children: &Children, install: &Install, past: &Past) -> Result<(), NotRecovered> {
    let said = nameless_file()?;
    let mut command = command(install, past);
    command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said.try_clone()?);
    let Spawned { pid, mut exit } = children.spawn(&mut command)?;
    let guard = Ended(pid);
    let begun = Instant::now();
    loop {
        tokio::select! {
            biased;
            _ = &mut exit => {
                std::mem::forget(guard);
                return Err(why(&said));
            }
            () = sleep(LOOK_PAUSE) => {}
        }
        if is_ready(&past.data, pid) {
            break;
        }
        if begun.elapsed() > DONE_WITHIN {
            return Err(NotRecovered::Late);
        }
    }
    signal(pid, Signal::INT);
    let status = exit.await.map_err(|_| NotRecovered::Late)?;
    std::mem::forget(guard);
    if status.success() { Ok(()) } else { Err(why(&said)) }
}

/// A server whose starter has given up is ended at once.
struct Ended(i32);

impl Drop for Ended {
    fn drop(&mut self) {
        signal(self.0, Signal::QUIT);
    }
}

fn command(install: &Install, past: &Past) -> Command {
    let mut command = Command::new(install.program("postgres"));
    command.arg("-D").arg(&past.data);
    let log = past.log.display().to_string().replace('\'', "'\\''").replace('%', "%%");
    let mut settings = vec![
        crate::launch::own_data(&past.data),
        "external_pid_file=".to_owned(),
        "listen_addresses=".to_owned(),
        crate::launch::socket_setting(&past.socket_dir),
        "unix_socket_permissions=0700".to_owned(),
        format!("port={}", crate::launch::SOCKET_PORT),
        format!("restore_command=cp '{log}/%f' %p"),
        "recovery_target_action=promote".to_owned(),
        format!("recovery_target_inclusive={}", if past.inclusive { "on" } else { "off" }),
        "recovery_target_timeline=current".to_owned(),
    ];
    // What its configuration may say of others.
    settings.extend(["hot_standby=off", "archive_mode=off", "synchronous_standby_names="].map(str::to_owned));
    settings.extend(["primary_conninfo=", "max_logical_replication_workers=0", "autovacuum=off"].map(str::to_owned));
    settings.extend(["logging_collector=off", "log_destination=stderr"].map(str::to_owned));
    settings.extend(past.target.iter().map(|(name, value)| format!("{name}={value}")));
    for setting in settings {
        command.arg("-c").arg(setting);
    }
    command.envs(install.own_libraries().map(|directory| ("LD_LIBRARY_PATH", directory)));
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command
}

/// It lets clients in, if there were any: the recovery is over.
fn is_ready(data: &Path, pid: i32) -> bool {
    let text = std::fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    PostmasterPid::parse(&text).is_some_and(|file| file.pid == pid && file.progress == Progress::Ready)
}

fn why(said: &std::fs::File) -> NotRecovered {
    use io::{Read as _, Seek as _};
    let mut text = String::new();
    let mut file = said;
    let _ = file.rewind().and_then(|()| file.take(1 << 20).read_to_string(&mut text));
    if text.contains("recovery ended before configured recovery target was reached") {
        return NotRecovered::EndsBefore;
    }
    let lines: Vec<&str> = text.trim().lines().collect();
    NotRecovered::Failed(lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default().join("\n"))
}

fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        // An error means that it has ended.
        let _ = kill_process(pid, signal);
    }
}
