//! A pinned session of a server that dozes: how long its next query takes.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Common;
use crate::account::Account;
use crate::client::{Session, Target};
use crate::cluster::Cluster;
use crate::contestants::Contestant;
use crate::home::Home;
use crate::machine;
use crate::race::{median_ms, race};
use crate::report::{Figure, Results, table, targets, write_section};

const ROUNDS: usize = 201;
const QUICK_ROUNDS: usize = 51;

const AWAKE: &str = "its server awake";
const DOZING: &str = "its server dozing";

pub(crate) fn run(common: &Common) -> Result<()> {
    let rounds = common.rounds.unwrap_or(if common.quick { QUICK_ROUNDS } else { ROUNDS });
    let account = Account::of_servers()?;
    let home = Home::up(&common.nap, &common.base, account)?;
    let tcp = home.by_tcp()?;
    let machine = machine::line(&Cluster::running(account, &home.data(), home.wake()?)?);

    let mut contestants: Vec<Box<dyn Contestant>> = vec![
        Box::new(Pinned { name: AWAKE, home: &home, session: pinned(&tcp)?, dozing: false }),
        Box::new(Pinned { name: DOZING, home: &home, session: pinned(&tcp)?, dozing: true }),
    ];
    let rows = race(&mut contestants, rounds)?;
    drop(contestants);

    let (awake, dozing) = (median_ms(&rows, AWAKE)?, median_ms(&rows, DOZING)?);
    let figures = vec![Figure::new("thaw_ms", dozing).at_most(2.0), Figure::new("added_ms", dozing - awake)];
    let section = format!(
        "{machine}; medians of {rounds} rounds in turn.\n\n{}\n{}",
        table("`select 1` → row", &rows),
        targets(&figures)
    );
    println!("{section}");
    if let Some(file) = &common.write {
        write_section(file, "thaw", &section)?;
    }
    println!("{}", serde_json::to_string(&Results { bench: "thaw", results: figures })?);
    Ok(())
}

/// A session that cannot be parked.
fn pinned(target: &Target) -> Result<Session> {
    let mut session = Session::begin(target)?;
    session.ask("create temp table pin (number int); select 1")?;
    Ok(session)
}

struct Pinned<'a> {
    name: &'static str,
    home: &'a Home,
    session: Session,
    dozing: bool,
}

impl Contestant for Pinned<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn round(&mut self) -> Result<Duration> {
        self.home.nap(&[if self.dozing { "doze" } else { "wake" }, "main"])?;
        let started = Instant::now();
        self.session.ask("select 1")?;
        Ok(started.elapsed())
    }
}
