//! mitosis-db: clones of a template that it makes from a running server by `pg_basebackup`. A clone that can be had has a
//! server that runs already.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::parent::DATABASE;
use crate::account::{Account, run};
use crate::client::{Door, Target, first_row};
use crate::cluster::Cluster;
use crate::contestants::Contestant;
use crate::home::free_ports;

pub(super) const MITOSIS: &str = "mitosis clone, to its first row";

/// Its daemon, with the template. Ended when this is dropped.
pub(super) struct Mitosis {
    program: PathBuf,
    account: Account,
    home: PathBuf,
    port: u16,
}

impl Mitosis {
    /// Where `bench/run` says that it is.
    pub(super) fn program() -> Result<PathBuf> {
        let path = std::env::var_os("NAP_BENCH_MITOSIS").context("NAP_BENCH_MITOSIS says where mitosis is")?;
        Ok(path.into())
    }

    /// With what this server has.
    pub(super) fn with_template_of(server: &Cluster, place: &Path) -> Result<Self> {
        let home = place.join("mitosis");
        server.account.make_directory(&home)?;
        let mitosis = Self { program: Self::program()?, account: server.account, home, port: free_ports()? };
        let sockets = server.sockets.to_string_lossy().replace('/', "%2F");
        let url = format!("postgres://postgres@{sockets}:{}/{DATABASE}", server.port);
        run(mitosis.command().args(["template", "init", "--basebackup", &url]))?;
        Ok(mitosis)
    }

    fn command(&self) -> Command {
        let mut command = self.account.command(&self.program);
        command.env("MITOSIS_HOME", &self.home).env("HOME", &self.home);
        command.env("MITOSIS_ROUTER_PORT", self.port.to_string());
        command
    }
}

impl Contestant for Mitosis {
    fn name(&self) -> &str {
        MITOSIS
    }

    fn round(&mut self) -> Result<Duration> {
        let started = Instant::now();
        // Without this its servers run with fsync=off.
        let url = run(self.command().args(["clone", "--durable"]))?;
        let target = target(&url).with_context(|| format!("no role, password, port and database in {url}"))?;
        first_row(&target)?;
        let taken = started.elapsed();
        run(self.command().args(["destroy", &target.database]))?;
        Ok(taken)
    }
}

impl Drop for Mitosis {
    fn drop(&mut self) {
        if let Err(error) = run(self.command().args(["daemon", "stop"])) {
            eprintln!("mitosis daemon stop: {error:#}");
        }
    }
}

/// `postgres://ROLE:PASSWORD@127.0.0.1:PORT/CLONE`
fn target(url: &str) -> Option<Target> {
    let (login, place) = url.split_once("://")?.1.split_once('@')?;
    let (user, password) = login.split_once(':')?;
    let (address, database) = place.split_once('/')?;
    let port = address.rsplit_once(':')?.1.parse().ok()?;
    Some(Target {
        door: Door::Tcp(port),
        user: user.to_owned(),
        database: database.to_owned(),
        password: Some(password.to_owned()),
    })
}
