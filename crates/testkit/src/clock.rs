//! A clock of the daemon's own, by libfaketime.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// A clock that a test sets. It begins as the machine's.
#[derive(Debug)]
pub struct Clock {
    library: String,
    file: tempfile::TempPath,
    moves_deadlines: bool,
}

impl Clock {
    /// The wall clock jumps, and the clock of deadlines goes on as if nothing had happened. `None`: no libfaketime here,
    /// which in a full run is a failure.
    pub fn of_the_wall() -> Option<Self> {
        Self::new(false)
    }

    /// Both jump: as much time has passed.
    pub fn of_everything() -> Option<Self> {
        Self::new(true)
    }

    fn new(moves_deadlines: bool) -> Option<Self> {
        let libraries = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
        let library = libraries
            .iter()
            .map(|lib| format!("{lib}/faketime/libfaketimeMT.so.1"))
            .find(|lib| Path::new(lib).exists());
        assert!(library.is_some() || !crate::is_full_run(), "libfaketime is missing");
        let file = tempfile::Builder::new().prefix("nap-clock-").tempfile().expect("a file").into_temp_path();
        let clock = Self { library: library?, file, moves_deadlines };
        clock.says("+0");
        Some(clock)
    }

    /// From now on it differs from the machine's by so much (`+1d`, `-1d`, `+0`).
    pub fn says(&self, offset: &str) {
        let next: PathBuf = self.file.with_extension("next");
        std::fs::write(&next, offset).expect("write the clock");
        std::fs::set_permissions(&next, std::fs::Permissions::from_mode(0o644)).expect("set the mode");
        std::fs::rename(next, &self.file).expect("set the clock");
    }

    /// What makes a program go by it.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("LD_PRELOAD", self.library.clone()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ];
        if !self.moves_deadlines {
            variables
                .extend(["FAKETIME_DONT_FAKE_MONOTONIC", "DONT_FAKE_MONOTONIC"].map(|name| (name, "1".to_owned())));
        }
        variables
    }
}
