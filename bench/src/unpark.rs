//! Parked sessions: how long their next query takes, and what thousands of them cost.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::Common;
use crate::account::Account;
use crate::client::{Session, Target, first_row};
use crate::cluster::Cluster;
use crate::contestants::{Bare, Contestant};
use crate::home::Home;
use crate::machine;
use crate::process::Process;
use crate::race::{median_ms, race};
use crate::report::{Figure, Results, Times, table, targets, write_section};

const ROUNDS: usize = 41;
const QUICK_ROUNDS: usize = 15;
/// With 20,000 open files, which is all that some machines give, the daemon takes 9,674 clients.
const SESSIONS: usize = 9_000;
const QUICK_SESSIONS: usize = 1_000;
/// So many are attached at once: each is a process of the server's.
const BATCH: usize = 50;
/// So many come back at once.
const CROWD: usize = 200;
/// How often what is quick is repeated.
const REPEATS: usize = 5;

/// More than the crowd, with those that rehearse.
const BACKENDS_MAX: usize = 500;

const BARE: &str = "bare postgres";
const ASLEEP: &str = "parked, its server asleep";
const NEW: &str = "a new TCP connection, SCRAM-SHA-256";
const AWAKE: &str = "parked, its server awake";
const CROWD_NEW: &str = "new TCP connections";
const CROWD_BACK: &str = "parked sessions";
/// No ping: those would be answered without a server.
const QUERY: &str = "select 2";

pub(crate) fn run(common: &Common) -> Result<()> {
    let rounds = common.rounds.unwrap_or(if common.quick { QUICK_ROUNDS } else { ROUNDS });
    let sessions = if common.quick { QUICK_SESSIONS } else { SESSIONS };
    let account = Account::of_servers()?;
    let places = SESSIONS * 2;
    let more = format!("max_connections = {places}\nmax_connections_per_branch = {places}\n");
    let home = Home::up_with(&common.nap, &common.base, account, &more)?;
    home.sleep()?;
    let mut settings = std::fs::File::options().append(true).open(home.data().join("postgresql.conf"))?;
    writeln!(settings, "max_connections = {BACKENDS_MAX}")?;
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

    let (kilobytes, crowds) = crowd(&home, &tcp, sessions)?;
    let figures = vec![
        Figure::new("asleep_vs_bare", median_ms(&asleep, ASLEEP)? / median_ms(&asleep, BARE)?).at_most(1.25),
        Figure::new("awake_vs_connect", median_ms(&awake, AWAKE)? / median_ms(&awake, NEW)?).at_most(1.0),
        Figure::new("kb_per_session", kilobytes).at_most(10.0),
        Figure::new("return_vs_connect", median_ms(&crowds, CROWD_BACK)? / median_ms(&crowds, CROWD_NEW)?).at_most(1.0),
    ];
    let section = format!(
        "{machine}; medians of {rounds} rounds in turn, {sessions} parked sessions.\n\n{}\n{}\n{}\n{}",
        table("asleep → row", &asleep),
        table("awake → row", &awake),
        table(&format!("{CROWD} at once → the last row"), &crowds),
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

fn park(home: &Home) -> Result<()> {
    let listed = home.nap(&["sessions", "main", "--park", "--json"])?;
    ensure!(!listed.contains("\"idle\""), "not parked: {listed}");
    Ok(())
}

/// Many sessions parked: kilobytes of the daemon's memory for each, and the times of some that come back at once.
fn crowd(home: &Home, tcp: &Target, sessions: usize) -> Result<(f64, Vec<(String, Times)>)> {
    let daemon = Process(home.daemon()?);
    let mut crowd = Vec::with_capacity(sessions);
    let grow = |crowd: &mut Vec<Session>, to: usize| -> Result<()> {
        while crowd.len() < to {
            for _ in 0..BATCH {
                let mut session = Session::begin(tcp)?;
                session.ask(QUERY)?;
                crowd.push(session);
            }
            park(home)?;
        }
        Ok(())
    };
    // What the first ones cost is not theirs alone.
    grow(&mut crowd, CROWD.max(BATCH * 2))?;
    let (before, begun) = (daemon.rss_mb()?, crowd.len());
    grow(&mut crowd, sessions)?;
    let kilobytes = (daemon.rss_mb()? - before) * 1024.0 / (crowd.len() - begun) as f64;

    let mut rows = vec![(CROWD_NEW.to_owned(), Times::default()), (CROWD_BACK.to_owned(), Times::default())];
    for round in 0..=REPEATS {
        let new = at_once((0..CROWD).map(|_| || first_row(tcp)).collect())?;
        let back = at_once(crowd.iter_mut().take(CROWD).map(|session| || session.ask(QUERY)).collect())?;
        park(home)?;
        for ((_, times), taken) in rows.iter_mut().zip([new, back]) {
            if round > 0 {
                times.add(taken);
            }
        }
    }
    Ok((kilobytes, rows))
}

/// From the first to the end of the last.
fn at_once<F: FnOnce() -> Result<()> + Send>(tasks: Vec<F>) -> Result<Duration> {
    let barrier = std::sync::Barrier::new(tasks.len() + 1);
    std::thread::scope(|scope| {
        let running: Vec<_> = tasks
            .into_iter()
            .map(|task| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    task()
                })
            })
            .collect();
        barrier.wait();
        let started = Instant::now();
        for task in running {
            task.join().ok().context("a client panicked")??;
        }
        Ok(started.elapsed())
    })
}
