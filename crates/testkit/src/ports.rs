//! Ports that no other test takes meanwhile.

use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};

/// Below the kernel's ephemeral range (from 32768), so that no client's own socket sits on one.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Two ports in a row: the daemon's and its read-only door. Other tests stay away from them while this lives.
#[derive(Debug)]
pub struct PortPair {
    /// The lower one.
    pub port: u16,
    _lock: File,
}

impl PortPair {
    /// A pair that nobody listens on.
    pub fn free() -> Self {
        let directory = std::env::temp_dir().join("nap-test-ports");
        if std::fs::create_dir(&directory).is_ok() {
            // Tests of several users may run on one machine.
            std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o1777)).expect("a mode");
        }
        let steps = (PORTS.end - PORTS.start) / 2;
        for _ in 0..1_000 {
            let port = PORTS.start + 2 * (rand::random::<u16>() % steps);
            let path = directory.join(port.to_string());
            let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o666).open(path);
            let Ok(lock) = opened else { continue };
            if lock.try_lock().is_ok() && is_free(port) && is_free(port + 1) {
                return Self { port, _lock: lock };
            }
        }
        panic!("no free pair of ports in {PORTS:?}")
    }
}

fn is_free(port: u16) -> bool {
    // A machine without IPv6 cannot bind ::1 at all; then nobody else holds it either.
    let v6 = TcpListener::bind(("::1", port));
    let v6_taken = v6.is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse);
    !v6_taken && TcpListener::bind(("127.0.0.1", port)).is_ok()
}
