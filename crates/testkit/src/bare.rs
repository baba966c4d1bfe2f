//! A PostgreSQL without Napgres, to compare with.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::command::Output;
use crate::crash::{as_server_user, give_to_server_user};
use crate::home::place_of_homes;
use crate::ports::PortPair;
use crate::postgres::Install;
use crate::{eventually, process};

/// A cluster with a server of its own, on TCP and on a Unix socket. Dropping it ends it.
#[derive(Debug)]
pub struct Bare {
    base: tempfile::TempDir,
    ports: PortPair,
    install: Install,
    server: Child,
}

impl Bare {
    /// Starts one that lets everybody in, with these settings (`name=value`) besides.
    pub fn start(install: &Install, settings: &[&str]) -> Self {
        let base = tempfile::Builder::new().prefix("pg-").tempdir_in(place_of_homes());
        let base = base.expect("a temporary directory");
        std::fs::set_permissions(base.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
        give_to_server_user(base.path());
        let data = base.path().join("data");
        let mut initdb = as_server_user(install.program("initdb"));
        initdb.args(["--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "-D"]);
        Output::of(initdb.arg(&data)).ok();
        let ports = PortPair::free();
        let mut postgres = as_server_user(install.program("postgres"));
        postgres.arg("-D").arg(&data).arg("-k").arg(base.path()).args(["-p", &ports.port.to_string(), "-F"]);
        for setting in settings {
            postgres.args(["-c", setting]);
        }
        let log = std::fs::File::create(base.path().join("log")).expect("a log");
        let server = postgres.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("postgres");
        let bare = Self { base, ports, install: install.clone(), server };
        eventually("PostgreSQL answers", || bare.psql("select 1").succeeded().then_some(()));
        bare
    }

    /// Its TCP port.
    pub fn port(&self) -> u16 {
        self.ports.port
    }

    /// Where its socket is, and files beside the data directory.
    pub fn directory(&self) -> &Path {
        self.base.path()
    }

    /// A file in its data directory.
    pub fn data(&self, name: &str) -> PathBuf {
        self.base.path().join("data").join(name)
    }

    /// `psql` as its superuser.
    pub fn psql(&self, sql: &str) -> Output {
        let mut psql = Command::new(self.install.program("psql"));
        crate::home::forget_environment(&mut psql);
        psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "postgres", "-h"]).arg(self.base.path());
        Output::of(psql.args(["-p", &self.ports.port.to_string(), "-c", sql]).current_dir("/"))
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // It is setpriv's process, or became postgres: either way what we spawned.
        process::kill9(self.server.id() as i32);
        let _ = self.server.wait();
        for pid in process::below(self.base.path()) {
            process::kill9(pid);
        }
    }
}
