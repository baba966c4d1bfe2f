//! Which process listens on a TCP port. Linux only: elsewhere nobody is found.

use std::fs;

/// A process that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    /// Its number.
    pub(crate) pid: u32,
    /// Its name.
    pub(crate) name: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (PID {})", self.name, self.pid)
    }
}

/// The state of a listening socket in /proc/net/tcp.
const LISTEN: &str = "0A";

/// Who listens on this port, as far as we may look: root sees every process, others their own.
pub(crate) fn holder(port: u16) -> Option<Holder> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let inodes: Vec<&str> = tables.iter().flat_map(|table| inodes(table, port)).collect();
    if inodes.is_empty() {
        return None;
    }
    let wanted: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let processes = fs::read_dir("/proc").ok()?;
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids {
        let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        let holds = open
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .any(|target| wanted.iter().any(|wanted| target.as_os_str() == wanted.as_str()));
        if holds {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            return Some(Holder { pid, name: name.trim().to_owned() });
        }
    }
    None
}

/// The inodes of sockets that listen on this port, in the words of /proc/net/tcp.
fn inodes(table: &str, port: u16) -> Vec<&str> {
    let suffix = format!(":{port:04X}");
    let mut found = Vec::new();
    for line in table.lines().skip(1) {
        let mut fields = line.split_whitespace();
        let listens = fields.nth(1).is_some_and(|local| local.ends_with(&suffix)) && fields.nth(1) == Some(LISTEN);
        // Field 9, counted from the one after the state.
        found.extend(fields.nth(5).filter(|_| listens));
    }
    found
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn finds_ourselves() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(holder(port).unwrap().pid, std::process::id());
        drop(listener);
        assert_eq!(holder(port), None);
    }
}
