//! What a test has ordered.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

/// The pause between looks whether the wait is over.
const LOOK_PAUSE: Duration = Duration::from_millis(2);

/// One visit at a time is counted.
static COUNTING: Mutex<()> = Mutex::new(());

fn directory() -> Option<&'static Path> {
    static DIRECTORY: OnceLock<Option<PathBuf>> = OnceLock::new();
    DIRECTORY.get_or_init(|| std::env::var_os(super::DIRECTORY).map(PathBuf::from)).as_deref()
}

pub(crate) fn point(place: &str) {
    let Some(held) = directory().and_then(|directory| visit(directory, place)) else { return };
    while held.exists() {
        std::thread::sleep(LOOK_PAUSE);
    }
}

pub(crate) async fn reached(place: &str) {
    let Some(held) = directory().and_then(|directory| visit(directory, place)) else { return };
    while held.exists() {
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// Dies, if that was ordered. Gives back what is to be waited for.
fn visit(directory: &Path, place: &str) -> Option<PathBuf> {
    let _one = COUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Ok(mut visited) = fs::OpenOptions::new().append(true).open(directory.join("visited")) {
        let _ = writeln!(visited, "{place}");
    }
    let die = directory.join(format!("{place}.die"));
    if let Some(visits) = fs::read_to_string(&die).ok().and_then(|text| text.trim().parse::<u32>().ok()) {
        // The next process is not to die there too.
        let _ = fs::remove_file(&die);
        if visits <= 1 {
            let _ = kill_process(getpid(), Signal::KILL);
        }
        let mut again = fs::OpenOptions::new().write(true).create_new(true).open(&die).ok()?;
        let _ = write!(again, "{}", visits - 1);
    }
    let held = directory.join(format!("{place}.held"));
    rustix::fs::rename(directory.join(format!("{place}.hold")), &held).ok().map(|()| held)
}
