//! Processes, by their numbers: looking at them through /proc, and faults done to them.

use std::path::{Path, PathBuf};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

/// Sends a signal. A process that is gone already is no error.
pub fn signal(pid: i32, signal: Signal) {
    let target = Pid::from_raw(pid).expect("a pid above 0");
    match kill_process(target, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => panic!("signal {signal:?} to {pid}: {error}"),
    }
}

/// kill -9.
pub fn kill9(pid: i32) {
    signal(pid, Signal::KILL);
}

/// The letter that the kernel gives for its state (`R`, `S`, `T`, `Z` …); `None` when there is no such process.
pub fn state(pid: i32) -> Option<char> {
    fields(pid)?.first()?.chars().next()
}

/// There is such a process, and it is no zombie.
pub fn is_alive(pid: i32) -> bool {
    state(pid).is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// Its parent.
pub fn parent(pid: i32) -> Option<i32> {
    fields(pid)?.get(1)?.parse().ok()
}

/// Its living children (a postmaster's are its backends and helpers).
pub fn children(pid: i32) -> Vec<i32> {
    all().into_iter().filter(|child| parent(*child) == Some(pid) && is_alive(*child)).collect()
}

/// Its zombies.
pub fn zombies_of(pid: i32) -> Vec<i32> {
    all().into_iter().filter(|child| parent(*child) == Some(pid) && state(*child) == Some('Z')).collect()
}

/// Its directory: for everything of a PostgreSQL server that is the data directory.
pub fn working_directory(pid: i32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

/// The files that it has open, as the kernel calls them: one that was deleted ends in ` (deleted)`.
pub fn open_files(pid: i32) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries.filter_map(|entry| std::fs::read_link(entry.path()).ok()).collect()
}

/// Its command line (or the title that PostgreSQL gives its processes).
pub fn command_line(pid: i32) -> Vec<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.split('\0').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// The user it runs as.
pub fn user_id(pid: i32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.parse().ok()
}

/// Everything alive whose directory is `directory` or below it.
pub fn below(directory: &Path) -> Vec<i32> {
    let is_below = |pid: &i32| working_directory(*pid).is_some_and(|cwd| cwd.starts_with(directory));
    all().into_iter().filter(|pid| is_alive(*pid) && is_below(pid)).collect()
}

/// Everything alive that one of these users runs.
pub fn with_user_ids(users: &[u32]) -> Vec<i32> {
    all().into_iter().filter(|pid| is_alive(*pid) && user_id(*pid).is_some_and(|user| users.contains(&user))).collect()
}

/// Waits until it is gone (or a zombie).
pub fn wait_gone(pid: i32) {
    crate::eventually(&format!("process {pid} is gone"), || (!is_alive(pid)).then_some(()));
}

/// The pids of all processes.
pub fn everything() -> Vec<i32> {
    all()
}

fn all() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").expect("/proc");
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The fields of /proc/PID/stat after the name, which may hold anything, blanks and brackets too.
fn fields(pid: i32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn sees_a_child_live_and_die() {
        let mut child = Command::new("sleep").arg("60").current_dir("/").spawn().unwrap();
        let pid = child.id() as i32;
        let me = std::process::id() as i32;
        assert!(is_alive(pid));
        assert!(children(me).contains(&pid));
        assert_eq!(working_directory(pid), Some(PathBuf::from("/")));
        kill9(pid);
        wait_gone(pid);
        assert_eq!(zombies_of(me), [pid], "not reaped yet");
        child.wait().unwrap();
        assert_eq!(state(pid), None);
    }
}
