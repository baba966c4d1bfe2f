//! For tests that read as stories: a home, a client, a fault.
//!
//! Black-box on purpose: it drives the `nap` program, PostgreSQL's own clients and processes, and imports no room
//! of the workspace. It fails by panicking, with what the program said: that is what a test wants.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "code of tests"
)]

mod bare;
mod bystander;
mod chaos;
mod client;
mod clock;
mod command;
mod crash;
mod debian;
mod disk;
mod faults;
mod home;
mod mirror;
mod ports;
mod postgres;
pub mod process;
mod raw;
mod reachable;
mod sandbox;
mod template;
pub mod walk;
mod way;

pub use bare::Bare;
pub use bystander::Bystander;
pub use chaos::Chaos;
pub use client::connect;
pub use clock::Clock;
pub use command::Output;
pub use crash::{Frozen, HeldStart, as_server_user, give_to_server_user};
pub use debian::Debian;
pub use disk::Disk;
pub use faults::{Faults, HeldPlace};
pub use home::{TestHome, TestHomeBuilder, place_of_homes};
pub use mirror::{Mirror, Reply};
pub use ports::PortPair;
pub use postgres::{Install, pg_majors};
pub use raw::{Raw, RawError};
pub use sandbox::Sandbox;
pub use walk::{Beside, Walk};
pub use way::Way;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a story waits for something that must happen. Far longer than anything takes on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Asks again and again until `look` gives something, and panics with `what` when it does not within [`DEADLINE`].
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    eventually_within(DEADLINE, what, look)
}

/// [`eventually`] with another deadline.
pub fn eventually_within<T>(deadline: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < deadline, "not within {deadline:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether the test runs as root: then servers and the daemon run as user `postgres`.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A Python with Django and psycopg. `None`: the inner loop has none, so the test is to return at once.
/// In a full run (`./test`) it is a failure not to have one.
pub fn python() -> Option<PathBuf> {
    let python = std::env::var_os("NAP_TEST_PYTHON").map(PathBuf::from);
    assert!(python.is_some() || !is_full_run(), "NAP_TEST_PYTHON must name a Python with Django and psycopg");
    python
}

/// Whether `./test` runs without `--fast`: then a test with a missing prerequisite fails, else it may be passed over.
pub fn is_full_run() -> bool {
    std::env::var_os("NAP_TEST_FULL").is_some()
}
