//! pgbench whose clients stay connected: it stands still but for its slices of time, one way's after the other's. Logins
//! and first reads of the catalogs are over before anything counts, and many short slices in turn even out what the
//! machine does besides.

use std::cell::RefCell;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::contestants::Contestant;
use crate::forward::load::{Cost, Load, number};
use crate::forward::ways::{Way, Ways};

/// Before the first slice, while every backend reads the catalogs.
const WARM_UP: Duration = Duration::from_secs(2);
/// For 128 logins on a busy machine.
const FIRST_PROGRESS_WITHIN: Duration = Duration::from_secs(30);
const LOOKS_EVERY: Duration = Duration::from_millis(20);
/// Longer than any run of the bench: who started it ends it.
const NEVER_ENDS_S: &str = "86400";

/// One way's slices. A round's time is that of one transaction.
pub(crate) struct Slices<'a> {
    ways: &'a Ways,
    way: &'a Way,
    load: &'a Load,
    time: Duration,
    costs: &'a RefCell<Vec<Cost>>,
    pgbench: Option<Pgbench>,
}

impl<'a> Slices<'a> {
    pub(crate) fn new(
        ways: &'a Ways,
        way: &'a Way,
        load: &'a Load,
        time: Duration,
        costs: &'a RefCell<Vec<Cost>>,
    ) -> Self {
        Self { ways, way, load, time, costs, pgbench: None }
    }
}

impl Contestant for Slices<'_> {
    fn name(&self) -> &str {
        self.way.name
    }

    fn round(&mut self) -> Result<Duration> {
        let is_new = self.pgbench.is_none();
        let pgbench = match &mut self.pgbench {
            Some(pgbench) => pgbench,
            none => none.insert(Pgbench::start(self.ways, self.way, self.load)?),
        };
        let before = self.way.spent()?;
        let slice = pgbench.run_for(self.time)?;
        let transactions = slice.tps * slice.time.as_secs_f64();
        // The first round does not count for the times either.
        if let (false, Some(before), Some(after)) = (is_new, before, self.way.spent()?) {
            self.costs.borrow_mut().push(Cost::of(self.way.name, before, after, transactions));
        }
        Ok(Duration::from_secs_f64(1.0 / slice.tps))
    }
}

/// A pgbench that has been stopped, ended when this is dropped.
struct Pgbench {
    process: Child,
    /// Where it says each second what it did.
    progress: PathBuf,
}

struct Slice {
    time: Duration,
    tps: f64,
}

impl Pgbench {
    /// All its clients are connected and warm, and it has been stopped.
    fn start(ways: &Ways, way: &Way, load: &Load) -> Result<Self> {
        let progress = ways.directory().join(format!("progress-{}", way.name));
        let mut command = load.pgbench(ways, way, NEVER_ENDS_S, &["-P", "1", "--progress-timestamp"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&progress)?);
        let mut pgbench = Self { process: command.spawn()?, progress };
        let started = Instant::now();
        while pgbench.seconds()?.is_empty() {
            let late = started.elapsed() > FIRST_PROGRESS_WITHIN || pgbench.process.try_wait()?.is_some();
            ensure!(!late, "pgbench does not run: {}", std::fs::read_to_string(&pgbench.progress)?);
            std::thread::sleep(LOOKS_EVERY);
        }
        std::thread::sleep(WARM_UP);
        pgbench.stop()?;
        Ok(pgbench)
    }

    /// Throughput is that of the seconds which lie wholly inside.
    fn run_for(&mut self, time: Duration) -> Result<Slice> {
        let (began, instant) = (now_s()?, Instant::now());
        self.signal(Signal::CONT)?;
        std::thread::sleep(time);
        self.stop()?;
        let (time, ended) = (instant.elapsed(), now_s()?);
        let inside = self.seconds()?.into_iter().filter(|second| second.began_s >= began && second.ended_s <= ended);
        let (mut whole_s, mut transactions) = (0.0, 0.0);
        for second in inside {
            whole_s += second.ended_s - second.began_s;
            transactions += second.tps * (second.ended_s - second.began_s);
        }
        ensure!(transactions > 0.0, "no transaction in a slice: {}", std::fs::read_to_string(&self.progress)?);
        Ok(Slice { time, tps: transactions / whole_s })
    }

    fn stop(&mut self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let status = waitpid(Some(self.pid()?), WaitOptions::UNTRACED)?;
        let stopped = status.is_some_and(|(_, status)| status.stopped());
        ensure!(stopped, "pgbench has ended: {}", std::fs::read_to_string(&self.progress)?);
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(self.pid()?, signal)?)
    }

    fn pid(&self) -> Result<Pid> {
        Pid::from_raw(self.process.id().cast_signed()).context("a process id")
    }

    /// What pgbench has said so far.
    fn seconds(&self) -> Result<Vec<Second>> {
        let said = std::fs::read_to_string(&self.progress)?;
        // The last line may not be whole yet.
        let lines = said.split_inclusive('\n').filter(|line| line.starts_with("progress: ") && line.ends_with('\n'));
        let stamps = lines.map(|line| Ok((number(line, "progress: ")?, number(line, " s, ")?)));
        let stamps = stamps.collect::<Result<Vec<(f64, f64)>>>()?;
        let pairs = stamps.iter().zip(stamps.iter().skip(1));
        Ok(pairs
            .map(|((began_s, _), (ended_s, tps))| Second { began_s: *began_s, ended_s: *ended_s, tps: *tps })
            .collect())
    }
}

impl Drop for Pgbench {
    fn drop(&mut self) {
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait()) {
            eprintln!("pgbench could not be ended: {error}");
        }
    }
}

/// From one progress line to the next.
struct Second {
    began_s: f64,
    ended_s: f64,
    tps: f64,
}

/// Since 1970, as pgbench stamps its lines.
fn now_s() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}
