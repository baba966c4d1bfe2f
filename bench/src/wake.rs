//! Asleep to first row: through `nap`, and through what does without it, round by round in turn.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Common;
use crate::account::Account;
use crate::client::{Target, first_row};
use crate::cluster::Cluster;
use crate::contestants::{Bare, Contestant, Nap, PgCtl, Systemd};
use crate::home::Home;
use crate::machine;
use crate::race::{median_ms, race};
use crate::report::{Figure, Results, Times, table, targets, write_section};

const BARE: &str = "bare postgres";
const UNIX: &str = "nap, Unix socket, peer";
const TCP: &str = "nap, TCP, SCRAM-SHA-256";

/// Rounds of a whole run, and of a quick one (which must end within 45 s).
const ROUNDS: usize = 41;
const QUICK_ROUNDS: usize = 15;
/// Connections of each kind to an awake server, for SCRAM's own cost.
const AWAKE_ROUNDS: usize = 101;

pub(crate) fn run(common: &Common) -> Result<()> {
    let rounds = common.rounds.unwrap_or(if common.quick { QUICK_ROUNDS } else { ROUNDS });
    let account = Account::of_servers()?;
    let home = Home::up(&common.nap, &common.base, account)?;
    let (unix, tcp) = (home.by_unix_socket(), home.by_tcp()?);

    let running = Cluster::running(account, &home.data(), home.wake()?)?;
    let awake = awake(&unix, &tcp)?;
    home.sleep()?;

    let mut contestants: Vec<Box<dyn Contestant + '_>> = vec![
        Box::new(Bare { cluster: running.copy_to(&common.base.join("bare"))? }),
        Box::new(Nap { name: UNIX, home: &home, branch: "main", target: unix }),
        Box::new(Nap { name: TCP, home: &home, branch: "main", target: tcp }),
    ];
    match Systemd::new(running.copy_to(&common.base.join("systemd"))?)? {
        Some(systemd) => contestants.push(Box::new(systemd)),
        None => println!("systemd-socket-activate and -proxyd are not installed: their row is left out"),
    }
    contestants.push(Box::new(PgCtl { cluster: running.copy_to(&common.base.join("pg_ctl"))? }));
    let rows = race(&mut contestants, rounds)?;

    let figures = figures(&rows, &awake)?;
    let machine = machine::line(&running);
    let section = format!(
        "{machine}; medians of {rounds} rounds in turn, warm cache.\n\n{}\n{}\n{}",
        table("asleep → first row", &rows),
        table("awake, a new connection → first row", &awake),
        targets(&figures)
    );
    println!("{section}");
    if let Some(file) = &common.write {
        write_section(file, "wake", &section)?;
    }
    println!("{}", serde_json::to_string(&Results { bench: "wake", results: figures })?);
    Ok(())
}

/// What SCRAM costs by itself shows on a server that is awake already.
fn awake(unix: &Target, tcp: &Target) -> Result<Vec<(String, Times)>> {
    let mut rows = vec![(UNIX.to_owned(), unix, Times::default()), (TCP.to_owned(), tcp, Times::default())];
    for round in 0..=AWAKE_ROUNDS {
        for (_, target, times) in &mut rows {
            let taken = timed(target)?;
            if round > 0 {
                times.add(taken);
            }
        }
    }
    Ok(rows.into_iter().map(|(name, _, times)| (name, times)).collect())
}

fn timed(target: &Target) -> Result<Duration> {
    let started = Instant::now();
    first_row(target)?;
    Ok(started.elapsed())
}

fn figures(rows: &[(String, Times)], awake: &[(String, Times)]) -> Result<Vec<Figure>> {
    let bare = median_ms(rows, BARE)?;
    let unix = median_ms(rows, UNIX)?;
    let mut figures = vec![Figure::new("unix_vs_bare", unix / bare).at_most(1.2)];
    if let Some((_, systemd)) = rows.iter().find(|(name, _)| name.starts_with("systemd")) {
        figures.push(Figure::new("unix_vs_systemd", unix / systemd.median_ms()).below(1.0));
    }
    figures.push(Figure::new("tcp_scram_vs_bare", median_ms(rows, TCP)? / bare));
    figures.push(Figure::new("scram_ms", median_ms(awake, TCP)? - median_ms(awake, UNIX)?));
    Ok(figures)
}
