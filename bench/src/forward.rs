//! What stands between client and server costs: direct, through `nap`, and through PgBouncer, side by side. Everybody
//! has the same data and settings, TCP and SCRAM-SHA-256 on the client's side; PgBouncer and `nap` reach their server
//! by its Unix socket.

mod copy;
mod load;
mod pgbouncer;
mod slices;
pub(crate) mod ways;

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::Common;
use crate::account::Account;
use crate::forward::copy::{Copied, Copying, Flow};
use crate::forward::load::{Load, Measured, Protocol, SELECT, TPC_B, table};
use crate::forward::ways::{CONTROL, DIRECT, NAP, PGBOUNCER, Ways};
use crate::machine;
use crate::race::{median_ms, race};
use crate::report::{Figure, Results, targets, write_section};

/// Of clients that stay connected, each way's in turn. What else a machine does is a tenth of a slice either way, and two
/// ways are to be told apart that differ by a few hundredths.
const SLICES: usize = 12;
const QUICK_SLICES: usize = 5;
/// Of whole runs.
const ROUNDS: usize = 3;
const CLIENTS: [usize; 4] = [1, 8, 32, 128];
const QUICK_CLIENTS: [usize; 2] = [8, 32];
/// Connections come one by one, and as fast as both cores can.
const CONNECTING_CLIENTS: [usize; 2] = [1, 8];
/// pgbench counts by the second: two or three of them are wholly inside.
const SLICE: Duration = Duration::from_millis(3_300);
/// Beyond the warm-up.
const RUN: Duration = Duration::from_secs(4);
/// A connection each takes long enough to be many in a second.
const CONNECTING_RUN: Duration = Duration::from_secs(2);
const QUICK_CONNECTING_RUN: Duration = Duration::from_secs(1);
const COPY_MIB: u64 = 1024;
const QUICK_COPY_MIB: u64 = 128;

pub(crate) fn run(common: &Common) -> Result<()> {
    let rounds = common.rounds.unwrap_or(ROUNDS);
    let slices = common.rounds.unwrap_or(if common.quick { QUICK_SLICES } else { SLICES });
    let ways = Ways::open(common, Account::of_servers()?)?;
    let connecting_time = if common.quick { QUICK_CONNECTING_RUN } else { CONNECTING_RUN };
    let measure = |loads: Vec<Load>, run| -> Result<Vec<Measured>> {
        let measure = |load: Load| match load.may_stand_still() {
            true => load.measure(&ways, slices, SLICE),
            false => load.measure(&ways, rounds, run),
        };
        loads.into_iter().map(measure).collect()
    };
    let plain = measure(plain_loads(common.quick), RUN)?;
    let tls = measure(if common.quick { Vec::new() } else { tls_loads() }, RUN)?;
    let connecting = measure(CONNECTING_CLIENTS.map(Load::connecting).to_vec(), connecting_time)?;
    let mib = if common.quick { QUICK_COPY_MIB } else { COPY_MIB };
    let copied = copy(&ways, mib, rounds)?;

    let figures = figures(&plain, &tls, &connecting, &copied)?;
    let mut section = format!(
        "{}, {}; medians of {slices} slices of {} s in turn, else of {rounds} rounds of {} s ({} s of connections).\n\n",
        machine::line(ways.cluster()),
        ways.pgbouncer_version(),
        SLICE.as_secs_f64(),
        RUN.as_secs(),
        connecting_time.as_secs()
    );
    for (heading, measured) in
        [("sslmode=disable", &plain), ("sslmode=require", &tls), ("a connection each", &connecting)]
    {
        if !measured.is_empty() {
            section.push_str(&format!("{}\n", table(heading, measured)?));
        }
    }
    section.push_str(&format!("{}\n{}", copy::table(mib, &copied), targets(&figures)));
    println!("{section}");
    if let Some(file) = &common.write {
        write_section(file, "forward", &section)?;
    }
    println!("{}", serde_json::to_string(&Results { bench: "forward", results: figures })?);
    Ok(())
}

fn plain_loads(quick: bool) -> Vec<Load> {
    if quick {
        return QUICK_CLIENTS.map(|clients| Load::new(SELECT, Protocol::Prepared, clients)).to_vec();
    }
    let mut loads = Vec::new();
    for script in [SELECT, TPC_B] {
        for protocol in [Protocol::Prepared, Protocol::Simple] {
            loads.extend(CLIENTS.map(|clients| Load::new(script, protocol, clients)));
        }
    }
    loads
}

fn tls_loads() -> Vec<Load> {
    QUICK_CLIENTS.map(|clients| Load::new(SELECT, Protocol::Prepared, clients).over_tls()).to_vec()
}

/// Both flows of COPY, every way in turn.
fn copy(ways: &Ways, mib: u64, rounds: usize) -> Result<Vec<Copied>> {
    let copying = Copying::prepare(ways, mib)?;
    let race = |flow| Ok(Copied { flow, rows: race(&mut copying.contestants(flow), rounds)? });
    [Flow::Out, Flow::In].into_iter().map(race).collect()
}

fn figures(plain: &[Measured], tls: &[Measured], connecting: &[Measured], copied: &[Copied]) -> Result<Vec<Figure>> {
    let least_of = |way, measured: &mut dyn Iterator<Item = &Measured>| -> Result<Option<f64>> {
        let ratios = measured.map(|one| one.throughput_ratio(way, PGBOUNCER)).collect::<Result<Vec<_>>>()?;
        Ok(ratios.into_iter().reduce(f64::min))
    };
    let least = |measured: &mut dyn Iterator<Item = &Measured>| least_of(NAP, measured);
    let mut selects = plain.iter().filter(|one| one.load.is(SELECT));
    let mut figures = vec![
        Figure::new("min_vs_pgbouncer", least(&mut selects.clone())?.context("nothing was measured")?).at_least(1.0),
    ];
    if let Some(ratio) = least_of(CONTROL, &mut selects)? {
        figures.push(Figure::new("min_pgbouncer_vs_itself", ratio));
    }
    if let Some(ratio) = least(&mut plain.iter().filter(|one| one.load.is(TPC_B)))? {
        figures.push(Figure::new("min_tpcb_vs_pgbouncer", ratio));
    }
    if let Some(ratio) = least(&mut tls.iter())? {
        figures.push(Figure::new("min_tls_vs_pgbouncer", ratio));
    }
    let direct = plain.iter().map(|one| one.throughput_ratio(NAP, DIRECT)).collect::<Result<Vec<_>>>()?;
    figures.push(Figure::new("min_vs_direct", direct.into_iter().fold(f64::INFINITY, f64::min)));
    for Copied { flow, rows } in copied {
        let ratio = median_ms(rows, DIRECT)? / median_ms(rows, NAP)?;
        figures.push(match flow {
            Flow::Out => Figure::new("copy_out_vs_direct", ratio).at_least(0.8),
            Flow::In => Figure::new("copy_in_vs_direct", ratio),
        });
    }
    let times = connecting.iter().map(|one| one.throughput_ratio(DIRECT, NAP)).collect::<Result<Vec<_>>>()?;
    figures.push(Figure::new("connect_vs_direct", times.into_iter().fold(0.0, f64::max)).at_most(1.5));
    Ok(figures)
}
