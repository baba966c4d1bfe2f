//! `nap-bench`: what Napgres costs, side by side with what does without it. Run it by `bench/run`.
#![allow(clippy::disallowed_methods, reason = "a bench's files need not survive a power cut")]

mod account;
mod branch;
mod client;
mod cluster;
mod contestants;
mod crowd;
mod forward;
mod ground;
mod home;
mod listen;
mod machine;
mod parked;
mod process;
mod race;
mod report;
mod rest;
mod storm;
mod thaw;
mod unpark;
mod wake;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Benches of Napgres.
#[derive(Debug, Parser)]
struct Bench {
    #[command(subcommand)]
    which: Which,
}

#[derive(Debug, Subcommand)]
enum Which {
    /// Asleep to first row.
    Wake(Common),
    /// Many clients at once where everything sleeps.
    Storm(Common),
    /// A thousand sleeping branches.
    Rest(Common),
    /// A parked session's next query.
    Unpark(Common),
    /// Ten thousand parked sessions.
    Parked(Common),
    /// A thousand clients that listen.
    Listen(Common),
    /// A session of a server that dozes.
    Thaw(Common),
    /// Branches of small and large parents, asleep and in use.
    Branch(Common),
    /// Throughput, COPY and connections, beside PgBouncer.
    Forward(Common),
}

/// What all benches take.
#[derive(Debug, Args)]
struct Common {
    /// A short run, for a look.
    #[arg(long)]
    quick: bool,
    /// How often each contestant runs.
    #[arg(long)]
    rounds: Option<usize>,
    /// The program to measure.
    #[arg(long)]
    nap: PathBuf,
    /// An empty directory for everything that is made.
    #[arg(long)]
    base: PathBuf,
    /// Write the tables into this file, between the bench's marks.
    #[arg(long)]
    write: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    match Bench::parse().which {
        Which::Wake(common) => wake::run(&common),
        Which::Storm(common) => storm::run(&common),
        Which::Rest(common) => rest::run(&common),
        Which::Unpark(common) => unpark::run(&common),
        Which::Parked(common) => parked::run(&common),
        Which::Listen(common) => listen::run(&common),
        Which::Thaw(common) => thaw::run(&common),
        Which::Branch(common) => branch::run_bench(&common),
        Which::Forward(common) => forward::run(&common),
    }
}
