//! A thousand clients that listen: how soon the last of them hears a notification, and what they take, against as many
//! connections to a bare server.

use std::io::Write as _;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::Common;
use crate::account::Account;
use crate::client::{Session, Target};
use crate::cluster::Cluster;
use crate::contestants::{Bare, Contestant, ask_when_ready, end};
use crate::home::Home;
use crate::machine;
use crate::process::Process;
use crate::race::{median_ms, race};
use crate::report::{Figure, Results, table, targets, write_section};

const ROUNDS: usize = 41;
const QUICK_ROUNDS: usize = 15;
const LISTENERS: usize = 1_000;
const QUICK_LISTENERS: usize = 200;
/// So many are attached at once, before they are parked.
const BATCH: usize = 50;

const DIRECT: &str = "direct connections";
const PARKED: &str = "nap, parked sessions";

pub(crate) fn run(common: &Common) -> Result<()> {
    let rounds = common.rounds.unwrap_or(if common.quick { QUICK_ROUNDS } else { ROUNDS });
    let listeners = if common.quick { QUICK_LISTENERS } else { LISTENERS };
    let account = Account::of_servers()?;
    let places = LISTENERS * 2;
    let more = format!("max_connections = {places}\nmax_connections_per_branch = {places}\n");
    let home = Home::up_with(&common.nap, &common.base, account, &more)?;
    let running = Cluster::running(account, &home.data(), home.wake()?)?;
    home.sleep()?;
    let cluster = running.copy_to(&common.base.join("bare"))?;
    // Each of them wants a backend there. Behind `nap` one listens for all, and the default will do.
    let mut settings = std::fs::File::options().append(true).open(cluster.data.join("postgresql.conf"))?;
    writeln!(settings, "max_connections = {places}")?;
    let machine = machine::line(&running);
    let direct_target = cluster.target(cluster.socket());
    let bare = Running::start(cluster)?;

    let through = home.by_unix_socket();
    let mut parked = Vec::with_capacity(listeners);
    while parked.len() < listeners {
        for _ in 0..BATCH.min(listeners - parked.len()) {
            parked.push(listener(&through)?);
        }
        home.nap(&["sessions", "main", "--park"])?;
    }
    let direct = (0..listeners).map(|_| listener(&direct_target)).collect::<Result<Vec<_>>>()?;

    // As long as one says something its server stays awake.
    let mut contestants: Vec<Box<dyn Contestant>> = vec![
        Box::new(Crowd { name: DIRECT, notifier: Session::begin(&direct_target)?, listeners: direct }),
        Box::new(Crowd { name: PARKED, notifier: Session::begin(&through)?, listeners: parked }),
    ];
    let rows = race(&mut contestants, rounds)?;
    let server = Process(home.wake()?);
    let (nap_mb, bare_mb) = (
        Process(home.daemon()?).pss_mb()? + server.pss_mb_with_children()?,
        Process(i32::try_from(bare.0.id())?).pss_mb_with_children()?,
    );
    drop(contestants);
    drop(bare);

    let figures = vec![
        Figure::new("last_delivery_vs_direct", median_ms(&rows, PARKED)? / median_ms(&rows, DIRECT)?).at_most(0.2),
        Figure::new("memory_vs_direct", nap_mb / bare_mb).at_most(0.05),
        Figure::new("nap_mb", nap_mb),
        Figure::new("direct_mb", bare_mb),
    ];
    let section = format!(
        "{machine}; {listeners} listeners, medians of {rounds} rounds in turn.\n\n{}\n{}",
        table("one NOTIFY → the last has heard it", &rows),
        targets(&figures)
    );
    println!("{section}");
    if let Some(file) = &common.write {
        write_section(file, "listen", &section)?;
    }
    println!("{}", serde_json::to_string(&Results { bench: "listen", results: figures })?);
    Ok(())
}

/// A server without `nap`, shut down when this is dropped.
struct Running(Child);

impl Running {
    fn start(cluster: Cluster) -> Result<Self> {
        let bare = Bare { cluster };
        let (mut command, _notified) = bare.prepared()?;
        let mut server = Self(command.spawn()?);
        ask_when_ready(&bare.cluster, &mut server.0, Instant::now())?;
        Ok(server)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = end(&mut self.0, Signal::INT) {
            eprintln!("the server could not be ended: {error:#}");
        }
    }
}

fn listener(target: &Target) -> Result<Session> {
    let mut session = Session::begin(target)?;
    session.command("listen bench")?;
    Ok(session)
}

/// Clients that all listen, and one that notifies.
struct Crowd {
    name: &'static str,
    notifier: Session,
    listeners: Vec<Session>,
}

impl Contestant for Crowd {
    fn name(&self) -> &str {
        self.name
    }

    fn round(&mut self) -> Result<Duration> {
        let started = Instant::now();
        self.notifier.command("notify bench")?;
        for (number, listener) in self.listeners.iter_mut().enumerate() {
            listener.notification().with_context(|| format!("listener {number}"))?;
        }
        Ok(started.elapsed())
    }
}
