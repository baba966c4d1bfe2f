//! Everything at once: clients that write and listen, while servers sleep, doze and wake and whatever can be killed is. Half a
//! minute of it; NAP_SOAK_SECONDS asks for more.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods, reason = "a test")]

mod chaos;
mod client;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use client::{Client, Gone};
use nap_testkit::{TestHome, eventually};
use rand::RngExt as _;

const SECONDS: u64 = 30;
const LISTENERS: usize = 3;
/// Each has its writers and listeners.
const BRANCHES: [&str; 2] = ["main", "other"];
/// What a daemon with a dozen sessions may take more than one without any.
const GROWS_AT_MOST_KB: u64 = 24 * 1024;

/// What a writer does beside writing.
#[derive(Debug, Clone, Copy)]
enum Habit {
    /// Nothing.
    Stays,
    /// It has a temporary table, which pins it.
    Pinned,
    /// It connects anew each time.
    Leaves,
}

const WRITERS: [Habit; 5] = [Habit::Stays, Habit::Stays, Habit::Pinned, Habit::Leaves, Habit::Leaves];

/// What has happened so far.
struct Story {
    branch: &'static str,
    /// All that a server has acknowledged: writer and number.
    acknowledged: Mutex<BTreeSet<(usize, u64)>>,
    /// No more faults.
    calm: AtomicBool,
    /// Connections that a listener had, each with what it heard.
    heard: Mutex<Vec<Vec<(usize, u64)>>>,
}

impl Story {
    fn of(branch: &'static str) -> Self {
        Self { branch, acknowledged: Mutex::default(), calm: AtomicBool::default(), heard: Mutex::default() }
    }

    fn psql(&self, home: &TestHome, sql: &str) -> nap_testkit::Output {
        home.psql(&format!("postgres@{}", self.branch), sql)
    }
}

#[test]
fn nothing_is_lost_and_nobody_waits_for_ever() {
    let seconds = std::env::var("NAP_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS);
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap"))
        .setting("sleep_after", "\"300ms\"")
        .setting("doze_after", "\"150ms\"")
        .build();
    home.up();
    home.nap(&["branch", "other"]).ok();
    let stories = BRANCHES.map(Story::of);
    for story in &stories {
        story.psql(&home, "CREATE TABLE log (writer int, n bigint, PRIMARY KEY (writer, n))").ok();
    }
    let (at_rest, at_rest_kb) = (descriptors(&home), chaos::memory_kb(&home));
    let done = chaos::Done::default();
    std::thread::scope(|scope| {
        let watched = stories.each_ref().map(Watched);
        let casts = stories.each_ref().map(|story| cast(scope, &home, story));
        chaos::reign(&home, &done, Instant::now() + Duration::from_secs(seconds));
        stories.iter().for_each(|story| story.calm.store(true, Ordering::SeqCst));
        for (story, (writers, listeners)) in stories.iter().zip(casts) {
            let last: Vec<u64> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
            assert!(last.iter().all(|count| *count > 3), "everybody wrote: {last:?}");
            // Some may just be connecting.
            eventually("all hear the end", || {
                story.psql(&home, "NOTIFY log, 'over'").ok();
                listeners.iter().all(|listener| listener.is_finished()).then_some(())
            });
            listeners.into_iter().for_each(|listener| listener.join().unwrap());
        }
        drop(watched);
    });
    println!("{done:?}; {at_rest_kb} kB at the beginning, {} kB at the end", chaos::memory_kb(&home));
    stories.iter().for_each(|story| check(&home, story));
    eventually("its sessions are forgotten", || (descriptors(&home) <= at_rest + 5).then_some(()));
    let trash = || std::fs::read_dir(home.path().join("trash")).unwrap().count();
    eventually("what was removed is deleted", || (trash() == 0).then_some(()));
    let largest_kb = done.largest_kb.load(Ordering::Relaxed);
    assert!(
        largest_kb <= at_rest_kb + GROWS_AT_MOST_KB,
        "a daemon had {largest_kb} kB, {at_rest_kb} kB at the beginning"
    );
    home.nap(&["down"]).ok();
    home.wait_nothing_runs();
    assert_eq!(std::fs::read_dir(home.path().join("staging")).unwrap().count(), 0);
}

type Writers<'scope> = Vec<ScopedJoinHandle<'scope, u64>>;
type Listeners<'scope> = Vec<ScopedJoinHandle<'scope, ()>>;

/// A branch's writers and listeners begin.
fn cast<'scope>(
    scope: &'scope Scope<'scope, '_>,
    home: &'scope TestHome,
    story: &'scope Story,
) -> (Writers<'scope>, Listeners<'scope>) {
    let writers = WRITERS.into_iter().enumerate();
    let writers = writers.map(|(number, habit)| scope.spawn(move || write(home, story, number, habit))).collect();
    let listeners = (0..LISTENERS).map(|_| scope.spawn(|| listen(home, story))).collect();
    (writers, listeners)
}

/// A failure lets the others come to an end.
struct Watched<'a>(&'a Story);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.0.calm.store(true, Ordering::SeqCst);
    }
}

fn descriptors(home: &TestHome) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", home.daemon_pid())).unwrap().count()
}

/// Writes until it is calm, and once more. The last number.
fn write(home: &TestHome, story: &Story, number: usize, habit: Habit) -> u64 {
    let mut client: Option<Client> = None;
    let (mut n, mut is_last) = (0, false);
    loop {
        let calm = story.calm.load(Ordering::SeqCst);
        let mut connected = client.take().unwrap_or_else(|| {
            let mut fresh = Client::connect(home, story.branch);
            if matches!(habit, Habit::Pinned) {
                let _ = fresh.ask("CREATE TEMP TABLE mine ()");
            }
            fresh
        });
        n += 1;
        let sql = format!("INSERT INTO log VALUES ({number}, {n}); NOTIFY log, '{number} {n}'");
        // If it is lost, that may have been committed, or not.
        if let Ok(()) = connected.ask(&sql) {
            story.acknowledged.lock().unwrap().insert((number, n));
            client = Some(connected).filter(|_| !matches!(habit, Habit::Leaves));
            if is_last {
                return n;
            }
            is_last = calm;
        }
        // Now and then long enough to fall asleep.
        std::thread::sleep(Duration::from_millis(rand::rng().random_range(0..700)));
    }
}

/// Listens until all is over, with as many connections as it takes.
fn listen(home: &TestHome, story: &Story) {
    loop {
        let mut client = Client::connect(home, story.branch);
        let listens = client.ask("LISTEN log").is_ok();
        let mut over = false;
        while listens && !over {
            match client.hear() {
                Ok(payload) => over = payload == "over",
                Err(Gone) => break,
            }
        }
        story.heard.lock().unwrap().push(client.heard());
        if over {
            return;
        }
    }
}

fn check(home: &TestHome, story: &Story) {
    let rows = story.psql(home, "SELECT writer || ' ' || n FROM log");
    let kept: BTreeSet<(usize, u64)> = rows.ok().lines().map(|line| client::number(line).unwrap()).collect();
    let acknowledged = story.acknowledged.lock().unwrap();
    let lost: Vec<_> = acknowledged.difference(&kept).collect();
    assert!(lost.is_empty(), "acknowledged, and not there: {lost:?}");
    let heard = story.heard.lock().unwrap();
    println!(
        "{} commits acknowledged, {} there; {} listening connections",
        acknowledged.len(),
        kept.len(),
        heard.len()
    );
    for connection in heard.iter() {
        let mut last: BTreeMap<usize, u64> = BTreeMap::new();
        for (writer, n) in connection {
            let before = last.insert(*writer, *n);
            let Some(before) = before else { continue };
            assert!(before < *n, "heard twice, or in another order: {before} and {n} of {writer}");
            let missed: Vec<_> = (before + 1..*n).filter(|n| acknowledged.contains(&(*writer, *n))).collect();
            assert!(missed.is_empty(), "not heard between {before} and {n} of {writer}: {missed:?}");
        }
    }
}
