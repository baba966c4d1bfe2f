//! Branches: how long one takes of a parent that sleeps, or that is in use, small or large, beside what makes a copy without
//! `nap`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::Common;
use crate::account::{Account, run};
use crate::client::first_row;
use crate::cluster::Cluster;
use crate::contestants::Contestant;
use crate::forward::ways::Server;
use crate::ground::Ground;
use crate::home::{Home, free_ports};
use crate::machine;
use crate::race::{median_ms, race};
use crate::report::{Figure, Results, Times, table, targets, write_section};

const ROUNDS: usize = 15;
const QUICK_ROUNDS: usize = 5;
/// Busy parents are branched so often.
const BUSY_ROUNDS: usize = 21;
const QUICK_BUSY_ROUNDS: usize = 7;
/// Parents: what they are called, and the scale of pgbench's tables in them (15 MB each).
const PARENTS: [(&str, &str); 3] = [("40 MB", "0"), ("1 GB", "65"), ("10 GB", "670")];

const BARE: &str = "cp -a --reflink, syncfs";
const NAP: &str = "nap branch";
const COPY: &str = "cp -a, syncfs";
const CREATEDB: &str = "createdb -T (one database)";
const BASEBACKUP: &str = "pg_basebackup";
/// Larger ones are not copied byte by byte in each round.
const COPIED_AT_MOST_SCALE: u32 = 100;

const BUSY_BRANCH: &str = "nap branch, parent under pgbench";
const BUSY_PAUSE: &str = "of it, the parent stood still";
const BUSY_ROW: &str = "then, to its first row";

/// What was found for one parent.
struct Found {
    size: &'static str,
    asleep: Vec<(String, Times)>,
    busy: Vec<(String, Times)>,
}

pub(crate) fn run_bench(common: &Common) -> Result<()> {
    let rounds = common.rounds.unwrap_or(if common.quick { QUICK_ROUNDS } else { ROUNDS });
    let busy_rounds = if common.quick { QUICK_BUSY_ROUNDS } else { BUSY_ROUNDS };
    let account = Account::of_servers()?;
    let ground = Ground::prepare(&common.base)?;
    let parents = PARENTS.get(..if common.quick { 2 } else { 3 }).unwrap_or(&PARENTS);
    let mut all = Vec::new();
    let mut line = String::new();
    for (size, scale) in parents {
        let place = ground.path().join(scale);
        std::fs::create_dir(&place)?;
        let parent = Parent::make(common, &place, account, scale)?;
        line = machine::line(&parent.cluster);
        all.push(Found { size, asleep: parent.asleep(rounds)?, busy: parent.busy(busy_rounds)? });
        drop(parent);
        std::fs::remove_dir_all(&place)?;
    }
    let figures = figures(&all)?;
    let tables: String = all.iter().map(Found::tables).collect();
    let section = format!(
        "{line}; medians of {rounds} rounds in turn, {busy_rounds} of busy parents.\n\n{tables}{}",
        targets(&figures)
    );
    println!("{section}");
    if let Some(file) = &common.write {
        write_section(file, "branch", &section)?;
    }
    println!("{}", serde_json::to_string(&Results { bench: "branch", results: figures })?);
    Ok(())
}

impl Found {
    fn tables(&self) -> String {
        let Self { size, asleep, busy } = self;
        format!(
            "{}\n{}\n",
            table(&format!("{size}, asleep → a copy of it"), asleep),
            table(&format!("{size}, in use → a branch of it"), busy)
        )
    }
}

fn figures(all: &[Found]) -> Result<Vec<Figure>> {
    let of = |found: &Found, name| median_ms(&found.asleep, name);
    let mut vs_bare = 0.0_f64;
    let mut best_peer = f64::INFINITY;
    let (mut pause, mut row) = (0.0_f64, 0.0_f64);
    for found in all {
        vs_bare = vs_bare.max(of(found, NAP)? / of(found, BARE)?);
        let peers = [COPY, CREATEDB, BASEBACKUP].iter().filter_map(|peer| of(found, peer).ok());
        best_peer = best_peer.min(peers.fold(f64::INFINITY, f64::min) / of(found, NAP)?);
        pause = pause.max(median_ms(&found.busy, BUSY_PAUSE)?);
        row = row.max(median_ms(&found.busy, BUSY_ROW)?);
    }
    let (smallest, largest) = (all.first().context("a parent")?, all.last().context("a parent")?);
    let by_size = of(largest, NAP)? / of(smallest, NAP)?;
    Ok(vec![
        Figure::new("asleep_vs_bare", vs_bare).at_most(3.0),
        Figure::new("busy_pause_ms", pause).at_most(100.0),
        Figure::new("busy_first_row_ms", row).at_most(400.0),
        // Of a quick run: 1 GB against 40 MB.
        Figure::new("size_10gb_vs_40mb", by_size).at_most(1.5),
        Figure::new("best_peer_vs_nap", best_peer).at_least(1.0),
    ])
}

/// A home, its branch main of this size, and the same cluster with a server of its own.
struct Parent {
    home: Home,
    cluster: Cluster,
    place: PathBuf,
    account: Account,
    is_copied: bool,
}

impl Parent {
    fn make(common: &Common, place: &Path, account: Account, scale: &str) -> Result<Self> {
        let home = Home::up(&common.nap, place, account)?;
        let cluster = Cluster::running(account, &home.data(), home.wake()?)?;
        let is_copied = scale.parse::<u32>()? <= COPIED_AT_MOST_SCALE;
        let parent = Self { home, cluster, place: place.to_owned(), account, is_copied };
        parent.psql("create database bench")?;
        if scale != "0" {
            run(parent.pgbench().args(["-iq", "-s", scale]))?;
        }
        parent.psql("vacuum (freeze, analyze)")?;
        parent.home.sleep()?;
        Ok(parent)
    }

    fn psql(&self, sql: &str) -> Result<String> {
        run(self.program("psql").args(["-Xqc", sql]).env("PGDATABASE", "postgres@main"))
    }

    fn pgbench(&self) -> Command {
        let mut pgbench = self.program("pgbench");
        pgbench.env("PGDATABASE", "bench@main");
        pgbench
    }

    /// Through the gateway.
    fn program(&self, name: &str) -> Command {
        let mut command = self.account.command(self.cluster.bin.join(name));
        command.env("PGHOST", self.home.sockets()).env("PGPORT", self.home.port().to_string());
        command.env("PGUSER", "postgres");
        command
    }

    fn asleep(&self, rounds: usize) -> Result<Vec<(String, Times)>> {
        // Before the contestants: they are dropped first.
        let server = if self.is_copied { Some(self.server()?) } else { None };
        let data = self.home.data();
        let target = self.place.join("copy");
        let by = |reflink: &'static str, name| -> Box<dyn Contestant> {
            Box::new(Cp { name, reflink, from: data.clone(), to: target.clone() })
        };
        let mut contestants = vec![by("always", BARE), Box::new(NapBranch { home: &self.home }) as Box<dyn Contestant>];
        if let Some(server) = &server {
            contestants.push(by("never", COPY));
            contestants.push(Box::new(CreateDb { cluster: &server.cluster }));
            contestants.push(Box::new(BaseBackup { cluster: &server.cluster, to: target.clone() }));
        }
        race(&mut contestants, rounds)
    }

    /// The same cluster, awake, with a server of its own.
    fn server(&self) -> Result<Server> {
        Server::start_plain(self.cluster.clone_to(&self.place.join("peer"))?, free_ports()?)
    }

    fn busy(&self, rounds: usize) -> Result<Vec<(String, Times)>> {
        let mut rows = [BUSY_BRANCH, BUSY_PAUSE, BUSY_ROW].map(|name| (name.to_owned(), Times::default()));
        run(self.pgbench().args(["-iq", "-s", "1"]).env("PGDATABASE", "postgres@main"))?;
        let load = Load(
            self.pgbench()
                .env("PGDATABASE", "postgres@main")
                .args(["-c", "4", "-T", "86400"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?,
        );
        std::thread::sleep(Duration::from_secs(2));
        for _ in 0..rounds {
            let started = Instant::now();
            let made: serde_json::Value = serde_json::from_str(&self.home.nap(&["--json", "branch", BRANCH])?)?;
            let branched = started.elapsed();
            let begun = Instant::now();
            first_row(&self.home.by_unix_socket_to(BRANCH))?;
            let times = [
                branched,
                Duration::from_micros(made.get("pause_us").and_then(serde_json::Value::as_u64).unwrap_or(0)),
                begun.elapsed(),
            ];
            rows.iter_mut().zip(times).for_each(|((_, row), time)| row.add(time));
            self.home.nap(&["rm", BRANCH, "--force"])?;
        }
        drop(load);
        Ok(rows.into())
    }
}

/// The name of the branches that come and go.
const BRANCH: &str = "b";

/// A pgbench that is ended when this is dropped.
struct Load(Child);

impl Drop for Load {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            eprintln!("pgbench could not be ended: {error}");
        }
    }
}

struct NapBranch<'a> {
    home: &'a Home,
}

impl Contestant for NapBranch<'_> {
    fn name(&self) -> &str {
        NAP
    }

    fn round(&mut self) -> Result<Duration> {
        let started = Instant::now();
        self.home.nap(&["branch", BRANCH])?;
        let taken = started.elapsed();
        self.home.nap(&["rm", BRANCH])?;
        Ok(taken)
    }
}

/// What the file system takes for it.
struct Cp {
    name: &'static str,
    reflink: &'static str,
    from: PathBuf,
    to: PathBuf,
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
        std::fs::remove_dir_all(&self.to)?;
        Ok(taken)
    }
}

struct CreateDb<'a> {
    cluster: &'a Cluster,
}

impl Contestant for CreateDb<'_> {
    fn name(&self) -> &str {
        CREATEDB
    }

    fn round(&mut self) -> Result<Duration> {
        let program = |name: &str| {
            let mut command = self.cluster.account.command(self.cluster.bin.join(name));
            command.env("PGHOST", &self.cluster.sockets).env("PGPORT", self.cluster.port.to_string());
            command.env("PGUSER", "postgres");
            command
        };
        let started = Instant::now();
        run(program("createdb").args(["-T", "bench", BRANCH]))?;
        let taken = started.elapsed();
        run(program("dropdb").arg(BRANCH))?;
        Ok(taken)
    }
}

struct BaseBackup<'a> {
    cluster: &'a Cluster,
    to: PathBuf,
}

impl Contestant for BaseBackup<'_> {
    fn name(&self) -> &str {
        BASEBACKUP
    }

    fn round(&mut self) -> Result<Duration> {
        let mut command = self.cluster.account.command(self.cluster.bin.join("pg_basebackup"));
        command.env("PGHOST", &self.cluster.sockets).env("PGPORT", self.cluster.port.to_string());
        command.env("PGUSER", "postgres").args(["-c", "fast", "-D"]).arg(&self.to);
        self.cluster.account.make_directory(&self.to)?;
        let started = Instant::now();
        run(&mut command)?;
        let taken = started.elapsed();
        std::fs::remove_dir_all(&self.to)?;
        Ok(taken)
    }
}
