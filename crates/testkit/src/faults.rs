//! Places in the daemon's work (see the crate `fault`): where it is to die, or to wait until something else has happened.

use std::path::PathBuf;

use crate::home::TestHome;
use crate::{DEADLINE, eventually, eventually_within};

/// The orders that a test gives. The home was built with [`TestHomeBuilder::faults`](crate::TestHomeBuilder::faults).
#[derive(Debug, Clone)]
pub struct Faults {
    directory: PathBuf,
}

/// A place that the daemon has come to, and does not leave before this is dropped.
#[derive(Debug)]
pub struct HeldPlace {
    held: PathBuf,
}

impl TestHome {
    /// Where orders for its daemon are given.
    pub fn faults(&self) -> Faults {
        Faults { directory: self.beside().join("faults") }
    }
}

impl Faults {
    /// Begins to write down the places that are visited.
    pub fn record(&self) {
        // The daemon's user appends to it.
        let path = self.directory.join("visited");
        std::fs::write(&path, "").expect("a record of places");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("a mode");
    }

    /// Ends that: the places, in the order of their first visits, and how often each was visited.
    pub fn recorded(&self) -> Vec<(String, u32)> {
        let path = self.directory.join("visited");
        let text = std::fs::read_to_string(&path).expect("a record of places");
        std::fs::remove_file(&path).expect("the record goes");
        let mut places: Vec<(String, u32)> = Vec::new();
        for line in text.lines() {
            match places.iter_mut().find(|(place, _)| place == line) {
                Some((_, visits)) => *visits += 1,
                None => places.push((line.to_owned(), 1)),
            }
        }
        assert!(!places.is_empty(), "no place was visited: is this a release build?");
        places
    }

    /// The daemon is to die by SIGKILL at this visit of this place.
    pub fn die_at(&self, place: &str, visit: u32) {
        self.order(place, "die", &visit.to_string());
    }

    /// Whether it still is to.
    pub fn is_to_die(&self, place: &str) -> bool {
        self.path(place, "die").exists()
    }

    /// The daemon is to wait when it comes to this place.
    pub fn hold_at(&self, place: &str) {
        self.order(place, "hold", "");
    }

    /// It has come to a place where it is to wait.
    #[track_caller]
    pub fn wait_held(&self, place: &str) -> HeldPlace {
        let held = HeldPlace { held: self.path(place, "held") };
        eventually(&format!("the daemon comes to: {place}"), || held.held.exists().then_some(()));
        held
    }

    /// Takes an order back. Whether it was still to be followed.
    pub fn take_back(&self, place: &str) -> bool {
        std::fs::remove_file(self.path(place, "hold")).is_ok()
    }

    /// The daemon has died where it was to.
    #[track_caller]
    pub fn wait_dead(&self, home: &TestHome, place: &str) {
        eventually_within(DEADLINE, &format!("the daemon dies at: {place}"), || {
            (!self.is_to_die(place) && home.daemon_process().is_none()).then_some(())
        });
    }

    fn order(&self, place: &str, kind: &str, text: &str) {
        let path = self.path(place, kind);
        // Whole or not there for who looks.
        let staged = self.directory.join("order");
        std::fs::write(&staged, text).expect("an order");
        std::fs::set_permissions(&staged, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("a mode");
        std::fs::rename(&staged, path).expect("an order");
    }

    fn path(&self, place: &str, kind: &str) -> PathBuf {
        self.directory.join(format!("{place}.{kind}"))
    }
}

impl Drop for HeldPlace {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.held);
    }
}
