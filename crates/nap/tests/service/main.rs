//! The daemon under a service manager: sockets that are kept for it, what it tells, its unit files, and how all of it is
//! taken away again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

mod install;
mod manager;
mod notify;
mod restart;
mod sockets;
mod uninstall;
mod units;

use nap_testkit::TestHome;

fn home() -> TestHome {
    TestHome::new(env!("CARGO_BIN_EXE_nap"))
}
