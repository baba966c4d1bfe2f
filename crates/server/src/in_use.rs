//! Whether somebody runs a server on a data directory that is not ours: what PostgreSQL's own `CreateLockFile` looks at, and
//! the processes that work there.

use std::path::Path;

use nap_model::postmaster_pid::PostmasterPid;
use rustix::process::{Pid, test_kill_process};

use crate::procfs;

/// The pid of the server that runs on it, or of one of its processes; 0: somebody has its shared memory, and has no number here.
pub fn in_use(data: &Path) -> Option<i32> {
    if let Some(pid) = procfs::postgres_processes_in(data).first() {
        return Some(*pid);
    }
    let path = data.join("postmaster.pid");
    // Nobody may write to the other end of a pipe.
    let text = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file);
    let text = text.and_then(|_| std::fs::read_to_string(&path).ok())?;
    let file = PostmasterPid::parse(&text)?;
    let pid = file.pid.saturating_abs();
    // One of another user's does not show where it works: then it is taken for the server, as PostgreSQL does.
    let hides = || std::fs::read_link(format!("/proc/{pid}/cwd")).is_err();
    if exists(pid) && procfs::is_alive(pid) && hides() {
        return Some(pid);
    }
    let attached = file.shm.and_then(|(_, shmid)| procfs::attached_to_segment(shmid)).unwrap_or(0);
    (attached > 0).then_some(0)
}

fn exists(pid: i32) -> bool {
    let Some(pid) = Pid::from_raw(pid) else { return false };
    matches!(test_kill_process(pid), Ok(()) | Err(rustix::io::Errno::PERM))
}
