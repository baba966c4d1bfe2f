//! Those that make a copy of a cluster, or of the one database with all the data in it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::parent::{BRANCH, DATABASE};
use crate::account::run;
use crate::client::first_row;
use crate::cluster::Cluster;
use crate::contestants::Contestant;
use crate::home::Home;

pub(super) const BARE: &str = "cp -a --reflink, syncfs";
pub(super) const NAP: &str = "nap branch";
pub(super) const NAP_ROW: &str = "nap branch, to its first row";
pub(super) const COPY: &str = "cp -a, syncfs";
pub(super) const CREATEDB: &str = "createdb -T, of a server that is awake";
pub(super) const BASEBACKUP: &str = "pg_basebackup";

pub(super) struct NapBranch<'a> {
    pub(super) home: &'a Home,
    pub(super) to_first_row: bool,
}

impl Contestant for NapBranch<'_> {
    fn name(&self) -> &str {
        if self.to_first_row { NAP_ROW } else { NAP }
    }

    fn round(&mut self) -> Result<Duration> {
        let started = Instant::now();
        self.home.nap(&["branch", BRANCH])?;
        if self.to_first_row {
            first_row(&self.home.by_unix_socket_to(BRANCH))?;
        }
        let taken = started.elapsed();
        self.home.nap(&["rm", BRANCH, "--force"])?;
        Ok(taken)
    }
}

/// What the file system takes for it.
pub(super) struct Cp {
    pub(super) name: &'static str,
    pub(super) reflink: &'static str,
    pub(super) from: PathBuf,
    pub(super) to: PathBuf,
}

impl Contestant for Cp {
    fn name(&self) -> &str {
        self.name
    }

    fn round(&mut self) -> Result<Duration> {
        let started = Instant::now();
        let mut copy = Command::new("cp");
        run(copy.arg("-a").arg(format!("--reflink={}", self.reflink)).arg(&self.from).arg(&self.to))?;
        run(Command::new("sync").arg("-f").arg(&self.to))?;
        let taken = started.elapsed();
        remove(&self.to)?;
        Ok(taken)
    }
}

/// What the file system has left to do for it is not the next one's to wait for.
fn remove(copy: &Path) -> Result<()> {
    std::fs::remove_dir_all(copy)?;
    run(Command::new("sync").arg("-f").arg(copy.parent().context("a directory")?))?;
    Ok(())
}

/// A program of PostgreSQL's, turned to this server.
fn program(cluster: &Cluster, name: &str) -> Command {
    let mut command = cluster.account.command(cluster.bin.join(name));
    command.env("PGHOST", &cluster.sockets).env("PGPORT", cluster.port.to_string()).env("PGUSER", "postgres");
    command
}

pub(super) struct CreateDb<'a> {
    pub(super) cluster: &'a Cluster,
}

impl Contestant for CreateDb<'_> {
    fn name(&self) -> &str {
        CREATEDB
    }

    fn round(&mut self) -> Result<Duration> {
        let started = Instant::now();
        run(program(self.cluster, "createdb").args(["-T", DATABASE, BRANCH]))?;
        let taken = started.elapsed();
        run(program(self.cluster, "dropdb").arg(BRANCH))?;
        Ok(taken)
    }
}

pub(super) struct BaseBackup<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) to: PathBuf,
}

impl Contestant for BaseBackup<'_> {
    fn name(&self) -> &str {
        BASEBACKUP
    }

    fn round(&mut self) -> Result<Duration> {
        self.cluster.account.make_directory(&self.to)?;
        let started = Instant::now();
        run(program(self.cluster, "pg_basebackup").args(["-c", "fast", "-D"]).arg(&self.to))?;
        let taken = started.elapsed();
        remove(&self.to)?;
        Ok(taken)
    }
}
