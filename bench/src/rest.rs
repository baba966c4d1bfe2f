//! What a thousand sleeping branches cost: memory, processor time, and the time to wake one of them.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Common;
use crate::account::Account;
use crate::cluster::Cluster;
use crate::contestants::{Contestant, Nap};
use crate::ground::{Ground, XFS};
use crate::home::Home;
use crate::machine;
use crate::process::Process;
use crate::race::{median_ms, race};
use crate::report::{Figure, Results, Times, table, targets, write_section};

const BRANCHES: usize = 1_000;
const QUICK_BRANCHES: usize = 200;
/// How long nothing is done but to see whether the daemon does nothing.
const REST: Duration = Duration::from_secs(60);
const QUICK_REST: Duration = Duration::from_secs(15);
const ROUNDS: usize = 41;
const QUICK_ROUNDS: usize = 15;
/// How often what is quick is repeated.
const REPEATS: usize = 7;

const ALONE: &str = "the only branch of its home";
const AMONG: &str = "one among all";

pub(crate) fn run(common: &Common) -> Result<()> {
    let rounds = common.rounds.unwrap_or(if common.quick { QUICK_ROUNDS } else { ROUNDS });
    let (branches, rest) = if common.quick { (QUICK_BRANCHES, QUICK_REST) } else { (BRANCHES, REST) };
    let account = Account::of_servers()?;
    let ground = Ground::prepare(&common.base, XFS)?;
    let home_in = |name: &str| -> Result<Home> {
        let directory = ground.path().join(name);
        std::fs::create_dir(&directory)?;
        Home::up(&common.nap, &directory, account)
    };
    let (alone, many) = (home_in("alone")?, home_in("many")?);
    let running = Cluster::running(account, &many.data(), many.wake()?)?;
    many.sleep()?;

    let mut commands = vec![("nap branch".to_owned(), Times::default())];
    for number in 1..branches {
        time(&mut commands, 0, || many.nap(&["branch", &format!("b{number}")]))?;
    }
    let after_making = Process(many.daemon()?).rss_mb()?;

    commands.extend([("nap ls".to_owned(), Times::default()), ("nap up".to_owned(), Times::default())]);
    for _ in 0..REPEATS {
        many.nap(&["down"])?;
        time(&mut commands, 2, || many.nap(&["up"]))?;
    }
    let daemon = Process(many.daemon()?);
    let rested = Rested::after(&daemon, rest)?;
    for _ in 0..REPEATS {
        time(&mut commands, 1, || many.nap(&["ls"]))?;
    }

    let one_of_many = format!("b{}", branches / 2);
    let (to_alone, to_one_of_many) = (alone.by_unix_socket(), many.by_unix_socket_to(&one_of_many));
    let mut wakes: Vec<Box<dyn Contestant + '_>> = vec![
        Box::new(Nap { name: ALONE, home: &alone, branch: "main", target: to_alone }),
        Box::new(Nap { name: AMONG, home: &many, branch: &one_of_many, target: to_one_of_many }),
    ];
    let wakes = race(&mut wakes, rounds)?;
    let after_use = daemon.rss_mb()?;

    let most = [after_making, rested.rss_mb, after_use].into_iter().fold(0.0, f64::max);
    let figures = vec![
        Figure::new("rss_mb", most).at_most(40.0),
        Figure::new("rss_after_up_mb", rested.rss_mb),
        Figure::new("pss_after_up_mb", rested.pss_mb),
        Figure::new("cpu_percent", rested.cpu_percent).at_most(0.2),
        Figure::new("wake_vs_one", median_ms(&wakes, AMONG)? / median_ms(&wakes, ALONE)?).at_most(1.1),
        Figure::new("switches_per_s", rested.switches_per_s),
        Figure::new("threads", daemon.threads()?),
        Figure::new("descriptors", daemon.descriptors()?),
    ];
    let section = format!(
        "{}; {branches} sleeping branches, {} s of rest, {rounds} wakes of each in turn.\n\n{}\n{}\n{}",
        machine::line(&running),
        rest.as_secs(),
        table("asleep → first row", &wakes),
        table("commands", &commands),
        targets(&figures)
    );
    println!("{section}");
    if let Some(file) = &common.write {
        write_section(file, "rest", &section)?;
    }
    println!("{}", serde_json::to_string(&Results { bench: "rest", results: figures })?);
    Ok(())
}

fn time(rows: &mut [(String, Times)], at: usize, act: impl FnOnce() -> Result<String>) -> Result<()> {
    let started = Instant::now();
    act()?;
    if let Some((_, times)) = rows.get_mut(at) {
        times.add(started.elapsed());
    }
    Ok(())
}

/// A daemon while nobody wants anything of it.
struct Rested {
    rss_mb: f64,
    pss_mb: f64,
    cpu_percent: f64,
    switches_per_s: f64,
}

impl Rested {
    fn after(daemon: &Process, rest: Duration) -> Result<Self> {
        // What its start left to be done is no rest.
        std::thread::sleep(Duration::from_secs(2));
        let (used, switches, started) = (daemon.processor_time()?, daemon.switches()?, Instant::now());
        std::thread::sleep(rest);
        let seconds = started.elapsed().as_secs_f64();
        let used = daemon.processor_time()? - used;
        Ok(Self {
            rss_mb: daemon.rss_mb()?,
            pss_mb: daemon.pss_mb()?,
            cpu_percent: 100.0 * used.as_secs_f64() / seconds,
            switches_per_s: (daemon.switches()? - switches).max(0.0) / seconds,
        })
    }
}
