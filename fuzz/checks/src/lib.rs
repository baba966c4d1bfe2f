//! What must hold for any bytes at all. Each check takes what a fuzzer made up and panics where something does not hold;
//! `fuzz/targets` hands them to libFuzzer, `tests/replay.rs` replays the corpus and seeded mutations of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "checks panic")]

mod control;
mod frames;
mod hba;
mod messages;
mod options;
mod queries;
mod route;
mod scram;
mod secrets;
mod startup;

/// A check, by the name of its target and of its corpus.
pub struct Target {
    /// As in `fuzz/run NAME`.
    pub name: &'static str,
    /// Panics where something does not hold.
    pub check: fn(&[u8]),
    /// Parses once, without looking at what comes out: what the parser itself allocates.
    pub parse: fn(&[u8]),
    /// What parsing one input may have allocated at once: so many bytes, and so many times the input's length.
    pub allocates: (usize, usize),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    startup::TARGET,
    frames::TARGET,
    messages::TARGET,
    scram::TARGET,
    secrets::TARGET,
    options::TARGET,
    route::TARGET,
    hba::TARGET,
    control::TARGET,
    queries::TARGET,
];

/// Runs the check of this name.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    (target.check)(data);
}
