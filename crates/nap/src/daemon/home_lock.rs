//! The home's lock, for a daemon that starts.

use std::time::{Duration, Instant};

use nap_store::{Home, HomeLock, LockError};

use crate::lock_holder::lock_holder;

/// How long the holder may take to write its number into the file, or, killed, to be gone. Both are a matter of moments,
/// of which a busy machine may have none to give for a while.
const HOLDER_SHOWS_WITHIN: Duration = Duration::from_secs(10);
/// The pause between looks.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// Takes it, or says who has it: somebody whom [`lock_holder`] can find from then on, so that who asked can wait until
/// that daemon is up.
pub(super) fn take(home: &Home) -> Result<HomeLock, LockError> {
    let late = Instant::now() + HOLDER_SHOWS_WITHIN;
    take_while(home, || {
        std::thread::sleep(LOOK_PAUSE);
        Instant::now() < late
    })
}

/// A lock whose holder does not show is only just being taken, or given back: it is tried again while `patient`.
fn take_while(home: &Home, mut patient: impl FnMut() -> bool) -> Result<HomeLock, LockError> {
    loop {
        match HomeLock::acquire(home) {
            Err(LockError::Held { .. }) if lock_holder(home).is_none() && patient() => {}
            outcome => return outcome,
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test, whose lock file needs no durability")]
mod tests {
    use super::*;

    /// A lock that was taken a moment ago: its file holds no number yet.
    fn just_taken() -> (tempfile::TempDir, Home, std::fs::File) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().to_owned());
        let file = std::fs::File::create(home.lock_file()).unwrap();
        file.lock().unwrap();
        (dir, home, file)
    }

    #[test]
    fn a_holder_that_does_not_show_is_waited_for() {
        let (_dir, home, _file) = just_taken();
        let shows = || {
            std::fs::write(home.lock_file(), format!("{}\n", std::process::id())).unwrap();
            true
        };
        assert!(matches!(take_while(&home, shows), Err(LockError::Held { .. })));
        assert_eq!(lock_holder(&home), Some(std::process::id()));
        assert!(matches!(take_while(&home, || panic!("it shows")), Err(LockError::Held { .. })));
    }

    #[test]
    fn a_holder_that_goes_leaves_the_lock_to_us() {
        let (_dir, home, file) = just_taken();
        let mut file = Some(file);
        let goes = || file.take().is_some();
        assert!(take_while(&home, goes).is_ok());
    }

    #[test]
    fn a_holder_that_never_shows_is_not_waited_for_without_end() {
        let (_dir, home, _file) = just_taken();
        assert!(matches!(take_while(&home, || false), Err(LockError::Held { .. })));
    }
}
