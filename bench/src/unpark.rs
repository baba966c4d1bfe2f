//! A parked session: how long its next query takes.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::Common;
use crate::account::Account;
use crate::client::{Session, Target, first_row};
use crate::cluster::Cluster;
use crate::contestants::{Bare, Contestant};
use crate::home::Home;
use crate::machine;
use crate::race::{median_ms, race};
use crate::report::{Figure, Results, table, targets, write_section};

const ROUNDS: usize = 41;
const QUICK_ROUNDS: usize = 15;
const BARE: &str = "bare postgres";
const ASLEEP: &str = "parked, its server asleep";
const NEW: &str = "a new TCP connection, SCRAM-SHA-256";
const AWAKE: &str = "parked, its server awake";
/// No ping: those would be answered without a server.
pub(crate) const QUERY: &str = "select 2";

pub(crate) fn run(common: &Common) -> Result<()> {
    let rounds = common.rounds.unwrap_or(if common.quick { QUICK_ROUNDS } else { ROUNDS });
    let account = Account::of_servers()?;
    let home = Home::up(&common.nap, &common.base, account)?;
    let tcp = home.by_tcp()?;
    let running = Cluster::running(account, &home.data(), home.wake()?)?;
    home.sleep()?;
    let cluster = running.copy_to(&common.base.join("bare"))?;
    let machine = machine::line(&running);

    let session = || Session::begin(&tcp);
    let mut contestants: Vec<Box<dyn Contestant>> = vec![
        Box::new(Bare { cluster }),
        Box::new(Parked { name: ASLEEP, home: &home, session: session()?, asleep: true }),
    ];
    home.sleep()?;
    let asleep = race(&mut contestants, rounds)?;
    drop(contestants);
    home.wake()?;
    let mut contestants: Vec<Box<dyn Contestant>> = vec![
        Box::new(New { target: &tcp }),
        Box::new(Parked { name: AWAKE, home: &home, session: session()?, asleep: false }),
    ];
    let awake = race(&mut contestants, rounds)?;
    drop(contestants);

    let figures = vec![
        Figure::new("asleep_vs_bare", median_ms(&asleep, ASLEEP)? / median_ms(&asleep, BARE)?).at_most(1.25),
        Figure::new("awake_vs_connect", median_ms(&awake, AWAKE)? / median_ms(&awake, NEW)?).at_most(1.0),
    ];
    let section = format!(
        "{machine}; medians of {rounds} rounds in turn.\n\n{}\n{}\n{}",
        table("asleep → row", &asleep),
        table("awake → row", &awake),
        targets(&figures)
    );
    println!("{section}");
    if let Some(file) = &common.write {
        write_section(file, "unpark", &section)?;
    }
    println!("{}", serde_json::to_string(&Results { bench: "unpark", results: figures })?);
    Ok(())
}

/// A session that stays.
struct Parked<'a> {
    name: &'static str,
    home: &'a Home,
    session: Session,
    asleep: bool,
}

impl Contestant for Parked<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn round(&mut self) -> Result<Duration> {
        if self.asleep {
            self.home.sleep()?;
        } else {
            park(self.home)?;
        }
        let started = Instant::now();
        self.session.ask(QUERY)?;
        let taken = started.elapsed();
        if self.asleep {
            self.home.sleep()?;
        }
        Ok(taken)
    }
}

/// A session that is begun anew each time.
struct New<'a> {
    target: &'a Target,
}

impl Contestant for New<'_> {
    fn name(&self) -> &str {
        NEW
    }

    fn round(&mut self) -> Result<Duration> {
        let started = Instant::now();
        first_row(self.target)?;
        Ok(started.elapsed())
    }
}

/// All sessions that can be.
pub(crate) fn park(home: &Home) -> Result<()> {
    let listed = home.nap(&["sessions", "main", "--park", "--json"])?;
    ensure!(!listed.contains("\"idle\""), "not parked: {listed}");
    Ok(())
}
