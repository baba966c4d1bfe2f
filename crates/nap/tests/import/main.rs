//! Clusters and databases that come from elsewhere, and go there.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods, reason = "a test")]

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nap_testkit::{Install, Output, PortPair, TestHome, as_server_user, give_to_server_user, place_of_homes};

mod debian;
mod directory;
mod export;
mod full;
mod killed;
mod steps;
mod tablespaces;
mod url;

fn home() -> TestHome {
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_after", "\"10min\"").build();
    home.up();
    home
}

/// A cluster that Napgres knows nothing of. Its superuser is called boss.
struct Cluster {
    base: tempfile::TempDir,
    install: Install,
    port: PortPair,
}

impl Cluster {
    fn new(install: &Install) -> Self {
        Self::below(install, &place_of_homes())
    }

    fn below(install: &Install, parent: &Path) -> Self {
        let base = tempfile::Builder::new().prefix("pg-").tempdir_in(parent).unwrap();
        std::fs::set_permissions(base.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        give_to_server_user(base.path());
        let cluster = Self { base, install: install.clone(), port: PortPair::free() };
        let mut initdb = as_server_user(install.program("initdb"));
        initdb.args(["-U", "boss", "--auth=trust", "--no-sync", "--locale=C", "-E", "UTF8", "-D"]);
        Output::of(initdb.arg(cluster.data())).ok();
        cluster
    }

    fn data(&self) -> PathBuf {
        self.base.path().join("data")
    }

    fn port(&self) -> u16 {
        self.port.port
    }

    fn append(&self, file: &str, text: &str) {
        use std::io::Write as _;
        let path = self.data().join(file);
        std::fs::OpenOptions::new().append(true).create(true).open(&path).unwrap().write_all(text.as_bytes()).unwrap();
        give_to_server_user(&path);
    }

    fn start(&self) -> &Self {
        start(&self.install, &self.data(), self.base.path(), self.port()).ok();
        self
    }

    fn stop(&self, mode: &str) {
        stop(&self.install, &self.data(), mode).ok();
    }

    fn psql(&self, sql: &str) -> Output {
        psql_at(&self.install, self.base.path(), self.port(), "boss", sql)
    }

    /// All its files: what is in them, who owns them, when they were written.
    fn digest(&self) -> BTreeMap<PathBuf, (u64, i64, u32, u32)> {
        digest(&self.data())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = stop(&self.install, &self.data(), "immediate");
    }
}

/// A stock server with its own configuration but for the places of its sockets.
fn start(install: &Install, data: &Path, sockets: &Path, port: u16) -> Output {
    let mut pg_ctl = as_server_user(install.program("pg_ctl"));
    let options = format!("-k {} -p {port}", sockets.display());
    pg_ctl.args(["-w", "-s", "-o", &options, "-l"]).arg(sockets.join("log")).arg("-D").arg(data).arg("start");
    Output::of(&mut pg_ctl)
}

fn stop(install: &Install, data: &Path, mode: &str) -> Output {
    let mut pg_ctl = as_server_user(install.program("pg_ctl"));
    Output::of(pg_ctl.args(["-w", "-s", "-m", mode, "-D"]).arg(data).arg("stop"))
}

fn psql_at(install: &Install, sockets: &Path, port: u16, role: &str, sql: &str) -> Output {
    let mut psql = Command::new(install.program("psql"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
        psql.env_remove(name);
    }
    psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-U", role, "-h"]).arg(sockets);
    Output::of(psql.args(["-p", &port.to_string(), "-c", sql]).current_dir("/"))
}

fn digest(root: &Path) -> BTreeMap<PathBuf, (u64, i64, u32, u32)> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let facts = entry.metadata().unwrap();
            let mut hasher = DefaultHasher::new();
            if facts.is_dir() {
                dirs.push(entry.path());
            } else if facts.is_file() {
                std::fs::read(entry.path()).unwrap().hash(&mut hasher);
            }
            found.insert(entry.path(), (hasher.finish(), facts.mtime(), facts.uid(), facts.mode()));
        }
    }
    found
}

/// As a role that its own rules let in.
fn as_role(home: &TestHome, role: &str, target: &str, sql: &str) -> Output {
    home.psql_with(&format!("host=127.0.0.1 port={} user={role} dbname={target}", home.port()), sql)
}

/// Nothing is left of what came to nothing.
fn nothing_is_left(home: &TestHome, name: &str) {
    assert!(home.branch(name).is_none());
    nap_testkit::eventually("staging is empty", || {
        (std::fs::read_dir(home.path().join("staging")).unwrap().count() == 0).then_some(())
    });
}
