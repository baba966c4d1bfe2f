//! Programs that an earlier daemon ran on what it was making, and that outlived it: a server in the middle of a recovery, a copy
//! from elsewhere. Nothing will come of what they do, and they would go on writing to files that are deleted.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use crate::procfs;

/// The programs that a daemon runs. Whoever else looks at such a place is none of ours.
const PROGRAMS: [&str; 7] = ["postgres", "initdb", "pg_basebackup", "pg_dump", "pg_dumpall", "pg_restore", "psql"];
/// How long they may take to end before they get SIGKILL.
const END_WITHIN: Duration = Duration::from_secs(5);
/// And after that. A process that waits for a disk that does not answer ends later.
const KILLED_WITHIN: Duration = Duration::from_secs(5);
/// The pause between looks: the ends of processes that are not ours cannot be awaited.
const LOOK_PAUSE: Duration = Duration::from_millis(2);

/// Ends all programs that work in these places, or were told to.
pub async fn end(places: &[PathBuf]) {
    if places.is_empty() {
        return;
    }
    let mut left = found(places);
    if left.is_empty() {
        return;
    }
    tracing::warn!(?left, "ending programs that an earlier daemon left at work on something half-made");
    // A server hears this as an immediate shutdown, and removes its shared memory.
    left.iter().for_each(|pid| tell(*pid, Signal::QUIT));
    let begun = Instant::now();
    let mut is_killed = false;
    while !left.is_empty() && begun.elapsed() < END_WITHIN + KILLED_WITHIN {
        tokio::time::sleep(LOOK_PAUSE).await;
        left = found(places);
        if begun.elapsed() >= END_WITHIN && !is_killed {
            left.iter().for_each(|pid| tell(*pid, Signal::KILL));
            is_killed = true;
        }
    }
    if !left.is_empty() {
        tracing::error!(?left, "they did not end");
    }
}

/// One that is stopped would not hear.
fn tell(pid: i32, what: Signal) {
    procfs::signal(pid, what);
    procfs::signal(pid, Signal::CONT);
}

fn found(places: &[PathBuf]) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| is_program(*pid) && procfs::is_alive(*pid) && works_at(*pid, places)).collect()
}

/// The program itself may have been replaced or removed since.
fn is_program(pid: i32) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| {
        let name = exe.file_name().unwrap_or_default().to_string_lossy().into_owned();
        PROGRAMS.contains(&name.trim_end_matches(" (deleted)"))
    })
}

/// A server works in its data directory; the others have the place on their command line.
fn works_at(pid: i32, places: &[PathBuf]) -> bool {
    let is_there = |path: &Path| places.iter().any(|place| path.starts_with(place));
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = line.split(|byte| *byte == 0).map(|word| Path::new(OsStr::from_bytes(word)));
    std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| is_there(&cwd)) || words.any(is_there)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_programs_of_postgresql_at_these_places_are_ended() {
        let root = tempfile::tempdir().unwrap();
        let (place, other) = (root.path().join("place"), root.path().join("other"));
        [&place, &other].into_iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
        let sleep = std::fs::canonicalize("/bin/sleep").unwrap();
        let run = |program: &str, dir: &Path| {
            let path = root.path().join(program);
            std::fs::copy(&sleep, &path).unwrap();
            std::process::Command::new(path).arg("60").current_dir(dir).spawn().unwrap()
        };
        let mut ours = run("pg_dump", &place);
        let mut theirs = [run("pg_restore", &other), run("vi", &place)];
        end(&[place]).await;
        assert!(!ours.wait().unwrap().success());
        for child in &mut theirs {
            assert!(child.try_wait().unwrap().is_none(), "it goes on");
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
