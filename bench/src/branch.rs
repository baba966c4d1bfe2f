//! Branches: how long one takes of a parent that sleeps, or that is in use, small or large, fresh or aged, beside what makes a
//! copy without `nap`.

mod committer;
mod mitosis;
mod parent;
mod peers;

use anyhow::{Context as _, Result};

use crate::Common;
use crate::account::Account;
use crate::ground::{BTRFS, Ground};
use crate::machine;
use crate::race::median_ms;
use crate::report::{Figure, Results, Times, table, targets, write_section};
use mitosis::{MITOSIS, Mitosis};
use parent::{BUSY_PAUSE, BUSY_ROW, Parent};
use peers::{BARE, BASEBACKUP, COPY, CREATEDB, NAP, NAP_ROW};

const ROUNDS: usize = 15;
const QUICK_ROUNDS: usize = 5;
/// Busy parents are branched so often.
const BUSY_ROUNDS: usize = 21;
const QUICK_BUSY_ROUNDS: usize = 7;
/// Parents: the size of their one database with data, and the scale of pgbench's tables in it (15 MB each).
const PARENTS: [(&str, u32); 3] = [("40 MB", 2), ("1 GB", 67), ("10 GB", 670)];

/// What was found for one parent.
struct Found {
    size: &'static str,
    fresh: State,
    aged: State,
    /// What one nap without work writes.
    nap_bytes: Option<u64>,
}

/// What was found for it in one of its states.
struct State {
    asleep: Vec<(String, Times)>,
    busy: Vec<(String, Times)>,
    extra_bytes: u64,
}

pub(crate) fn run_bench(common: &Common) -> Result<()> {
    let rounds = common.rounds.unwrap_or(if common.quick { QUICK_ROUNDS } else { ROUNDS });
    let busy_rounds = if common.quick { QUICK_BUSY_ROUNDS } else { BUSY_ROUNDS };
    let account = Account::of_servers()?;
    Mitosis::program()?;
    let ground = Ground::prepare(&common.base, BTRFS)?;
    let parents = PARENTS.get(..if common.quick { 2 } else { 3 }).unwrap_or(&PARENTS);
    let mut all = Vec::new();
    let mut line = String::new();
    for (size, scale) in parents {
        let place = ground.path().join(scale.to_string());
        std::fs::create_dir(&place)?;
        let parent = Parent::make(common, &place, account, *scale)?;
        line = machine::line(&parent.cluster);
        let nap_bytes = parent.nap_writes_bytes(&ground)?;
        let state = |peers| -> Result<State> {
            let extra_bytes = parent.extra_disk_bytes(&ground)?;
            Ok(State { asleep: parent.asleep(rounds, peers)?, busy: parent.busy(busy_rounds)?, extra_bytes })
        };
        let fresh = state(true)?;
        parent.age()?;
        all.push(Found { size, fresh, aged: state(false)?, nap_bytes });
        drop(parent);
        std::fs::remove_dir_all(&place)?;
    }
    let figures = figures(&all)?;
    let tables: String = all.iter().map(Found::tables).collect();
    let section = format!(
        "{line}; medians of {rounds} rounds in turn, {busy_rounds} of busy parents.\n\n{tables}{}",
        targets(&figures)
    );
    println!("{section}");
    if let Some(file) = &common.write {
        write_section(file, "branch", &section)?;
    }
    println!("{}", serde_json::to_string(&Results { bench: "branch", results: figures })?);
    Ok(())
}

impl Found {
    fn tables(&self) -> String {
        let states = [(&self.fresh, ""), (&self.aged, ", aged")];
        let tables = states.map(|(state, age)| {
            let size = self.size;
            format!(
                "{}\n{}\n",
                table(&format!("{size}{age}, asleep → a copy of it"), &state.asleep),
                table(&format!("{size}{age}, in use → a branch of it"), &state.busy)
            )
        });
        tables.concat()
    }
}

fn figures(all: &[Found]) -> Result<Vec<Figure>> {
    let of = |state: &State, name: &str| median_ms(&state.asleep, name);
    let (mut vs_bare, mut aged) = (0.0_f64, 0.0_f64);
    let (mut pause, mut row) = (0.0_f64, 0.0_f64);
    let (mut copies, mut to_first_row) = (f64::INFINITY, f64::INFINITY);
    let mut extra = 0;
    for found in all {
        for state in [&found.fresh, &found.aged] {
            vs_bare = vs_bare.max(of(state, NAP)? / of(state, BARE)?);
            pause = pause.max(median_ms(&state.busy, BUSY_PAUSE)?);
            row = row.max(median_ms(&state.busy, BUSY_ROW)?);
            extra = extra.max(state.extra_bytes);
        }
        aged = aged.max(of(&found.aged, NAP)? / of(&found.fresh, NAP)?);
        // Larger ones are not copied.
        let fastest = |names: &[&str]| names.iter().filter_map(|name| of(&found.fresh, name).ok()).reduce(f64::min);
        if let Some(fastest) = fastest(&[COPY, CREATEDB, BASEBACKUP]) {
            copies = copies.min(fastest / of(&found.fresh, NAP)?);
        }
        // What has been made so can be asked at once.
        if let Some(fastest) = fastest(&[CREATEDB, MITOSIS]) {
            to_first_row = to_first_row.min(fastest / of(&found.fresh, NAP_ROW)?);
        }
    }
    let (smallest, largest) = (all.first().context("a parent")?, all.last().context("a parent")?);
    let by_size = of(&largest.fresh, NAP)? / of(&smallest.fresh, NAP)?;
    let mut figures = vec![
        Figure::new("asleep_vs_bare", vs_bare).at_most(3.0),
        Figure::new("busy_pause_ms", pause).at_most(100.0),
        Figure::new("busy_first_row_ms", row).at_most(400.0),
        // Of a quick run: 1 GB against 40 MB.
        Figure::new("size_10gb_vs_40mb", by_size).at_most(1.5),
        Figure::new("aged_vs_fresh", aged).at_most(1.5),
        Figure::new("best_peer_vs_nap", copies.min(to_first_row)).at_least(1.0),
        Figure::new("best_copy_vs_nap", copies),
        Figure::new("best_first_row_vs_nap", to_first_row),
        Figure::new("extra_disk_kb", extra as f64 / 1e3),
    ];
    let written = all.iter().filter_map(|found| found.nap_bytes).max();
    figures.extend(written.map(|bytes| Figure::new("nap_writes_kb", bytes as f64 / 1e3)));
    Ok(figures)
}
