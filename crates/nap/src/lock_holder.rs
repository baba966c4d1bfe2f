//! Which process holds the home's lock, found without touching the lock: to try it, even for a moment, could make a
//! daemon that just starts believe that there is another.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nap_store::{Home, durable};

/// The lock file holds a process number and a line break.
const LOCK_FILE_MAX_BYTES: u64 = 64;

/// The daemon of this home, if there is one, whether it answers or not.
pub(crate) fn lock_holder(home: &Home) -> Option<u32> {
    let text = durable::read_bounded(&home.lock_file(), LOCK_FILE_MAX_BYTES).ok()?;
    let pid: u32 = String::from_utf8(text).ok()?.trim().parse().ok()?;
    let alive = is_alive(pid) && has_open(pid, &home.lock_file()).unwrap_or(true);
    alive.then_some(pid)
}

/// Whether there is such a process; a zombie is none.
pub(crate) fn is_alive(pid: u32) -> bool {
    i32::try_from(pid).is_ok_and(nap_server::procfs::is_alive)
}

/// Whether the process has the file open: its number may have come to mean another process since. None: we may not
/// look, or cannot on this system.
fn has_open(pid: u32, path: &Path) -> Option<bool> {
    let wanted = fs::metadata(path).ok()?;
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let mut open = entries.flatten().filter_map(|entry| fs::metadata(entry.path()).ok());
    Some(open.any(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino())))
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::disallowed_methods, reason = "a lock file in a test needs no durability")]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_means_another_process_is_no_holder() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().to_owned());
        assert_eq!(lock_holder(&home), None);
        fs::write(home.lock_file(), format!("{}\n", std::process::id())).unwrap();
        assert_eq!(lock_holder(&home), None, "we do not have it open");
        let _open = fs::File::open(home.lock_file()).unwrap();
        assert_eq!(lock_holder(&home), Some(std::process::id()));
    }
}
