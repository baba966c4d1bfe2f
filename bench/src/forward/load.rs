//! pgbench, one way after the other, and what it cost those who stand between.

use std::cell::RefCell;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::account::run_with_remarks;
use crate::contestants::Contestant;
use crate::forward::slices::Slices;
use crate::forward::ways::{CONTROL, DIRECT, NAP, PGBOUNCER, Spent, Way, Ways};
use crate::race::{median_ms, race};
use crate::report::Times;

/// pgbench's built-in scripts.
pub(crate) const SELECT: &str = "select-only";
pub(crate) const TPC_B: &str = "tpcb-like";
/// `sslmode`.
pub(crate) const PLAIN: &str = "disable";
const TLS: &str = "require";

/// These first seconds do not count: each new backend reads the catalogs once, and PgBouncer has backends of the round
/// before, which did.
const WARM_UP_S: usize = 2;

/// How pgbench sends its statements.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Protocol {
    Simple,
    Prepared,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Protocol::Simple => "simple",
            Protocol::Prepared => "prepared",
        }
    }
}

/// What pgbench does.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    script: &'static str,
    protocol: Protocol,
    clients: usize,
    sslmode: &'static str,
    /// Each transaction on a connection of its own.
    connects: bool,
}

impl Load {
    pub(crate) fn new(script: &'static str, protocol: Protocol, clients: usize) -> Self {
        Self { script, protocol, clients, sslmode: PLAIN, connects: false }
    }

    pub(crate) fn connecting(clients: usize) -> Self {
        Self { connects: true, ..Self::new(SELECT, Protocol::Simple, clients) }
    }

    pub(crate) fn over_tls(self) -> Self {
        Self { sslmode: TLS, ..self }
    }

    pub(crate) fn is(&self, script: &str) -> bool {
        self.script == script
    }

    /// Whether its clients can be stopped at any moment without holding locks that others wait for: the direct way and
    /// PgBouncer share a server.
    pub(crate) fn may_stand_still(&self) -> bool {
        self.is(SELECT) && !self.connects
    }

    /// Every way in turn, so often and each time so long.
    pub(crate) fn measure(self, ways: &Ways, rounds: usize, time: Duration) -> Result<Measured> {
        let costs = RefCell::new(Vec::new());
        let turn = |way| -> Box<dyn Contestant + '_> {
            if self.may_stand_still() {
                return Box::new(Slices::new(ways, way, &self, time, &costs));
            }
            Box::new(Turn { ways, way, load: &self, time, costs: &costs })
        };
        let among = if self.may_stand_still() && self.sslmode == PLAIN { ways.all_and_control() } else { ways.all() };
        let mut turns: Vec<Box<dyn Contestant + '_>> = among.iter().map(turn).collect();
        let rows = race(&mut turns, rounds)?;
        drop(turns);
        Ok(Measured { load: self, rows, costs: costs.into_inner() })
    }

    /// pgbench with this load, for so long, and with more arguments.
    pub(crate) fn pgbench(&self, ways: &Ways, way: &Way, time_s: &str, more: &[&str]) -> Command {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (threads, clients) = (self.clients.min(cores).to_string(), self.clients.to_string());
        let mut arguments = vec!["-n", "-b", self.script, "-M", self.protocol.name()];
        arguments.extend(["-c", &clients, "-j", &threads, "-T", time_s]);
        arguments.extend(more);
        ways.client("pgbench", way, self.sslmode, &arguments)
    }

    fn label(&self) -> String {
        format!("{}, {}, {}", self.script, self.protocol.name(), self.clients)
    }
}

/// What a forwarder spent on one transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    way: &'static str,
    processor_us: f64,
    sleeps: f64,
}

impl Cost {
    /// Of so many transactions between two looks at what it has spent.
    pub(crate) fn of(way: &'static str, before: Spent, after: Spent, transactions: f64) -> Self {
        let processor_time = after.processor_time - before.processor_time;
        let sleeps = after.sleeps - before.sleeps;
        Self { way, processor_us: processor_time.as_secs_f64() * 1e6 / transactions, sleeps: sleeps / transactions }
    }
}

/// One way's turns, each a whole run of pgbench. A round's time is that of one transaction.
struct Turn<'a> {
    ways: &'a Ways,
    way: &'a Way,
    load: &'a Load,
    time: Duration,
    costs: &'a RefCell<Vec<Cost>>,
}

impl Contestant for Turn<'_> {
    fn name(&self) -> &str {
        self.way.name
    }

    fn round(&mut self) -> Result<Duration> {
        let connects = self.load.connects;
        let warm_up = if connects { 0 } else { WARM_UP_S };
        let time = (self.time.as_secs() as usize + warm_up).to_string();
        let more = if connects { ["-C"].as_slice() } else { &["-P", "1"] };
        let before = self.way.spent()?;
        let (said, progress) = run_with_remarks(&mut self.load.pgbench(self.ways, self.way, &time, more))?;
        let transactions = number(&said, "number of transactions actually processed: ")?;
        if let (Some(before), Some(after)) = (before, self.way.spent()?) {
            self.costs.borrow_mut().push(Cost::of(self.way.name, before, after, transactions));
        }
        let tps = if connects { number(&said, "tps = ")? } else { steady(&progress)? };
        Ok(Duration::from_secs_f64(1.0 / tps))
    }
}

/// Transactions per second once everything is warm, from what pgbench says each second.
fn steady(progress: &str) -> Result<f64> {
    let each = progress.lines().filter(|line| line.starts_with("progress: ")).map(|line| number(line, " s, "));
    let warm = each.skip(WARM_UP_S).collect::<Result<Vec<f64>>>()?;
    anyhow::ensure!(!warm.is_empty(), "no progress in what pgbench said:\n{progress}");
    Ok(warm.iter().sum::<f64>() / warm.len() as f64)
}

/// The number that follows these words.
pub(crate) fn number(said: &str, words: &str) -> Result<f64> {
    let (_, rest) = said.split_once(words).with_context(|| format!("no {words:?} in what pgbench said:\n{said}"))?;
    let digits = rest.split(|character: char| !character.is_ascii_digit() && character != '.').next();
    Ok(digits.unwrap_or_default().parse()?)
}

/// A load, and the time of a transaction each way.
pub(crate) struct Measured {
    pub(crate) load: Load,
    rows: Vec<(String, Times)>,
    costs: Vec<Cost>,
}

impl Measured {
    fn tps(&self, way: &str) -> Result<f64> {
        Ok(1_000.0 / median_ms(&self.rows, way)?)
    }

    /// How many times as much gets through one way as through the other.
    pub(crate) fn throughput_ratio(&self, one: &str, other: &str) -> Result<f64> {
        Ok(self.tps(one)? / self.tps(other)?)
    }

    /// How far the middle half of one way's rounds lies from their median, as a share of it.
    fn spread(&self, way: &str) -> f64 {
        let times = self.rows.iter().find(|(name, _)| name == way).map(|(_, times)| times);
        times.map_or(f64::NAN, |times| (times.quantile_ms(0.75) - times.quantile_ms(0.25)) / 2.0 / times.median_ms())
    }

    /// The median of what a forwarder spent.
    fn cost(&self, way: &str, of: impl Fn(&Cost) -> f64) -> f64 {
        let mut all: Vec<f64> = self.costs.iter().filter(|cost| cost.way == way).map(of).collect();
        all.sort_unstable_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// Transactions per second, and what one costs in between.
pub(crate) fn table(heading: &str, measured: &[Measured]) -> Result<String> {
    let mut text = format!(
        "| {heading}: script, protocol, clients | direct tps | nap tps | PgBouncer tps | nap ÷ direct | nap ÷ PgBouncer \
         | PgBouncer ÷ itself | spread | nap µs CPU | PgBouncer µs CPU | nap sleeps | PgBouncer sleeps |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
    );
    for one in measured {
        text.push_str(&format!(
            "| {} | {:.0} | {:.0} | {:.0} | {:.2} | {:.2} | {} | ±{:.2} | {:.1} | {:.1} | {:.2} | {:.2} |\n",
            one.load.label(),
            one.tps(DIRECT)?,
            one.tps(NAP)?,
            one.tps(PGBOUNCER)?,
            one.throughput_ratio(NAP, DIRECT)?,
            one.throughput_ratio(NAP, PGBOUNCER)?,
            one.throughput_ratio(CONTROL, PGBOUNCER).map_or("–".to_owned(), |ratio| format!("{ratio:.2}")),
            one.spread(NAP).max(one.spread(PGBOUNCER)),
            one.cost(NAP, |cost| cost.processor_us),
            one.cost(PGBOUNCER, |cost| cost.processor_us),
            one.cost(NAP, |cost| cost.sleeps),
            one.cost(PGBOUNCER, |cost| cost.sleeps),
        ));
    }
    Ok(text)
}
