//! Servers that a daemon which was killed has left running.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nap_control::{Failure, FailureKind};
use nap_server::procfs::postgres_processes_in;
use nap_store::Home;
use rustix::process::{Pid, Signal, kill_process};

use crate::branch_names::directories;

/// How long each kind of shutdown may take: a fast one writes a checkpoint first.
const FAST: Duration = Duration::from_secs(60);
const IMMEDIATE: Duration = Duration::from_secs(10);
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// Shuts them down fast; one that does not end, at once.
pub(super) fn stop(home: &Home) -> Result<(), Failure> {
    let data = directories(home).into_iter().map(|name| home.branches_dir().join(name).join("data"));
    let mut running: Vec<PathBuf> = data.filter(|data| !postgres_processes_in(data).is_empty()).collect();
    for (signal, patience) in [(Signal::INT, FAST), (Signal::QUIT, IMMEDIATE), (Signal::KILL, IMMEDIATE)] {
        for data in &running {
            send(data, signal);
        }
        let deadline = Instant::now() + patience;
        while !running.is_empty() && Instant::now() < deadline {
            running.retain(|data| !postgres_processes_in(data).is_empty());
            std::thread::sleep(LOOK_PAUSE);
        }
    }
    match running.first() {
        None => Ok(()),
        Some(data) => {
            let message = format!("a server in {} does not end", data.display());
            Err(Failure::new(FailureKind::TimedOut, message).hint("nothing of the home was deleted"))
        }
    }
}

/// A postmaster passes it on to its backends; where there is none any more, or only SIGKILL helps, all get it. Nothing is
/// sent to a process that does not work in this directory.
fn send(data: &std::path::Path, signal: Signal) {
    let processes = postgres_processes_in(data);
    let pid_file = std::fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let postmaster = pid_file.lines().next().and_then(|line| line.trim().parse::<i32>().ok());
    let postmaster = postmaster.filter(|pid| processes.contains(pid) && signal != Signal::KILL);
    for pid in postmaster.map_or(processes, |postmaster| vec![postmaster]) {
        if let Some(pid) = Pid::from_raw(pid) {
            let _ = kill_process(pid, signal);
            // One that is stopped would never see it.
            let _ = kill_process(pid, Signal::CONT);
        }
    }
}
