//! Before a server is spawned, or when the daemon starts: what is there already?

use std::path::Path;
use std::time::Duration;

use nap_model::postmaster_pid::{PostmasterPid, Progress};
use rustix::process::Signal;
use tokio::time::Instant;

use crate::exit_watch::ExitWatch;
use crate::procfs;

/// How long backends that lost their postmaster may take to leave after SIGQUIT before they get SIGKILL.
const LEFTOVERS_QUIT: Duration = Duration::from_secs(5);

/// What holds a data directory.
pub(crate) enum Found {
    /// Nothing does.
    Nothing,
    /// A server of ours, left by an earlier daemon.
    Ours { watch: ExitWatch, progress: Progress },
    /// A server that we did not start (or a standalone backend).
    Foreign { pid: i32 },
    /// Backends whose postmaster is gone.
    Leftovers(Vec<i32>),
}

/// Looks at postmaster.pid and at the processes that work in the data directory. Without the file there is no server,
/// and nothing else is looked at: this is on the way of every wake.
pub(crate) fn look(data: &Path, socket_dir: &Path) -> Found {
    let path = data.join("postmaster.pid");
    for _ in 0..LOOKS_MAX {
        let Ok(text) = std::fs::read_to_string(&path) else { return Found::Nothing };
        let processes = procfs::postgres_processes_in(data);
        // A server that was started in between has put its own pid there: what was read is nobody's any more.
        if std::fs::read_to_string(&path).is_ok_and(|again| again == text) {
            return judge(&text, processes, socket_dir);
        }
    }
    Found::Foreign { pid: 0 }
}

/// A file that changes at every look belongs to somebody who is busy with it.
const LOOKS_MAX: u32 = 5;

fn judge(text: &str, processes: Vec<i32>, socket_dir: &Path) -> Found {
    let Some(file) = PostmasterPid::parse(text) else {
        return processes.first().map_or(Found::Nothing, |pid| Found::Foreign { pid: *pid });
    };
    let holder = file.pid.saturating_abs();
    if processes.contains(&holder) {
        return match ExitWatch::open(holder) {
            Ok(watch) if file.pid > 0 && is_ours(holder, socket_dir) => Found::Ours { watch, progress: file.progress },
            _ => Found::Foreign { pid: holder },
        };
    }
    if processes.is_empty() { Found::Nothing } else { Found::Leftovers(processes) }
}

/// A server is ours if it was told on its command line to put its socket where we would have.
fn is_ours(pid: i32, socket_dir: &Path) -> bool {
    let mark = crate::launch::socket_setting(socket_dir);
    procfs::command_line(pid).is_some_and(|line| line.split('\0').any(|word| word == mark))
}

/// Ends backends that lost their postmaster. They could do no harm to committed work, but PostgreSQL refuses to start
/// beside them.
pub(crate) async fn end_leftovers(data: &Path, pids: &[i32]) {
    tracing::warn!(?pids, "ending backends whose postmaster is gone");
    send(pids, Signal::QUIT);
    // They may have been frozen, and would not hear.
    send(pids, Signal::CONT);
    let kill_at = Instant::now() + LEFTOVERS_QUIT;
    let mut killed = false;
    loop {
        let left = procfs::postgres_processes_in(data);
        if left.is_empty() {
            return;
        }
        if Instant::now() >= kill_at && !killed {
            tracing::warn!(?left, "they did not leave: SIGKILL");
            send(&left, Signal::KILL);
            killed = true;
        }
        // Their ends cannot be awaited as one event: more of them may turn up while these end.
        tokio::time::sleep(Duration::from_millis(2)).await;
        if killed && Instant::now() >= kill_at + LEFTOVERS_QUIT {
            return;
        }
    }
}

fn send(pids: &[i32], signal: Signal) {
    for pid in pids {
        // The list is microseconds old; a pid is not given out anew so fast.
        if let Some(raw) = rustix::process::Pid::from_raw(*pid) {
            let _ = rustix::process::kill_process(raw, signal);
        }
    }
}

/// Removes what a dead server left: PostgreSQL would refuse to start if the pid in it has meanwhile become another
/// process of the same user. Only to be called when `look` found nothing alive.
pub(crate) fn clear_stale_files(data: &Path, socket_dir: &Path) -> std::io::Result<()> {
    let pid_file = data.join("postmaster.pid");
    if let Ok(text) = std::fs::read_to_string(&pid_file) {
        let attached = PostmasterPid::parse(&text)
            .and_then(|file| file.shm)
            .and_then(|(_, shmid)| procfs::attached_to_segment(shmid))
            .unwrap_or(0);
        if attached > 0 {
            // Somebody still holds the dead server's shared memory, though no process works in its directory.
            // PostgreSQL itself must judge that; it will say so in its log.
            tracing::warn!(data = %data.display(), attached, "a dead server's shared memory is still attached");
            return Ok(());
        }
        let unchanged = std::fs::read_to_string(&pid_file).is_ok_and(|again| again == text);
        if !unchanged || !procfs::postgres_processes_in(data).is_empty() {
            // Somebody has just started a server here: ours will say so, and end.
            return Ok(());
        }
        tracing::info!(data = %data.display(), "removing the pid file of a dead server");
        std::fs::remove_file(&pid_file)?;
    }
    for name in [crate::launch::SOCKET_NAME.to_owned(), format!("{}.lock", crate::launch::SOCKET_NAME)] {
        match std::fs::remove_file(socket_dir.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
