//! At random moments random processes get SIGKILL, two hundred times. Every row whose commit was acknowledged is there
//! afterwards, and no client ever reads that a server starts, stops or recovers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nap_testkit::{Chaos, TestHome, connect, eventually, process};
use tokio_postgres::Config;

use super::builder;

const HOMES: u64 = 4;
const KILLS_PER_HOME: u32 = 52;
const BRANCHES: [&str; 2] = ["main", "dev"];
/// The longest wait before the next kill: long enough that a server is seen in all its states.
const QUIET: Duration = Duration::from_millis(300);

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Daemon,
    Postmaster,
    Backend,
    Checkpointer,
    WholeServer,
}

const VICTIMS: [Victim; 5] =
    [Victim::Daemon, Victim::Postmaster, Victim::Backend, Victim::Checkpointer, Victim::WholeServer];

/// What clients of one branch have seen.
#[derive(Default)]
struct Seen {
    acknowledged: Mutex<BTreeSet<i32>>,
    /// SQLSTATEs by how often, with a sample of each.
    errors: Mutex<BTreeMap<String, (u32, String)>>,
}

impl Seen {
    fn error(&self, error: &tokio_postgres::Error) {
        let code = error.code().map_or("connection lost", |code| code.code()).to_owned();
        let text = error.as_db_error().map_or_else(|| format!("{error:?}"), |db| format!("{db} {:?}", db.detail()));
        self.errors.lock().unwrap().entry(code).or_insert((0, text)).0 += 1;
    }
}

/// Inserts numbered rows in sessions that are short or have pauses, and notes each that was acknowledged.
async fn write(config: Config, seen: Arc<Seen>, first: i32, stop: Arc<AtomicBool>, mut chaos: Chaos) {
    let mut number = first;
    while !stop.load(Ordering::Relaxed) {
        match connect(&config).await {
            Ok(session) => {
                for _ in 0..=chaos.below(20) {
                    // Some stay and do nothing, long enough to be parked.
                    if chaos.once_in(8) {
                        tokio::time::sleep(chaos.span_up_to(Duration::from_millis(300))).await;
                    }
                    number += 1;
                    match session.execute("insert into rows values ($1)", &[&number]).await {
                        Ok(_) => drop(seen.acknowledged.lock().unwrap().insert(number)),
                        Err(error) => {
                            seen.error(&error);
                            break;
                        }
                    }
                }
            }
            Err(error) => seen.error(&error),
        }
        // Often long enough for the server to go to sleep.
        let longest = if chaos.once_in(3) { 500 } else { 100 };
        tokio::time::sleep(chaos.span_up_to(Duration::from_millis(longest))).await;
    }
}

/// Kills one, if there is one, and says in what state its server was.
fn kill(home: &TestHome, branch: &str, victim: Victim, chaos: &mut Chaos) -> Option<String> {
    let state = last_state(home, branch);
    let postmaster = home.server_pid(branch);
    let killed = match victim {
        Victim::Daemon => vec![home.daemon_process()?],
        Victim::Postmaster => vec![postmaster?],
        Victim::Backend => {
            let pids = process::children(postmaster?);
            vec![*pids.get(chaos.below(pids.len().max(1) as u64) as usize)?]
        }
        Victim::Checkpointer => vec![home.server_process(branch, "checkpointer")?],
        Victim::WholeServer => home.server_processes(branch),
    };
    killed.iter().for_each(|pid| process::kill9(*pid));
    killed.iter().for_each(|pid| process::wait_gone(*pid));
    (!killed.is_empty()).then_some(state)
}

/// Half of the moments are chance alone. Most of those find an idle or a working server; the others are taken when it
/// is on its way between states, if that comes soon enough.
fn wait_for_a_moment(home: &TestHome, branch: &str, chaos: &mut Chaos) {
    std::thread::sleep(chaos.span_up_to(QUIET));
    if chaos.once_in(2) {
        return;
    }
    let wanted = *chaos.pick(&["waking", "settling", "stopping", "asleep"]);
    let late = Instant::now() + QUIET;
    while Instant::now() < late && last_state(home, branch) != wanted {
        std::thread::sleep(Duration::from_micros(500));
    }
    std::thread::sleep(chaos.span_up_to(Duration::from_millis(3)));
}

/// The end of the daemon's log is read, not all of it, again and again.
const LOG_END_BYTES: u64 = 4096;

/// What the daemon logged last of a branch: asking it would take too long.
fn last_state(home: &TestHome, branch: &str) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = std::fs::File::open(home.path().join("log/nap.log")) {
        let length = file.metadata().map_or(0, |log| log.len());
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_END_BYTES))).unwrap();
        file.read_to_end(&mut bytes).unwrap();
    }
    let log = String::from_utf8_lossy(&bytes);
    let of_branch = log.lines().rev().find(|line| line.contains(&format!("branch={branch} ")) && line.contains(" to="));
    let state = of_branch.and_then(|line| line.split(" to=").nth(1)?.split_whitespace().next());
    state.unwrap_or("asleep").to_owned()
}

/// All that was acknowledged before the question must be in the answer.
async fn check(home: &TestHome, config: &Config, branch: &str, seen: &Seen) {
    let acknowledged = seen.acknowledged.lock().unwrap().clone();
    let mut refusals = 0;
    let found = loop {
        // Other kills do not happen meanwhile, so whoever comes now is served: at once, or after one clear refusal
        // that says that it is tried again.
        match connect(config).await {
            Ok(session) => match session.query("select number from rows", &[]).await {
                Ok(rows) => break rows.iter().map(|row| row.get(0)).collect::<BTreeSet<i32>>(),
                Err(error) => {
                    seen.error(&error);
                    assert!(error.as_db_error().is_none_or(|db| db.code().code().starts_with("57P")), "{error:?}");
                }
            },
            Err(error) => {
                seen.error(&error);
                refusals += 1;
                assert!(refusals < 3, "{branch} of {} goes on refusing: {error:?}", home.path().display());
            }
        }
    };
    let lost: Vec<_> = acknowledged.difference(&found).collect();
    assert!(lost.is_empty(), "{branch}: acknowledged and lost: {lost:?}");
}

/// How often who was killed in which state.
type Kills = BTreeMap<(Victim, String), u32>;

/// One home's share of the kills.
fn torment(mut chaos: Chaos) -> (Kills, Vec<Arc<Seen>>) {
    let home = builder().setting("sleep_after", "\"40ms\"").build();
    home.up();
    home.psql("main", "create table rows (number int primary key)").ok();
    home.sleep("main");
    home.nap(&["branch", "dev"]).ok();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let role = home.role();
    // Through the Unix sockets, where nobody has to compute a password's proof.
    let config = |branch: &str| -> Config {
        home.socket_connection(&format!("{role}@{branch}"), &role).parse().expect("a connection string")
    };
    let branches = BRANCHES.map(|branch| (branch, config(branch), Arc::new(Seen::default())));
    for (_, config, seen) in &branches {
        for writer in 0..2 {
            let chance = Chaos::from_seed(chaos.below(u64::MAX));
            runtime.spawn(write(config.clone(), seen.clone(), writer * 1_000_000, stop.clone(), chance));
        }
    }
    let mut kills = Kills::new();
    let mut count = 0;
    while count < KILLS_PER_HOME {
        let (branch, victim) = (*chaos.pick(&BRANCHES), *chaos.pick(&VICTIMS));
        wait_for_a_moment(&home, branch, &mut chaos);
        if chaos.once_in(8) {
            // It may be refused (sessions), and its daemon may die of it.
            drop(
                home.nap_command(&["--quiet", "sleep", branch])
                    .stderr(std::process::Stdio::null())
                    .spawn()
                    .unwrap()
                    .wait(),
            );
        }
        let Some(state) = kill(&home, branch, victim, &mut chaos) else { continue };
        *kills.entry((victim, state)).or_insert(0) += 1;
        count += 1;
        if home.daemon_process().is_none() {
            home.up();
        }
        for (branch, config, seen) in &branches {
            runtime.block_on(check(&home, config, branch, seen));
        }
    }
    stop.store(true, Ordering::Relaxed);
    for (branch, config, seen) in &branches {
        runtime.block_on(check(&home, config, branch, seen));
        eventually("it sleeps in the end", || (home.state(branch) == "asleep").then_some(()));
    }
    home.wait_nothing_runs();
    (kills, branches.map(|(_, _, seen)| seen).into())
}

#[test]
fn slow_two_hundred_kills_lose_no_acknowledged_commit_and_refuse_nobody_for_a_server_that_comes_or_goes() {
    let mut chaos = Chaos::seed();
    let chances: Vec<Chaos> = (0..HOMES).map(|_| Chaos::from_seed(chaos.below(u64::MAX))).collect();
    let torments: Vec<_> = chances.into_iter().map(|chance| std::thread::spawn(|| torment(chance))).collect();
    let (mut kills, mut rows) = (Kills::new(), 0);
    let mut errors: BTreeMap<String, (u32, String)> = BTreeMap::new();
    for torment in torments {
        let (of_home, seen) = torment.join().expect("one of the homes failed");
        for (what, count) in of_home {
            *kills.entry(what).or_insert(0) += count;
        }
        for seen in seen {
            rows += seen.acknowledged.lock().unwrap().len();
            for (code, (count, text)) in seen.errors.lock().unwrap().iter() {
                errors.entry(code.clone()).or_insert((0, text.clone())).0 += count;
            }
        }
    }
    let mut table = String::new();
    for ((victim, state), count) in &kills {
        writeln!(table, "{count:4} × {victim:?} while {state}").unwrap();
    }
    let total: u32 = kills.values().sum();
    println!("{total} kills, {rows} rows acknowledged\n{table}clients read: {errors:#?}");
    assert!(total >= 200);
    assert!(rows > 1_000, "hardly anything was written");
    assert!(!errors.contains_key("57P03"), "{errors:#?}");
}
