//! Thousands of parked sessions: what they cost, and how some hundred come back at once.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::Common;
use crate::account::Account;
use crate::client::{Session, Target, first_row};
use crate::cluster::Cluster;
use crate::home::Home;
use crate::machine;
use crate::process::Process;
use crate::race::median_ms;
use crate::report::{Figure, Results, Times, table, targets, write_section};
use crate::unpark::{QUERY, park};

/// As far as the limit of open files allows it.
const SESSIONS: usize = 10_000;
/// The daemon counts on a backend for each, and keeps some for itself.
const DESCRIPTORS_EACH: u64 = 2;
const DESCRIPTORS_BESIDE: u64 = 1_000;
const QUICK_SESSIONS: usize = 1_000;
/// So many are attached at once: each is a process of the server's.
const BATCH: usize = 50;
/// So many come back at once.
const CROWD: usize = 200;
/// How often that is repeated.
const REPEATS: usize = 5;
/// More than the crowd, with those that rehearse.
const BACKENDS_MAX: usize = 500;

const CROWD_NEW: &str = "new TCP connections";
const CROWD_BACK: &str = "parked sessions";

pub(crate) fn run(common: &Common) -> Result<()> {
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let most = usize::try_from(descriptors.saturating_sub(DESCRIPTORS_BESIDE) / DESCRIPTORS_EACH)?;
    let sessions = if common.quick { QUICK_SESSIONS } else { SESSIONS.min(most / BATCH * BATCH) };
    let repeats = common.rounds.unwrap_or(REPEATS);
    let account = Account::of_servers()?;
    let places = SESSIONS * 2;
    let more = format!("max_connections = {places}\nmax_connections_per_branch = {places}\n");
    let home = Home::up_with(&common.nap, &common.base, account, &more)?;
    home.sleep()?;
    let mut settings = std::fs::File::options().append(true).open(home.data().join("postgresql.conf"))?;
    writeln!(settings, "max_connections = {BACKENDS_MAX}")?;
    let tcp = home.by_tcp()?;
    let running = Cluster::running(account, &home.data(), home.wake()?)?;
    let Crowds { kilobytes, backends, rows } = crowd(&home, &tcp, (sessions, repeats))?;
    let figures = vec![
        Figure::new("kb_per_session", kilobytes).at_most(10.0),
        Figure::new("backends", backends).at_most(0.0),
        Figure::new("return_vs_connect", median_ms(&rows, CROWD_BACK)? / median_ms(&rows, CROWD_NEW)?).at_most(1.0),
    ];
    let section = format!(
        "{}; {sessions} parked sessions, medians of {repeats} rounds in turn.\n\n{}\n{}",
        machine::line(&running),
        table(&format!("{CROWD} at once → the last row"), &rows),
        targets(&figures)
    );
    println!("{section}");
    if let Some(file) = &common.write {
        write_section(file, "parked", &section)?;
    }
    println!("{}", serde_json::to_string(&Results { bench: "parked", results: figures })?);
    Ok(())
}

struct Crowds {
    /// Of the daemon's memory, for each.
    kilobytes: f64,
    /// How many client backends the server has when all are parked.
    backends: f64,
    rows: Vec<(String, Times)>,
}

fn crowd(home: &Home, tcp: &Target, (sessions, repeats): (usize, usize)) -> Result<Crowds> {
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

    let backends = "select count(*) from pg_stat_activity where backend_type = 'client backend' and application_name <> 'nap' and pid <> pg_backend_pid()";
    let backends = Session::begin(tcp)?.number(backends)?;

    let mut rows = vec![(CROWD_NEW.to_owned(), Times::default()), (CROWD_BACK.to_owned(), Times::default())];
    for round in 0..=repeats {
        let new = at_once((0..CROWD).map(|_| || first_row(tcp)).collect())?;
        let back = at_once(crowd.iter_mut().take(CROWD).map(|session| || session.ask(QUERY)).collect())?;
        park(home)?;
        for ((_, times), taken) in rows.iter_mut().zip([new, back]) {
            if round > 0 {
                times.add(taken);
            }
        }
    }
    Ok(Crowds { kilobytes, backends, rows })
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
