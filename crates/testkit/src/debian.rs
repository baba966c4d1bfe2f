//! A cluster of Debian's own, as a machine has it on which PostgreSQL was installed by its package.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::Output;
use crate::is_root;

const FIRST_PORT: u16 = 5432;

/// A cluster of pg_createcluster's, dropped at the end.
#[derive(Debug)]
pub struct Debian {
    major: String,
    name: String,
}

impl Debian {
    fn newest() -> Option<String> {
        if !is_root() || !Path::new("/usr/bin/pg_createcluster").exists() {
            return None;
        }
        let majors = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
        majors.filter_map(|entry| entry.file_name().into_string().ok()).max()
    }

    /// Made, and not started. `None`: not root, or no Debian.
    pub fn create(arguments: &[&str]) -> Option<Self> {
        let (major, name) = (Self::newest()?, format!("naptest{}", std::process::id()));
        let mut command = Command::new("pg_createcluster");
        Output::of(command.args([&major, &name]).args(arguments)).ok();
        Some(Self { major, name })
    }

    /// Started, on port 5432; or, where that is somebody's already, beside that one, which is then the foreign server:
    /// whether it is so.
    pub fn on_the_first_port() -> Option<(Self, bool)> {
        let theirs = is_taken(FIRST_PORT);
        let arguments: &[&str] = if theirs { &[] } else { &["-p", "5432"] };
        let debian = Self::create(arguments)?;
        debian.start().ok();
        Some((debian, theirs))
    }

    /// What `cluster_name` says in it.
    pub fn cluster(&self) -> String {
        format!("{}/{}", self.major, self.name)
    }

    /// Starts it.
    pub fn start(&self) -> Output {
        Output::of(Command::new("pg_ctlcluster").args([&self.major, &self.name, "start"]))
    }

    /// Stops it.
    pub fn stop(&self) -> Output {
        Output::of(Command::new("pg_ctlcluster").args([&self.major, &self.name, "stop"]))
    }

    /// Its major version.
    pub fn major(&self) -> &str {
        &self.major
    }

    /// `psql` as its owner, by its socket.
    pub fn psql(&self, sql: &str) -> Output {
        let mut psql = crate::as_server_user("/usr/bin/psql");
        Output::of(psql.args(["--cluster", &self.cluster(), "-XqAt", "-d", "postgres", "-c", sql]))
    }

    /// Where its configuration is.
    pub fn conf_directory(&self) -> PathBuf {
        Path::new("/etc/postgresql").join(&self.major).join(&self.name)
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        Path::new("/var/lib/postgresql").join(&self.major).join(&self.name)
    }

    /// The pid of its postmaster.
    pub fn pid(&self) -> String {
        let text = std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        text.lines().next().unwrap().to_owned()
    }

    /// The configuration, and what data a server at rest does not write.
    pub fn files(&self) -> BTreeMap<PathBuf, (u64, i64, u32)> {
        let conf = self.conf_directory();
        let mut found = BTreeMap::new();
        let mut directories = vec![conf, self.data().join("global"), self.data().join("base/1")];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap().flatten() {
                let facts = entry.metadata().unwrap();
                if facts.is_file() && entry.file_name() != "pg_internal.init" && entry.file_name() != "pg_control" {
                    found.insert(entry.path(), (facts.size(), facts.mtime(), facts.uid()));
                }
            }
        }
        found
    }
}

impl Drop for Debian {
    fn drop(&mut self) {
        let _ = Command::new("pg_dropcluster").args(["--stop", &self.major, &self.name]).output();
    }
}

fn is_taken(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
        || std::os::unix::net::UnixStream::connect(format!("/var/run/postgresql/.s.PGSQL.{port}")).is_ok()
}
