//! A parent: a home whose branch main has so much data, as it was loaded or aged by branches with writes between them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::committer::Committer;
use super::mitosis::Mitosis;
use super::peers::{BARE, BaseBackup, COPY, Cp, CreateDb, NapBranch};
use crate::Common;
use crate::account::{Account, run};
use crate::client::{Target, first_row};
use crate::cluster::Cluster;
use crate::contestants::Contestant;
use crate::forward::ways::Server;
use crate::ground::Ground;
use crate::home::{Home, free_ports};
use crate::race::race;
use crate::report::Times;

/// The name of the branches that come and go.
pub(super) const BRANCH: &str = "b";
/// The database with all the data.
pub(super) const DATABASE: &str = "bench";

/// Larger ones are not copied byte by byte in each round.
const COPIED_AT_MOST_SCALE: u32 = 100;
/// So many branches of it stay, with writes between them …
const AGES: usize = 20;
/// … of so many rows, one to a page.
const UPDATES_AT_MOST: u32 = 20_000;
const UPDATES_PER_SCALE: u32 = 1_000;
/// How often what a nap or a branch costs the disk is measured.
const DISK_ROUNDS: usize = 5;

pub(super) const BUSY_BRANCH: &str = "nap branch, parent under pgbench";
pub(super) const BUSY_PAUSE: &str = "of it, the parent stood still";
pub(super) const BUSY_COMMIT: &str = "the longest commit meanwhile";
pub(super) const BUSY_ROW: &str = "then, to its first row";

/// A home, its branch main of this size, and the same cluster with a server of its own.
pub(super) struct Parent {
    home: Home,
    pub(super) cluster: Cluster,
    place: PathBuf,
    account: Account,
    scale: u32,
}

impl Parent {
    pub(super) fn make(common: &Common, place: &Path, account: Account, scale: u32) -> Result<Self> {
        let home = Home::up(&common.nap, place, account)?;
        let cluster = Cluster::running(account, &home.data(), home.wake()?)?;
        let parent = Self { home, cluster, place: place.to_owned(), account, scale };
        run(parent.program("psql").args(["-Xqc", "create database bench"]).env("PGDATABASE", "postgres@main"))?;
        run(parent.program("pgbench").args(["-iq", "-s", &scale.to_string()]))?;
        parent.psql("vacuum (freeze, analyze)")?;
        parent.home.sleep()?;
        Ok(parent)
    }

    fn psql(&self, sql: &str) -> Result<String> {
        run(self.program("psql").args(["-Xqc", sql]))
    }

    /// One of PostgreSQL's, through the gateway.
    fn program(&self, name: &str) -> Command {
        let mut command = self.account.command(self.cluster.bin.join(name));
        command.env("PGHOST", self.home.sockets()).env("PGPORT", self.home.port().to_string());
        command.env("PGUSER", "postgres").env("PGDATABASE", format!("{DATABASE}@main"));
        command
    }

    fn target(&self) -> Target {
        Target { database: format!("{DATABASE}@main"), ..self.home.by_unix_socket() }
    }

    /// Branches that stay, and random writes after each.
    pub(super) fn age(&self) -> Result<()> {
        let script = self.place.join("updates");
        std::fs::write(
            &script,
            "\\set aid random(1, 100000 * :scale)\nset synchronous_commit = off \\; update pgbench_accounts set abalance = abalance + 1 where aid = :aid;\n",
        )?;
        self.account.own(&script)?;
        let updates = (self.scale * UPDATES_PER_SCALE).min(UPDATES_AT_MOST) / 2;
        for number in 0..AGES {
            self.home.nap(&["branch", &format!("{BRANCH}{number}")])?;
            let mut pgbench = self.program("pgbench");
            pgbench.args(["-n", "-c", "2", "-t", &updates.to_string(), "-s", &self.scale.to_string(), "-f"]);
            run(pgbench.arg(&script))?;
            self.psql("checkpoint")?;
            self.home.sleep()?;
        }
        Ok(())
    }

    /// `nap branch` and what the file system takes; and with `peers`, those that copy.
    pub(super) fn asleep(&self, rounds: usize, peers: bool) -> Result<Vec<(String, Times)>> {
        // Before the contestants: they are dropped first.
        let server = if peers { Some(self.server()?) } else { None };
        let data = self.home.data();
        let target = self.place.join("copy");
        let by = |reflink: &'static str, name| -> Box<dyn Contestant> {
            Box::new(Cp { name, reflink, from: data.clone(), to: target.clone() })
        };
        let nap = |to_first_row| -> Box<dyn Contestant> { Box::new(NapBranch { home: &self.home, to_first_row }) };
        let mut contestants = vec![by("always", BARE), nap(false), nap(true)];
        if let Some(server) = &server {
            contestants.push(Box::new(Mitosis::with_template_of(&server.cluster, &self.place)?));
            if self.scale <= COPIED_AT_MOST_SCALE {
                contestants.push(by("never", COPY));
                contestants.push(Box::new(CreateDb { cluster: &server.cluster }));
                contestants.push(Box::new(BaseBackup { cluster: &server.cluster, to: target.clone() }));
            }
        }
        race(&mut contestants, rounds)
    }

    /// The same cluster, awake, with a server of its own.
    fn server(&self) -> Result<Server> {
        Server::start_plain(self.cluster.clone_to(&self.place.join("peer"))?, free_ports()?)
    }

    pub(super) fn busy(&self, rounds: usize) -> Result<Vec<(String, Times)>> {
        let mut rows = [BUSY_BRANCH, BUSY_PAUSE, BUSY_COMMIT, BUSY_ROW].map(|name| (name.to_owned(), Times::default()));
        let load = Load(
            self.program("pgbench")
                .args(["-n", "-c", "4", "-T", "86400"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?,
        );
        let committer = Committer::begin(&self.target())?;
        std::thread::sleep(Duration::from_secs(2));
        for _ in 0..rounds {
            let started = Instant::now();
            let made: serde_json::Value = serde_json::from_str(&self.home.nap(&["--json", "branch", BRANCH])?)?;
            let ended = Instant::now();
            first_row(&self.home.by_unix_socket_to(BRANCH))?;
            let times = [
                ended - started,
                Duration::from_micros(made.get("pause_us").and_then(serde_json::Value::as_u64).context("a pause")?),
                committer.longest(started, ended),
                ended.elapsed(),
            ];
            rows.iter_mut().zip(times).for_each(|((_, row), time)| row.add(time));
            self.home.nap(&["rm", BRANCH, "--force"])?;
        }
        drop((load, committer));
        Ok(rows.into())
    }

    /// What a branch takes of the disk before anything is written to it, in bytes. The median.
    pub(super) fn extra_disk_bytes(&self, ground: &Ground) -> Result<u64> {
        let mut found = Vec::new();
        for _ in 0..DISK_ROUNDS {
            let before = ground.used_bytes()?;
            self.home.nap(&["branch", BRANCH])?;
            found.push(ground.used_bytes()?.saturating_sub(before));
            self.home.nap(&["rm", BRANCH, "--force"])?;
            // Its bytes are deleted after it has gone.
            let trash = self.home.trash();
            while std::fs::read_dir(&trash)?.next().is_some() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        found.sort_unstable();
        found.get(DISK_ROUNDS / 2).copied().context("a median")
    }

    /// What is written from one sleep to the next, in which a client has asked for a row; none where that cannot be seen.
    pub(super) fn nap_writes_bytes(&self, ground: &Ground) -> Result<Option<u64>> {
        let mut found = Vec::new();
        for _ in 0..DISK_ROUNDS {
            let Some(before) = ground.written_bytes()? else { return Ok(None) };
            first_row(&self.target())?;
            self.home.sleep()?;
            let Some(after) = ground.written_bytes()? else { return Ok(None) };
            found.push(after - before);
        }
        found.sort_unstable();
        Ok(found.get(DISK_ROUNDS / 2).copied())
    }
}

/// A pgbench that is ended when this is dropped.
struct Load(Child);

impl Drop for Load {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            eprintln!("pgbench could not be ended: {error}");
        }
    }
}
