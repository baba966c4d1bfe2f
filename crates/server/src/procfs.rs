//! What /proc knows of the processes of a server. A server is dead when no process of it is left: a postmaster that
//! was killed leaves busy backends behind, and zombies count for nothing.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The pids of all living `postgres` processes whose working directory is this data directory. PostgreSQL's processes
/// work in their data directory; a shell that stands there is none of them.
pub fn postgres_processes_in(data: &Path) -> Vec<i32> {
    Directory::of(data).map(postgres_processes_of).unwrap_or_default()
}

/// A directory, wherever it is moved, and even when it has been deleted and somebody still works in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Directory {
    device: u64,
    inode: u64,
}

impl Directory {
    /// The one that this path leads to now.
    pub fn of(path: &Path) -> std::io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// The same, for a directory that was there.
pub fn postgres_processes_of(data: Directory) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| works_in(*pid, data))
        .filter(|pid| is_postgres(*pid) && is_alive(*pid))
        .collect()
}

/// Whether this is the working directory of this process.
pub fn works_in(pid: i32, directory: Directory) -> bool {
    Directory::of(Path::new(&format!("/proc/{pid}/cwd"))).is_ok_and(|cwd| cwd == directory)
}

fn is_postgres(pid: i32) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| {
        // After an upgrade of the package the old program reads "postgres (deleted)".
        exe.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("postgres"))
    })
}

/// Whether the process exists and is no zombie.
#[cfg(target_os = "linux")]
pub fn is_alive(pid: i32) -> bool {
    !matches!(state(pid), None | Some('Z' | 'X'))
}

/// Whether the process does not run and will not, until it is told to or because it has ended.
pub fn is_still(pid: i32) -> bool {
    matches!(state(pid), None | Some('T' | 'Z' | 'X'))
}

/// Whether the process is stopped.
pub fn is_stopped(pid: i32) -> bool {
    state(pid) == Some('T')
}

/// The letter that the kernel gives for its state.
fn state(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The state follows the command name, which stands in parentheses and may hold anything.
    stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next())
}

/// Whether an alarm of the process has gone off that it has not heard, because it is stopped.
pub fn has_unheard_alarm(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| alarm_is_pending(&status))
}

/// `ShdPnd` holds the signals that wait for the process as a whole: bit n - 1 stands for signal n.
fn alarm_is_pending(status: &str) -> bool {
    let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
    let pending = pending.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0);
    pending & (1 << (rustix::process::Signal::ALARM.as_raw() - 1)) != 0
}

/// Whether the process exists.
#[cfg(not(target_os = "linux"))]
pub fn is_alive(pid: i32) -> bool {
    let Some(pid) = rustix::process::Pid::from_raw(pid) else { return false };
    matches!(rustix::process::test_kill_process(pid), Ok(()) | Err(rustix::io::Errno::PERM))
}

/// Sends a signal to a process. An error means that it has ended.
pub(crate) fn signal(pid: i32, signal: rustix::process::Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// The command line of a process, its words separated by NUL.
pub fn command_line(pid: i32) -> Option<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// How many processes are attached to a System V shared memory segment; `None` if there is no such segment.
pub fn attached_to_segment(shmid: i32) -> Option<u64> {
    let table = std::fs::read_to_string("/proc/sysvipc/shm").ok()?;
    attached_in_table(&table, shmid)
}

/// Columns: key shmid perms size cpid lpid nattch …
fn attached_in_table(table: &str, shmid: i32) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace();
        let id: i32 = columns.nth(1)?.parse().ok()?;
        if id == shmid { columns.nth(4)?.parse().ok() } else { None }
    })
}

/// Less than this is no space: PostgreSQL's smallest write of WAL is a block, but a new segment has 16 MB.
const FULL_BELOW_BYTES: u64 = 1 << 20;

/// Whether the file system of this directory has no space left for who is not root.
pub fn is_full(directory: &Path) -> bool {
    rustix::fs::statvfs(directory).is_ok_and(|stat| stat.f_bavail.saturating_mul(stat.f_frsize) < FULL_BELOW_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_attach_count() {
        let table = "       key      shmid perms                  size  cpid  lpid nattch   uid\n  \
                     16998400          3   600                    56  4242  4243      6   101\n";
        assert_eq!(attached_in_table(table, 3), Some(6));
        assert_eq!(attached_in_table(table, 4), None);
    }

    #[test]
    fn an_alarm_that_waits_is_seen() {
        assert!(alarm_is_pending("Name:\tpostgres\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000002000\n"));
        assert!(!alarm_is_pending("Name:\tpostgres\nSigPnd:\t0000000000002000\nShdPnd:\t0000000000010000\n"));
        assert!(!alarm_is_pending(""));
    }

    #[test]
    fn we_are_alive_and_no_postgres() {
        let pid = std::process::id() as i32;
        assert!(is_alive(pid));
        assert!(!is_postgres(pid));
        assert!(!is_alive(i32::MAX));
    }
}
